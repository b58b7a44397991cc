//! An image into a disk.

use std::{collections::VecDeque, path::Path};

use nbdgate_api::{Backend, ByteRange, Error, ExtentKind, Op, Zeroes, wait};

use super::{
    BLOCK, DEPTH, PIECE,
    raw::Source,
    target::{Target, not_empty},
};
use crate::{CreateOptions, OpenOptions, Progress, RocksDisk, Shared, SharedOptions, draft::is_zero, info};

/// What an import did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Bytes of the disk.
    pub size: u64,
    /// Bytes that are not a hole.
    pub data: u64,
    /// Bytes of the files that hold them.
    pub stored: u64,
}

/// Copies a raw image into the disk at `path`, which is made if it is not there; one that is must be empty and large enough.
/// The size of a new disk is that of the image, unless `create` asks for more.
///
/// # Errors
/// The disk is not empty, too small or in use; the image cannot be read; there is no room. A disk that was made is gone then,
/// and one that was there is empty again, as far as that was possible.
pub fn import(image: &Path, path: &Path, create: &CreateOptions, progress: &dyn Progress) -> Result<Imported, Error> {
    let source = Source::open(image)?;
    let target = Target::prepare(path, &CreateOptions { size: create.size.max(source.size()), ..*create })?;
    let shared = Shared::new(&SharedOptions::default());
    let disk = RocksDisk::open(target.path(), &OpenOptions::new(shared))?;
    let whole = ByteRange::between(0, disk.info().size);
    // Somebody may have been faster, but now the disk is locked.
    if wait::extents(&disk, whole)?.iter().any(|extent| extent.kind == ExtentKind::Data) {
        disk.close()?;
        return Err(not_empty(&path.display().to_string()));
    }
    let copied = copy(&source, &disk, progress).and_then(|data| wait::flush(&disk).map(|()| data));
    if copied.is_err() && !target.is_new() {
        let empty = Op::WriteZeroes { range: whole, zeroes: Zeroes::default(), fua: true };
        let _the_first_error_counts = wait::call(&disk, empty).outcome;
    }
    let closed = disk.close();
    drop(disk);
    let data = copied?;
    closed?;
    target.commit()?;
    tracing::info!(image = %image.display(), disk = %path.display(), data, "image imported");
    Ok(Imported { size: whole.length(), data, stored: info(path)?.stored })
}

/// Writes what is not zeros; the bytes of that.
fn copy(source: &Source, disk: &RocksDisk, progress: &dyn Progress) -> Result<u64, Error> {
    progress.total(source.size());
    let mut flight = VecDeque::with_capacity(DEPTH);
    let (mut data, mut at) = (0, 0);
    while let Some(range) = source.next_data(at)? {
        progress.advance(range.offset() - at);
        for piece in range.pieces(PIECE) {
            let bytes = source.read(piece)?;
            data += bytes.chunks(BLOCK).filter(|block| !is_zero(block)).map(|block| block.len() as u64).sum::<u64>();
            if !is_zero(&bytes) {
                if flight.len() >= DEPTH {
                    end(flight.pop_front())?;
                }
                let write = Op::Write { offset: piece.offset(), payload: bytes.into(), fua: false };
                flight.push_back(wait::submit(disk, write));
            }
            progress.advance(piece.length());
        }
        at = range.end();
    }
    progress.advance(source.size() - at);
    while !flight.is_empty() {
        end(flight.pop_front())?;
    }
    Ok(data)
}

fn end(request: Option<wait::Pending>) -> Result<(), Error> {
    request.map_or(Ok(()), |request| request.wait().outcome)
}
