//! Raw images in files: holes by `SEEK_DATA` and `SEEK_HOLE` in, and by not writing out.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nbdgate_api::{ByteRange, Error, Kind};
use rustix::{
    fs::{CWD, FlockOperation, RenameFlags, SeekFrom, flock, renameat_with, seek},
    io::Errno,
};

use super::BLOCK;
use crate::create::{parent, sync_directory};
use crate::draft::is_zero;

/// A raw image, or a block device, to import.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    path: PathBuf,
    size: u64,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let opened = File::open(path).and_then(|file| {
            // A block device has a length only for those who seek to its end.
            let size = seek(&file, SeekFrom::End(0))?;
            Ok(Self { file, path: path.to_owned(), size })
        });
        opened.map_err(|error| Error::from_io(error, format!("cannot open {}", path.display())))
    }

    /// Bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The first range at or behind `offset` that may hold anything but zeros.
    pub(super) fn next_data(&self, offset: u64) -> Result<Option<ByteRange>, Error> {
        let failed =
            |error: Errno| Error::from_io(error.into(), format!("cannot look for data in {}", self.path.display()));
        if offset >= self.size {
            return Ok(None);
        }
        let start = match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => return Ok(None),
            // No holes that it knows of.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(ByteRange::between(offset, self.size))),
            Err(error) => return Err(failed(error)),
        };
        if start >= self.size {
            return Ok(None);
        }
        let end = seek(&self.file, SeekFrom::Hole(start)).map_err(failed)?.min(self.size);
        // A file that is punched meanwhile may say so; it is then read as it is.
        Ok(Some(ByteRange::between(start, if end > start { end } else { self.size })))
    }

    /// What is in a range below the size.
    pub(super) fn read(&self, range: ByteRange) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; usize::try_from(range.length()).expect("a piece fits in memory")];
        let read = self.file.read_exact_at(&mut bytes, range.offset());
        read.map_err(|error| Error::from_io(error, format!("cannot read {}", self.path.display())))?;
        Ok(bytes)
    }
}

/// A raw image that is being written beside its place; gone if it is dropped before it is finished.
#[derive(Debug)]
pub(super) struct Image {
    file: File,
    unfinished: PathBuf,
    path: PathBuf,
    finished: bool,
}

impl Image {
    /// An image of `size` zeros.
    ///
    /// # Errors
    /// There is something at `path`, or it cannot be made.
    pub(super) fn create(path: &Path, size: u64) -> Result<Self, Error> {
        let failed = |error| Error::from_io(error, format!("cannot create {}", path.display()));
        if path.symlink_metadata().is_ok() {
            return Err(Error::new(Kind::Invalid, format!("{} exists already", path.display())));
        }
        clear(path);
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!("{NEW}{}", uuid::Uuid::new_v4().simple()));
        let unfinished = path.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(failed)?;
        let image = Self { file, unfinished, path: path.to_owned(), finished: false };
        flock(&image.file, FlockOperation::NonBlockingLockExclusive).map_err(|error| failed(error.into()))?;
        image.file.set_len(size).map_err(failed)?;
        Ok(image)
    }

    /// Writes what is not zeros; the bytes of that.
    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> Result<u64, Error> {
        let mut written = 0;
        let mut at = 0;
        while at < bytes.len() {
            let blocks = bytes[at..].chunks(BLOCK);
            let zeros: usize = blocks.take_while(|block| is_zero(block)).map(<[u8]>::len).sum();
            let blocks = bytes[at + zeros..].chunks(BLOCK);
            let data: usize = blocks.take_while(|block| !is_zero(block)).map(<[u8]>::len).sum();
            let run = &bytes[at + zeros..at + zeros + data];
            let wrote = self.file.write_all_at(run, offset + (at + zeros) as u64);
            wrote.map_err(|error| Error::from_io(error, format!("cannot write {}", self.path.display())))?;
            at += zeros + data;
            written += data as u64;
        }
        Ok(written)
    }

    /// Makes it durable and gives it its name.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let failed = |error| Error::from_io(error, format!("cannot finish {}", self.path.display()));
        self.file.sync_all().map_err(failed)?;
        match renameat_with(CWD, &self.unfinished, CWD, &self.path, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            // A file system that cannot tell; it was looked for before.
            Err(Errno::INVAL | Errno::NOSYS) => fs::rename(&self.unfinished, &self.path).map_err(failed)?,
            Err(Errno::EXIST) => {
                let text = format!("{} came to be meanwhile, and is left as it is", self.path.display());
                return Err(Error::new(Kind::Invalid, text));
            }
            Err(error) => return Err(failed(error.into())),
        }
        self.finished = true;
        sync_directory(parent(&self.path))
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if !self.finished {
            let _of_no_use = fs::remove_file(&self.unfinished);
        }
    }
}

/// Between the name of an image and an id, while it is not finished.
const NEW: &str = ".new-";

/// Deletes what interrupted exports to `path` left; those at work hold a lock.
fn clear(path: &Path) {
    let mut prefix = path.file_name().unwrap_or_default().to_owned();
    prefix.push(NEW);
    let Ok(entries) = fs::read_dir(parent(path)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let id = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        if !id.is_some_and(|id| id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit)) {
            continue;
        }
        let left = path.with_file_name(&name);
        let free = |file: &File| flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
        if left.symlink_metadata().is_ok_and(|left| left.is_file()) && File::open(&left).is_ok_and(|file| free(&file)) {
            let _it_is_tried_again_next_time = fs::remove_file(&left);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn an_image_has_its_name_only_when_it_is_whole() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("vm.raw");
        let image = Image::create(&path, 1 << 20).unwrap();
        image.write(&[7; 5000], 8192).unwrap();
        assert!(!path.exists());
        drop(image);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "what is not finished goes");
        let image = Image::create(&path, 1 << 20).unwrap();
        image.write(&[7; 5000], 8192).unwrap();
        image.finish().unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!((bytes.len(), bytes[8191], bytes[8192], bytes[13191], bytes[13192]), (1 << 20, 0, 7, 7, 0));
        assert!(Image::create(&path, 1).unwrap_err().to_string().contains("exists already"));
    }

    #[test]
    fn an_image_that_came_meanwhile_is_not_replaced() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("vm.raw");
        let image = Image::create(&path, 1 << 20).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(image.finish().is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn zeros_stay_holes_and_what_is_left_of_a_crash_goes() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("vm.raw");
        let left = place.path().join(format!("vm.raw.new-{}", uuid::Uuid::new_v4().simple()));
        fs::write(&left, "half an image").unwrap();
        let at_work = Image::create(&path, 4096).unwrap();
        assert!(!left.exists());
        let image = Image::create(&path, 4 << 20).unwrap();
        assert!(at_work.unfinished.exists(), "somebody works on it");
        let mut bytes = vec![0; 1 << 20];
        bytes[12345] = 1;
        assert_eq!(image.write(&bytes, 1 << 20).unwrap(), 4096);
        image.finish().unwrap();
        assert!(fs::metadata(&path).unwrap().blocks() * 512 < 1 << 20, "one block is there");
    }

    #[test]
    fn data_between_holes_is_found() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("vm.raw");
        let file = File::create(&path).unwrap();
        file.set_len(8 << 20).unwrap();
        file.write_all_at(&[7; 4096], 3 << 20).unwrap();
        let source = Source::open(&path).unwrap();
        let data = source.next_data(0).unwrap().expect("there is some");
        assert!(data.contains(ByteRange::between(3 << 20, (3 << 20) + 4096)));
        assert_eq!(source.next_data(8 << 20).unwrap(), None);
        assert_eq!(source.read(ByteRange::between((3 << 20) + 4095, (3 << 20) + 4097)).unwrap(), [7, 0]);
    }
}
