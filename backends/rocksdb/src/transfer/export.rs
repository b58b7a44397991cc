//! A disk, or a snapshot, into an image.

use std::{collections::VecDeque, path::Path};

use nbdgate_api::{Backend, ByteRange, Error, ExtentKind, Kind, Op, Piece, wait};

use super::{DEPTH, PIECE, raw::Image};
use crate::{OpenOptions, Progress, RocksDisk, Shared, SharedOptions};

/// Asked for at once, in bytes.
const WINDOW: u64 = 1 << 30;

/// What an export did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Bytes of the image.
    pub size: u64,
    /// Bytes written; the rest is holes.
    pub data: u64,
}

/// Copies the disk at `path`, which nobody may have open for writing, or a snapshot of it, into a new raw image.
///
/// # Errors
/// There is no such disk or snapshot, or it is in use; there is something at `image`; bytes cannot be read or fail their
/// check; there is no room. There is no image then.
pub fn export(path: &Path, snapshot: Option<&str>, image: &Path, progress: &dyn Progress) -> Result<Exported, Error> {
    let shared = Shared::new(&SharedOptions::default());
    let options = OpenOptions { read_only: true, snapshot: snapshot.map(str::to_owned), ..OpenOptions::new(shared) };
    let disk = RocksDisk::open(path, &options)?;
    let size = disk.info().size;
    let image = Image::create(image, size)?;
    progress.total(size);
    let mut data = 0;
    for window in ByteRange::between(0, size).pieces(WINDOW) {
        data += copy(&disk, &image, window, progress)?;
    }
    disk.close()?;
    image.finish()?;
    Ok(Exported { size, data })
}

/// Copies what is there of a range; the bytes written.
fn copy(disk: &RocksDisk, image: &Image, range: ByteRange, progress: &dyn Progress) -> Result<u64, Error> {
    let mut flight = VecDeque::with_capacity(DEPTH);
    let mut data = 0;
    for extent in wait::extents(disk, range)? {
        if extent.kind != ExtentKind::Data {
            progress.advance(extent.range.length());
            continue;
        }
        for piece in extent.range.pieces(PIECE) {
            if flight.len() >= DEPTH {
                data += end(flight.pop_front(), image, progress)?;
            }
            flight.push_back((piece, wait::submit(disk, Op::Read(piece))));
        }
    }
    while !flight.is_empty() {
        data += end(flight.pop_front(), image, progress)?;
    }
    Ok(data)
}

fn end(request: Option<(ByteRange, wait::Pending)>, image: &Image, progress: &dyn Progress) -> Result<u64, Error> {
    let Some((range, request)) = request else { return Ok(0) };
    let answer = request.wait();
    answer.outcome?;
    let mut data = 0;
    for piece in answer.pieces {
        match piece {
            Piece::Data { offset, bytes } => data += image.write(&bytes, offset)?,
            Piece::Hole(_) => {}
            Piece::Failed(_, error) => return Err(error),
            Piece::Extents(_) => return Err(Error::new(Kind::Io, "a read was answered with extents")),
        }
    }
    progress.advance(range.length());
    Ok(data)
}
