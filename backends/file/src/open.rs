//! Opening an image: everything that can be wrong with it is said here, with what to do about it.

use std::{
    fs,
    io::ErrorKind,
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    path::Path,
};

use nbdgate_api::{BlockSizes, Capabilities, Error, Home, Info, Kind};
use nbdgate_io::File;

use crate::{device::Facts, lock};

/// Reads longer than this in bytes are cut, so that their pieces run side by side and none holds an I/O thread
/// for long while it copies from the page cache.
const READ_PIECE: u32 = 256 << 10;

/// How to open an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// No mutation; shared with other readers.
    pub read_only: bool,
    /// Past the page cache (O_DIRECT). The minimum block becomes what the device asks for, and the size of the
    /// image must be a multiple of it.
    pub direct: bool,
    /// Make the image, sparse and of this size in bytes, if it does not exist. One that exists is never changed:
    /// it must have this size.
    pub create_size: Option<u64>,
}

/// An open and locked image.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) facts: Facts,
    pub(crate) info: Info,
    pub(crate) name: String,
}

pub(crate) fn open(path: &Path, options: OpenOptions) -> Result<Opened, Error> {
    let name = path.display().to_string();
    let created = create(path, &name, options)?;
    let raw = open_existing(path, &name, options)?;
    lock::acquire(raw.as_fd(), options.read_only, &name)?;
    if created {
        size_new(&raw, path, &name, options.create_size.unwrap_or(0))?;
    }
    let facts = Facts::of(&raw).map_err(|error| failed(error, "ask for the size of", &name))?;
    if let Some(size) = options.create_size
        && size != facts.size
    {
        let text =
            format!("{name} exists with {} bytes, not {size}: open it as it is, or choose another path", facts.size);
        return Err(Error::new(Kind::Invalid, text));
    }
    let minimum = minimum_block(&raw, &facts, &name, options)?;
    let info = info(&facts, minimum, options);
    let file = File::new(raw).map_err(|error| failed(error, "inspect", &name))?;
    Ok(Opened { file, facts, info, name })
}

/// Makes an empty file if that is asked for; whether there was none.
fn create(path: &Path, name: &str, options: OpenOptions) -> Result<bool, Error> {
    if options.create_size.is_none() {
        return Ok(false);
    }
    if options.read_only {
        return Err(Error::new(Kind::Invalid, format!("cannot create {name} read-only: create it writable first")));
    }
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(error, "create", name).into()),
    }
}

fn open_existing(path: &Path, name: &str, options: OpenOptions) -> Result<fs::File, Error> {
    // Before opening, because opening a FIFO waits and opening a device may do something.
    let kind = fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => failed(error, "open", name).with_hint("create it with a size, or check the path"),
        _ => failed(error, "open", name),
    })?;
    check_kind(kind.file_type(), name)?;
    let device = kind.file_type().is_block_device();
    let mut flags = if options.direct { libc::O_DIRECT } else { 0 };
    if device && !options.read_only {
        // Exclusive: not with a mounted file system, nor with another exclusive opener by any node.
        flags |= libc::O_EXCL;
    }
    let opened = fs::OpenOptions::new().read(true).write(!options.read_only).custom_flags(flags).open(path);
    let file = opened.map_err(|error| match error.kind() {
        ErrorKind::ResourceBusy => failed(error, "open", name).with_hint("it is mounted or in use; stop that first"),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem if !options.read_only => {
            failed(error, "open", name).with_hint("give write permission, or export it read-only")
        }
        ErrorKind::InvalidInput if options.direct => {
            failed(error, "open", name).with_hint("its file system has no direct I/O; open it without")
        }
        _ => failed(error, "open", name),
    })?;
    check_kind(file.metadata().map_err(|error| failed(error, "inspect", name))?.file_type(), name)?;
    Ok(file)
}

fn check_kind(kind: fs::FileType, name: &str) -> Result<(), Error> {
    let what = if kind.is_file() || kind.is_block_device() {
        return Ok(());
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a character device"
    };
    Err(Error::new(Kind::Invalid, format!("cannot open {name}: it is {what}, not an image or a block device")))
}

/// Gives a new image its size and makes its name durable; takes it away again where that fails.
fn size_new(file: &fs::File, path: &Path, name: &str, size: u64) -> Result<(), Error> {
    let sized = file.set_len(size).and_then(|()| file.sync_all()).and_then(|()| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    });
    sized.map_err(|error| {
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(%error, image = name, "cannot remove an image that was not created");
        }
        failed(error, &format!("give {size} bytes to"), name).into()
    })
}

fn minimum_block(file: &fs::File, facts: &Facts, name: &str, options: OpenOptions) -> Result<u32, Error> {
    if !options.direct {
        return Ok(1);
    }
    let minimum = facts.direct_alignment(file).map_err(|error| {
        failed(error, "use direct I/O on", name).with_hint("its file system has none; open it without")
    })?;
    if facts.size.is_multiple_of(u64::from(minimum)) {
        return Ok(minimum);
    }
    let text = format!(
        "cannot use direct I/O on {name}: its size, {} bytes, is not a multiple of {minimum}; open it without",
        facts.size
    );
    Err(Error::new(Kind::Invalid, text))
}

fn info(facts: &Facts, minimum: u32, options: OpenOptions) -> Info {
    let capabilities = Capabilities {
        fua: !options.read_only,
        trim: !options.read_only && facts.punches,
        write_zeroes: !options.read_only,
        fast_zero: !options.read_only && (facts.punches || facts.zeroes),
        cache: !options.direct,
        extents: true,
    };
    Info {
        size: facts.size,
        block: BlockSizes { minimum, preferred: minimum.max(4096), ..BlockSizes::default() },
        read_only: options.read_only,
        rotational: facts.rotational,
        capabilities,
        read_piece: READ_PIECE,
        home: Home::Spread,
    }
}

fn failed(error: std::io::Error, tried: &str, name: &str) -> Failed {
    Failed { error, text: format!("cannot {tried} {name}") }
}

/// An operating-system error on its way to an [`Error`], to which a hint may be added.
struct Failed {
    error: std::io::Error,
    text: String,
}

impl Failed {
    fn with_hint(mut self, hint: &str) -> Self {
        self.text.push_str(": ");
        self.text.push_str(hint);
        self
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        Self::from_io(failed.error, failed.text)
    }
}
