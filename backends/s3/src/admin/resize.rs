//! Giving a disk another size.

use nbdgate_api::{Backend, Error, Kind};

use super::snapshots::{close, open};
use crate::{Location, MAX_SIZE, OpenOptions, format::BLOCK_SIZE};

/// Whether a disk may become smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shrink {
    /// No: a smaller size is an error.
    #[default]
    Refuse,
    /// Yes: what lies behind the new end is given up. Snapshots keep theirs.
    Allow,
}

/// Gives a disk `size` bytes, a multiple of 4096. New bytes are zeros. Nobody may have the disk open: it is claimed, and
/// closed afterwards.
///
/// # Errors
/// As [`open`](crate::open()); the size is not possible, or smaller without leave. The disk is then what it was.
pub async fn resize(location: &Location, size: u64, shrink: Shrink, options: &OpenOptions) -> Result<(), Error> {
    if size == 0 || size > MAX_SIZE || !size.is_multiple_of(BLOCK_SIZE as u64) {
        let text = format!("a disk cannot have {size} bytes: it needs a multiple of 4096, up to 256 TiB");
        return Err(Error::new(Kind::Invalid, text));
    }
    let disk = open(location, options).await?;
    let before = disk.info().size;
    let resized = if size < before && shrink == Shrink::Refuse {
        let text =
            format!("{location} has {before} bytes: making it smaller loses what lies behind {size}, so ask for that");
        Err(Error::new(Kind::Invalid, text))
    } else {
        disk.resize(size / BLOCK_SIZE as u64).await
    };
    close(&disk, resized).await?;
    tracing::info!(%location, before, size, "disk resized");
    Ok(())
}
