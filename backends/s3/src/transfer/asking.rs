//! Requests to an open disk as futures.

use std::sync::Arc;

use nbdgate_api::{Backend, ByteRange, Error, Extent, Io, Kind, Op, Piece, Reply, Sink};
use parking_lot::Mutex;
use tokio::sync::oneshot;

struct Listener {
    pieces: Mutex<Vec<Piece>>,
    tell: Mutex<Option<oneshot::Sender<Answer>>>,
}

type Answer = (Vec<Piece>, Result<(), Error>);

impl Sink for Listener {
    fn piece(&self, _tag: u64, piece: Piece) {
        self.pieces.lock().push(piece);
    }

    fn end(&self, _tag: u64, outcome: Result<(), Error>) {
        let pieces = std::mem::take(&mut *self.pieces.lock());
        if let Some(tell) = self.tell.lock().take() {
            // Whoever asked may have given up.
            let _ = tell.send((pieces, outcome));
        }
    }
}

async fn ask(disk: &dyn Backend, op: Op) -> Result<Vec<Piece>, Error> {
    let (tell, told) = oneshot::channel();
    let listener = Listener { pieces: Mutex::default(), tell: Mutex::new(Some(tell)) };
    disk.submit(Io { op, reply: Reply::new(Arc::new(listener), 0) });
    let (pieces, outcome) = told.await.map_err(|_| Error::new(Kind::Shutdown, "the disk went away"))?;
    outcome.map(|()| pieces)
}

/// The data in a range, in any order; zeros are left out.
pub(super) async fn read(disk: &dyn Backend, range: ByteRange) -> Result<Vec<(u64, bytes::Bytes)>, Error> {
    let mut data = Vec::new();
    let mut got = 0;
    for piece in ask(disk, Op::Read(range)).await? {
        match piece {
            Piece::Data { offset, bytes } => {
                got += bytes.len() as u64;
                data.push((offset, bytes));
            }
            Piece::Hole(hole) => got += hole.length(),
            Piece::Failed(_, error) => return Err(error),
            Piece::Extents(_) => {}
        }
    }
    if got == range.length() { Ok(data) } else { Err(Error::new(Kind::Io, "a read was answered in part")) }
}

/// The extents from the beginning of a range; perhaps not all.
pub(super) async fn extents(disk: &dyn Backend, range: ByteRange) -> Result<Vec<Extent>, Error> {
    let pieces = ask(disk, Op::BlockStatus { range, req_one: false }).await?;
    let lists = pieces.into_iter().filter_map(|piece| if let Piece::Extents(list) = piece { Some(list) } else { None });
    Ok(lists.flatten().collect())
}
