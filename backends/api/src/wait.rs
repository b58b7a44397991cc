//! Blocking calls on a backend, for tools and tests: submit, then wait for the end.
//!
//! Not for I/O threads: a backend that needs the calling thread to make progress would never end.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::{Backend, ByteRange, Error, Extent, Io, Kind, Op, Payload, Piece, Reply, Sink};

/// Everything that came back for one request, pieces in the order of arrival.
#[derive(Debug)]
pub struct Answer {
    /// What was delivered.
    pub pieces: Vec<Piece>,
    /// How it ended.
    pub outcome: Result<(), Error>,
}

/// Submits `op` and waits for its end.
pub fn call(backend: &dyn Backend, op: Op) -> Answer {
    let pending = submit(backend, op);
    pending.wait()
}

/// Submits `op` and returns at once; several may be in flight.
pub fn submit(backend: &dyn Backend, op: Op) -> Pending {
    let waiter = Arc::new(Waiter::default());
    backend.submit(Io { op, reply: Reply::new(waiter.clone(), 0) });
    Pending(waiter)
}

/// Reads a range into one vector; zeros for holes.
///
/// # Errors
/// The read or one of its pieces failed.
pub fn read(backend: &dyn Backend, range: ByteRange) -> Result<Vec<u8>, Error> {
    let answer = call(backend, Op::Read(range));
    answer.outcome?;
    let mut bytes = vec![0; usize::try_from(range.length()).expect("a read fits in memory")];
    for piece in answer.pieces {
        match piece {
            Piece::Data { offset, bytes: part } => {
                let at = usize::try_from(offset - range.offset()).expect("inside the range");
                bytes[at..at + part.len()].copy_from_slice(&part);
            }
            Piece::Hole(_) => {}
            Piece::Failed(_, error) => return Err(error),
            Piece::Extents(_) => return Err(Error::new(Kind::Io, "a read was answered with extents")),
        }
    }
    Ok(bytes)
}

/// Writes `bytes` at `offset`.
///
/// # Errors
/// As the backend says.
pub fn write(backend: &dyn Backend, offset: u64, bytes: impl Into<Payload>) -> Result<(), Error> {
    call(backend, Op::Write { offset, payload: bytes.into(), fua: false }).outcome
}

/// Flushes.
///
/// # Errors
/// As the backend says.
pub fn flush(backend: &dyn Backend) -> Result<(), Error> {
    call(backend, Op::Flush).outcome
}

/// Asks for extents until the whole range is told.
///
/// # Errors
/// As the backend says.
pub fn extents(backend: &dyn Backend, range: ByteRange) -> Result<Vec<Extent>, Error> {
    let mut all = Vec::new();
    let mut rest = range;
    while !rest.is_empty() {
        let answer = call(backend, Op::BlockStatus { range: rest, req_one: false });
        answer.outcome?;
        for piece in answer.pieces {
            let Piece::Extents(list) = piece else {
                return Err(Error::new(Kind::Io, "block status was answered with data"));
            };
            for extent in list {
                rest = ByteRange::between(extent.range.end(), range.end());
                extent.push_onto(&mut all);
            }
        }
    }
    Ok(all)
}

/// A request in flight.
#[derive(Debug)]
pub struct Pending(Arc<Waiter>);

impl Pending {
    /// Waits for the end.
    pub fn wait(self) -> Answer {
        let mut state = self.0.state.lock();
        loop {
            if let Some(outcome) = state.outcome.take() {
                return Answer { pieces: std::mem::take(&mut state.pieces), outcome };
            }
            self.0.ended.wait(&mut state);
        }
    }

    /// Whether the end has come.
    pub fn is_ended(&self) -> bool {
        self.0.state.lock().outcome.is_some()
    }
}

#[derive(Debug, Default)]
struct Waiter {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pieces: Vec<Piece>,
    outcome: Option<Result<(), Error>>,
}

impl Sink for Waiter {
    fn piece(&self, _tag: u64, piece: Piece) {
        self.state.lock().pieces.push(piece);
    }

    fn end(&self, _tag: u64, outcome: Result<(), Error>) {
        let previous = self.state.lock().outcome.replace(outcome);
        assert!(previous.is_none(), "a request ended twice (B2)");
        self.ended.notify_all();
    }
}
