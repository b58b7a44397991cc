//! Requests to a disk as futures, for tests on a runtime with paused time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use nbdgate_api::{Backend, ByteRange, Error, Io, Op, Piece, Reply, Sink};
use tokio::sync::oneshot;

/// No request of a test takes longer, in virtual time.
const PATIENCE: Duration = Duration::from_hours(1);

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) outcome: Result<(), Error>,
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct Asked(oneshot::Receiver<Answer>);

struct Listener {
    pieces: Mutex<Vec<Piece>>,
    tell: Mutex<Option<oneshot::Sender<Answer>>>,
}

impl Sink for Listener {
    fn piece(&self, _tag: u64, piece: Piece) {
        self.pieces.lock().unwrap().push(piece);
    }

    fn end(&self, _tag: u64, outcome: Result<(), Error>) {
        let pieces = std::mem::take(&mut *self.pieces.lock().unwrap());
        let tell = self.tell.lock().unwrap().take().expect("a request ends once (B2)");
        // The test may have lost interest.
        let _ = tell.send(Answer { pieces, outcome });
    }
}

/// Submits at once.
pub(crate) fn ask(disk: &dyn Backend, op: Op) -> Asked {
    let (tell, told) = oneshot::channel();
    let listener = Listener { pieces: Mutex::default(), tell: Mutex::new(Some(tell)) };
    disk.submit(Io { op, reply: Reply::new(Arc::new(listener), 0) });
    Asked(told)
}

impl Asked {
    /// Waits for the end.
    pub(crate) async fn answer(self) -> Answer {
        tokio::time::timeout(PATIENCE, self.0).await.expect("a request ends").expect("a reply is never lost")
    }

    /// The end, if it has come.
    pub(crate) fn try_answer(&mut self) -> Option<Answer> {
        self.0.try_recv().ok()
    }
}

pub(crate) async fn write(disk: &dyn Backend, offset: u64, bytes: Vec<u8>) -> Result<(), Error> {
    ask(disk, Op::Write { offset, payload: bytes.into(), fua: false }).answer().await.outcome
}

pub(crate) async fn flush(disk: &dyn Backend) -> Result<(), Error> {
    ask(disk, Op::Flush).answer().await.outcome
}

pub(crate) async fn read(disk: &dyn Backend, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
    let range = ByteRange::new(offset, length).unwrap();
    let answer = ask(disk, Op::Read(range)).answer().await;
    answer.outcome?;
    let mut bytes = vec![0xee; usize::try_from(length).unwrap()];
    let mut got = 0;
    for piece in answer.pieces {
        match piece {
            Piece::Data { offset: at, bytes: part } => {
                let at = usize::try_from(at - offset).unwrap();
                bytes[at..at + part.len()].copy_from_slice(&part);
                got += part.len() as u64;
            }
            Piece::Hole(hole) => {
                let at = usize::try_from(hole.offset() - offset).unwrap();
                bytes[at..at + usize::try_from(hole.length()).unwrap()].fill(0);
                got += hole.length();
            }
            Piece::Failed(_, error) => return Err(error),
            Piece::Extents(_) => panic!("a read was answered with extents"),
        }
    }
    assert_eq!(got, length, "every byte once (B3)");
    Ok(bytes)
}
