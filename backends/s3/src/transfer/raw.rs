//! Raw images in files: holes by `SEEK_DATA` and `SEEK_HOLE` in, and by not writing out.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use nbdgate_api::ByteRange;
use rustix::fs::{SeekFrom, seek};

use super::{Sink, Source};

/// A raw image, or a block device, to import.
#[derive(Debug)]
pub struct RawSource {
    file: File,
    size: u64,
}

impl RawSource {
    /// Opens an image.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // A block device has a length only for those who seek to its end.
        let size = seek(&file, SeekFrom::End(0))?;
        Ok(Self { file, size })
    }
}

impl Source for RawSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<ByteRange>> {
        if offset >= self.size {
            return Ok(None);
        }
        let start = match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(rustix::io::Errno::NXIO) => return Ok(None),
            // No holes that it knows of.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => {
                return Ok(Some(ByteRange::between(offset, self.size)));
            }
            Err(error) => return Err(error.into()),
        };
        if start >= self.size {
            return Ok(None);
        }
        let end = seek(&self.file, SeekFrom::Hole(start))?.min(self.size);
        // A file that is punched meanwhile may say so; it is then read as it is.
        Ok(Some(ByteRange::between(start, if end > start { end } else { self.size })))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

/// A raw image to export to.
#[derive(Debug)]
pub struct RawSink {
    file: File,
}

impl RawSink {
    /// A new file.
    ///
    /// # Errors
    /// It is there already, or cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: OpenOptions::new().write(true).create_new(true).open(path)? })
    }
}

impl Sink for RawSink {
    fn prepare(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn finish(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}
