//! What changed between two snapshots, or since one.

use std::sync::Arc;

use nbdgate_api::{Backend, ByteRange, Error, ExtentKind, Io, Kind, Op, Piece, Reply, Sink};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::snapshots::close;
use crate::{Disk, Location, OpenOptions};

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// Bytes of the newer picture.
    pub size: u64,
    /// Where it may differ from the older one, in bytes: ascending, apart from each other.
    pub changed: Vec<ByteRange>,
    /// Their length together.
    pub changed_bytes: u64,
}

/// Where the disk at the snapshot `to`, or as it is now in the store, may differ from what it was at the older snapshot
/// `from`. Nothing is claimed: somebody may be serving it.
///
/// # Errors
/// There is no such snapshot, or none that is older than `to`; the disk cannot be read.
pub async fn diff(location: &Location, from: &str, to: Option<&str>, options: &OpenOptions) -> Result<Diff, Error> {
    let options = OpenOptions { read_only: true, snapshot: to.map(str::to_owned), ..options.clone() };
    let disk = crate::open(location, options).await?;
    let compared = compare(&disk, from).await;
    close(&disk, compared).await
}

async fn compare(disk: &Disk, from: &str) -> Result<Diff, Error> {
    let bitmap = disk.bitmaps().into_iter().find(|name| &**name == from);
    let bitmap = bitmap.ok_or_else(|| {
        let text = format!(
            "there is no snapshot `{}` that is older than what it is to be compared with",
            from.escape_default()
        );
        Error::new(Kind::Invalid, text)
    })?;
    let size = disk.info().size;
    let mut diff = Diff { size, changed: Vec::new(), changed_bytes: 0 };
    let mut at = 0;
    while at < size {
        for (range, dirty) in ask(disk, &bitmap, ByteRange::between(at, size)).await? {
            at = range.end();
            if dirty {
                diff.changed_bytes += range.length();
                match diff.changed.last_mut() {
                    Some(last) if last.end() == range.offset() => {
                        *last = ByteRange::between(last.offset(), range.end());
                    }
                    _ => diff.changed.push(range),
                }
            }
        }
    }
    Ok(diff)
}

async fn ask(disk: &Disk, bitmap: &Arc<str>, range: ByteRange) -> Result<Vec<(ByteRange, bool)>, Error> {
    let (tell, told) = oneshot::channel();
    let listener = Listener { extents: Mutex::default(), tell: Mutex::new(Some(tell)) };
    let op = Op::DirtyStatus { range, req_one: false, bitmap: Arc::clone(bitmap) };
    disk.submit(Io { op, reply: Reply::new(Arc::new(listener), 0) });
    told.await.unwrap_or_else(|_| Err(Error::new(Kind::Shutdown, "the disk was closed")))
}

type Extents = Vec<(ByteRange, bool)>;

struct Listener {
    extents: Mutex<Extents>,
    tell: Mutex<Option<oneshot::Sender<Result<Extents, Error>>>>,
}

impl Sink for Listener {
    fn piece(&self, _tag: u64, piece: Piece) {
        if let Piece::Extents(extents) = piece {
            let told = extents.into_iter().map(|extent| (extent.range, extent.kind == ExtentKind::Dirty));
            self.extents.lock().extend(told);
        }
    }

    fn end(&self, _tag: u64, outcome: Result<(), Error>) {
        let extents = std::mem::take(&mut *self.extents.lock());
        if let Some(tell) = self.tell.lock().take() {
            // Whoever asked may be gone.
            let _ = tell.send(outcome.map(|()| extents));
        }
    }
}
