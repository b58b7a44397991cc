//! Up to where a FLUSH was acknowledged.
//!
//! RocksDB replays its log up to the first record that fails its check, since after a power cut the end of the log may be
//! torn. It cannot know whether that was behind the last sync or before. So each sync is followed by writing down, in a file
//! of its own, which sequence number it covered; a log that ends before that has lost flushed writes, which is an error, and
//! not a disk of last week.
//!
//! The file is not synced: written after the log is durable, it never claims too much, and after a power cut an older
//! number claims too little.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use nbdgate_api::{Error, Kind};
use parking_lot::Mutex;

use crate::layout::Layout;

/// A sequence number and its checksum, both little-endian.
const LENGTH: usize = 12;

/// The open file.
#[derive(Debug)]
pub(crate) struct Flushed {
    file: File,
    highest: Mutex<u64>,
}

impl Flushed {
    /// # Errors
    /// The file cannot be opened or read, or fails its check.
    pub(crate) fn open(layout: &Layout) -> Result<Self, Error> {
        let path = layout.flushed();
        let failed = |error| Error::from_io(error, format!("cannot open {}", path.display()));
        let mut options = OpenOptions::new();
        let file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
        let highest = read(&file, &path)?;
        Ok(Self { file, highest: Mutex::new(highest) })
    }

    /// Everything up to `sequence` is durable.
    pub(crate) fn record(&self, sequence: u64) {
        let mut highest = self.highest.lock();
        if sequence <= *highest {
            return;
        }
        let number = sequence.to_le_bytes();
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&number);
        bytes[8..].copy_from_slice(&crc32c::crc32c(&number).to_le_bytes());
        match self.file.write_all_at(&bytes, 0) {
            Ok(()) => *highest = sequence,
            // The promise holds; only a later loss would go unnoticed.
            Err(error) => tracing::warn!(%error, sequence, "cannot write down what was flushed"),
        }
    }
}

/// The number in the disk's file; 0 if there is none.
///
/// # Errors
/// It cannot be read, or fails its check.
pub(crate) fn recorded(layout: &Layout) -> Result<u64, Error> {
    let path = layout.flushed();
    match File::open(&path) {
        Ok(file) => read(&file, &path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::from_io(error, format!("cannot open {}", path.display()))),
    }
}

fn read(file: &File, path: &Path) -> Result<u64, Error> {
    let mut bytes = [0; LENGTH + 1];
    let count = file
        .read_at(&mut bytes, 0)
        .map_err(|error| Error::from_io(error, format!("cannot read {}", path.display())))?;
    // A file system may keep the length of the first note, and not its bytes.
    if count <= LENGTH && bytes == [0; LENGTH + 1] {
        return Ok(0);
    }
    let (number, check) = (&bytes[..8], &bytes[8..LENGTH]);
    if count != LENGTH || crc32c::crc32c(number).to_le_bytes() != check {
        let text = format!(
            "{} is damaged, so nobody knows what was flushed: check the disk's content, then remove that file",
            path.display()
        );
        return Err(Error::new(Kind::Io, text));
    }
    Ok(u64::from_le_bytes(number.try_into().expect("eight bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_number_is_there_again_and_a_damaged_one_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let layout = Layout::new(place.path());
        assert_eq!(recorded(&layout).unwrap(), 0, "no file");
        let flushed = Flushed::open(&layout).unwrap();
        flushed.record(7);
        flushed.record(5);
        drop(flushed);
        drop(Flushed::open(&layout).unwrap());
        assert_eq!(recorded(&layout).unwrap(), 7);
        std::fs::write(layout.flushed(), [0; LENGTH]).unwrap();
        assert_eq!(recorded(&layout).unwrap(), 0, "its bytes never reached the device");
        for bytes in [&[1; LENGTH][..], &[1; 4], &[1; 20]] {
            std::fs::write(layout.flushed(), bytes).unwrap();
            assert!(recorded(&layout).unwrap_err().to_string().contains("damaged"));
        }
    }
}
