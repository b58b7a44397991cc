//! The disk that an image goes into: one that is there and empty, or one that is made beside its place until it is whole.

use std::path::{Path, PathBuf};

use nbdgate_api::{Error, Kind};

use crate::{
    CreateOptions, NoProgress,
    admin::{
        Tree,
        leftovers::{Purpose, clear_beside},
        rename_durably,
    },
    create, info,
    layout::Layout,
    lock::{Hold, Lock},
};

/// A disk that is being filled. One that was made for it is gone if this is dropped before it is [committed](Self::commit).
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    /// Where it is made, if it is.
    unfinished: Option<PathBuf>,
}

impl Target {
    /// Prepares the disk at `path`, which is made with `create` if it is not there.
    ///
    /// # Errors
    /// It is in use, smaller than `create.size`, or not empty; it cannot be made.
    pub fn prepare(path: &Path, create: &CreateOptions) -> Result<Self, Error> {
        let layout = Layout::new(path);
        let name = layout.name();
        if layout.is_disk()? {
            let info = info(path)?;
            if info.in_use {
                return Err(Error::new(Kind::Permission, format!("{name} is in use: stop that first")));
            }
            if info.size < create.size {
                let text = format!("{name} has {} bytes, and {} are needed", info.size, create.size);
                return Err(Error::new(Kind::NoSpace, text));
            }
            if info.allocated > 0 {
                return Err(not_empty(&name));
            }
            return Ok(Self { path: path.to_owned(), unfinished: None });
        }
        clear_beside(&layout, Purpose::New)?;
        let unfinished = layout.beside(Purpose::New.word());
        create::create(&unfinished, create)?;
        Ok(Self { path: path.to_owned(), unfinished: Some(unfinished) })
    }

    /// Where the disk is until it is committed.
    pub fn path(&self) -> &Path {
        self.unfinished.as_deref().unwrap_or(&self.path)
    }

    /// Whether the disk was made for this.
    pub(super) fn is_new(&self) -> bool {
        self.unfinished.is_some()
    }

    /// Puts the disk, which must be closed, at its place.
    ///
    /// # Errors
    /// Something came to be there meanwhile, or the file system refuses.
    pub fn commit(mut self) -> Result<(), Error> {
        if let Some(unfinished) = &self.unfinished {
            let lock = Lock::take(&Layout::new(unfinished), Hold::Write)?;
            rename_durably(unfinished, &self.path)?;
            drop(lock);
            self.unfinished = None;
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished {
            let _of_no_use = Tree::of_disk(unfinished).and_then(|tree| tree.delete(&NoProgress));
        }
    }
}

pub(super) fn not_empty(name: &str) -> Error {
    Error::new(Kind::Invalid, format!("{name} is not empty: import into a new disk"))
}
