//! Which parts of a disk hold data, asked of its own backend by BLOCK_STATUS, one request at a time.
//!
//! The work is bounded whatever the disk: a request tells as much as the backend likes to tell at once, and a cell of which
//! they tell little costs [`CELL_REQUESTS`] of them, spread over it; the rest of it is taken to be like what they told. After an
//! answer that took its time there is a pause as long.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use nbdgate_api::{Backend, ByteRange, Error, Extent, ExtentKind, Io, Op, Piece, Reply, Sink};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::{sync::oneshot, task, time};

use crate::export::Export;

/// Most cells of a map.
const MAX_CELLS: u64 = 1024;
/// Cells are multiples of this, in bytes.
const GRAIN: u64 = 4096;
/// Bytes that one request asks about: a backend may look at every part of them before it answers.
const ASKED_FOR: u64 = 64 << 30;
/// Most requests for a cell.
const CELL_REQUESTS: u64 = 4;
/// An answer that took longer than this may have kept others waiting.
const LONG: Duration = Duration::from_micros(500);

/// The map of a disk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Allocation {
    cell_bytes: u64,
    /// The part of each cell that is allocated, 0 to 1; the last may be shorter than the others.
    cells: Vec<f64>,
    allocated_bytes: u64,
    /// Some cells are taken to be like the parts of them that were looked at.
    estimated: bool,
}

/// What was told of a cell, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    looked_at: u64,
    allocated: u64,
}

/// A map in the making.
struct Draft {
    size: u64,
    cell_bytes: u64,
    cells: Vec<Seen>,
}

/// The map of an export that is still there; `None` if its backend fails.
pub(super) async fn walk(export: Weak<Export>) -> Option<Allocation> {
    let mut draft = Draft::new(export.upgrade()?.info().size);
    let (mut at, mut cell, mut asked) = (0, 0, 0);
    while at < draft.size {
        let began = Instant::now();
        // Not kept alive while it is waited for.
        let told = ask(export.upgrade()?.backend().as_ref(), ByteRange::between(at, (at + ASKED_FOR).min(draft.size)));
        let told = draft.enter(at, &told.await.ok()?.ok()?)?;
        rest(began.elapsed()).await;
        asked = if at / draft.cell_bytes == cell { asked + 1 } else { 1 };
        cell = at / draft.cell_bytes;
        // What was not told of a quarter is left out, so that the whole cell is not judged by its beginning.
        let quarter = (cell * draft.cell_bytes + draft.cell_bytes * asked / CELL_REQUESTS) / GRAIN * GRAIN;
        at = if told / draft.cell_bytes == cell { told.max(quarter) } else { told };
    }
    Some(draft.finish())
}

impl Draft {
    fn new(size: u64) -> Self {
        let cell_bytes = size.div_ceil(MAX_CELLS).next_multiple_of(GRAIN).max(GRAIN);
        let count = usize::try_from(size.div_ceil(cell_bytes)).expect("at most as many as allowed");
        Self { size, cell_bytes, cells: vec![Seen::default(); count] }
    }

    /// Enters the extents of an answer that begins at `at`; where it ends. `None` if it tells nothing of that place.
    fn enter(&mut self, at: u64, extents: &[Extent]) -> Option<u64> {
        let mut told = at;
        for extent in extents {
            while told < extent.range.end().min(self.size) {
                let number = told / self.cell_bytes;
                let end = extent.range.end().min(self.size).min((number + 1) * self.cell_bytes);
                let cell = &mut self.cells[usize::try_from(number).expect("a cell of the map")];
                cell.looked_at += end - told;
                cell.allocated += if extent.kind == ExtentKind::Hole { 0 } else { end - told };
                told = end;
            }
        }
        (told > at).then_some(told)
    }

    fn finish(self) -> Allocation {
        let Self { size, cell_bytes, cells } = self;
        let mut map = Allocation { cell_bytes, cells: Vec::new(), allocated_bytes: 0, estimated: false };
        for (number, Seen { looked_at, allocated }) in (0..).zip(cells) {
            let length = cell_bytes.min(size - number * cell_bytes);
            let part = if looked_at == 0 { 0.0 } else { allocated as f64 / looked_at as f64 };
            map.estimated |= looked_at < length;
            map.cells.push(rounded(part));
            map.allocated_bytes += if looked_at < length { scaled(part, length) } else { allocated };
        }
        map
    }
}

/// Asks for the beginning of a range, as far as one answer tells.
fn ask(backend: &dyn Backend, range: ByteRange) -> oneshot::Receiver<Outcome> {
    let (sink, told) = Collected::new();
    backend.submit(Io { op: Op::BlockStatus { range, req_one: false }, reply: Reply::new(sink, 0) });
    told
}

/// Leaves the backend to its clients.
async fn rest(took: Duration) {
    if took > LONG { time::sleep(took).await } else { task::yield_now().await }
}

/// At least something where anything is allocated, and not everything where anything is not.
fn rounded(part: f64) -> f64 {
    const STEPS: f64 = 10_000.0;
    let steps = part * STEPS;
    if part < 0.5 { steps.ceil() / STEPS } else { steps.floor() / STEPS }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a length")]
fn scaled(part: f64, length: u64) -> u64 {
    (part * length as f64) as u64
}

type Outcome = Result<Vec<Extent>, Error>;

/// Takes the answer of one request.
struct Collected(Mutex<(Vec<Extent>, Option<oneshot::Sender<Outcome>>)>);

impl Collected {
    fn new() -> (Arc<Self>, oneshot::Receiver<Outcome>) {
        let (tell, told) = oneshot::channel();
        (Arc::new(Self(Mutex::new((Vec::new(), Some(tell))))), told)
    }
}

impl Sink for Collected {
    fn piece(&self, _tag: u64, piece: Piece) {
        if let Piece::Extents(extents) = piece {
            self.0.lock().0.extend(extents);
        }
    }

    fn end(&self, _tag: u64, outcome: Result<(), Error>) {
        let (extents, tell) = {
            let mut inner = self.0.lock();
            (std::mem::take(&mut inner.0), inner.1.take())
        };
        if let Some(tell) = tell {
            let _nobody_waits = tell.send(outcome.map(|()| extents));
        }
    }
}

#[cfg(test)]
mod tests;
