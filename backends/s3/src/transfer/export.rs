//! A disk, or a snapshot, into an image.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use nbdgate_api::{Backend, ByteRange, Error, ExtentKind, Kind};

use super::{Sink, asking};
use crate::{
    Disk, Location, OpenOptions, Progress,
    inspect::store_for,
    keys::unlock::find_unlocked,
    observer::{Attributed, Cause},
    ownership::chain::Chain,
    store::Patience,
};

/// Asked for at once.
const WINDOW: u64 = 256 << 20;

/// The longest read.
const PIECE: u64 = 4 << 20;

/// Reads at once.
const PARALLEL: usize = 16;

/// What is exported.
#[derive(Clone, Debug, Default)]
pub struct ExportOptions {
    /// This snapshot; the disk as it is now, if not given.
    pub snapshot: Option<String>,
}

/// What an export did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportReport {
    /// Bytes of the image.
    pub size: u64,
    /// Bytes written; the rest is holes.
    pub data: u64,
}

/// Copies a disk, or a snapshot of it, into a sink. Claims nothing; of a disk that is in use, the state of its last stored
/// segment is exported. Every byte is verified.
///
/// # Errors
/// There is no such disk or snapshot; bytes cannot be read or fail their check; the sink fails. What was written by then is of
/// no use.
pub async fn export(
    location: &Location,
    export: &ExportOptions,
    sink: &Arc<dyn Sink>,
    progress: &dyn Progress,
    options: &OpenOptions,
) -> Result<ExportReport, Error> {
    if let Some(name) = &export.snapshot {
        let store = store_for(location, options, Cause::Transfer)?;
        let patience = Patience::asking(options.tuning.open_deadline);
        let volume = find_unlocked(&store, location, options, patience).await?.volume;
        let manifest = Chain::newest(&store, volume, patience).await?.manifest;
        if !manifest.snapshots.iter().any(|snapshot| snapshot.name == *name) {
            return Err(Error::new(Kind::Invalid, format!("{location} has no snapshot {name}")));
        }
    }
    let observer = Arc::new(Attributed { to: Arc::clone(&options.observer), cause: Cause::Transfer });
    let options = OpenOptions { read_only: true, snapshot: export.snapshot.clone(), observer, ..options.clone() };
    let disk = crate::open(location, options).await?;
    let size = disk.info().size;
    progress.total(size);
    on_pool(sink, move |sink| sink.prepare(size), "preparing the image").await?;
    let mut data = 0;
    let mut at = 0;
    while at < size {
        let window = ByteRange::between(at, (at + WINDOW).min(size));
        let (copied, end) = copy(&disk, sink, window).await?;
        data += copied;
        progress.advance(end - at);
        at = end;
    }
    on_pool(sink, <dyn Sink>::finish, "making the image durable").await?;
    Ok(ExportReport { size, data })
}

/// Copies the beginning of a range: bytes written, and how far that is.
async fn copy(disk: &Disk, sink: &Arc<dyn Sink>, range: ByteRange) -> Result<(u64, u64), Error> {
    let extents = asking::extents(disk, range).await?;
    let end = extents.last().map_or(range.offset(), |extent| extent.range.end()).min(range.end());
    if end <= range.offset() {
        return Err(Error::new(Kind::Io, format!("the disk does not tell what is at {}", range.offset())));
    }
    let data = extents.iter().filter(|extent| extent.kind == ExtentKind::Data);
    let pieces: Vec<ByteRange> = data.flat_map(|extent| extent.range.pieces(PIECE)).collect();
    let copies = stream::iter(pieces).map(|piece| async move {
        let parts = asking::read(disk, piece).await?;
        let bytes: u64 = parts.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let write = move |sink: &dyn Sink| parts.iter().try_for_each(|(offset, bytes)| sink.write_at(bytes, *offset));
        on_pool(sink, write, "writing the image").await?;
        Ok::<u64, Error>(bytes)
    });
    let copied = copies.buffer_unordered(PARALLEL).try_fold(0, |sum, bytes| async move { Ok(sum + bytes) }).await?;
    Ok((copied, end))
}

async fn on_pool(
    sink: &Arc<dyn Sink>,
    work: impl FnOnce(&dyn Sink) -> std::io::Result<()> + Send + 'static,
    tried: &'static str,
) -> Result<(), Error> {
    let sink = Arc::clone(sink);
    let done = tokio::task::spawn_blocking(move || work(sink.as_ref())).await;
    done.map_err(|error| Error::new(Kind::Io, tried).with_source(error))?.map_err(|error| Error::from_io(error, tried))
}
