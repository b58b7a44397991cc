//! The scheduler above layers that record, withhold and fail.

mod emulation;
mod failing;
mod overlap;

use std::sync::Arc;

use nbdgate_api::{Backend, ByteRange, Io, Op, Payload, Reply, wait};
use nbdgate_memory::Memory;
use parking_lot::Mutex;

use super::*;
use crate::metrics::ExportMetrics;

/// Ends in the order of their coming.
#[derive(Default)]
struct Ends(Mutex<Vec<(u64, Result<(), Kind>)>>);

impl Sink for Ends {
    fn piece(&self, _tag: u64, _piece: Piece) {}

    fn end(&self, tag: u64, outcome: Result<(), Error>) {
        self.0.lock().push((tag, outcome.map_err(|error| error.kind())));
    }
}

impl Ends {
    fn submit(self: &Arc<Self>, scheduler: &Arc<Scheduler>, tag: u64, op: Op) {
        scheduler.submit(op, Reply::new(self.clone(), tag));
    }

    /// What ended since the last call.
    fn take(&self) -> Vec<(u64, Result<(), Kind>)> {
        std::mem::take(&mut self.0.lock())
    }
}

fn scheduler(backend: Arc<dyn Backend>) -> Arc<Scheduler> {
    Scheduler::new(backend, false, ExportMetrics::new("tested").meters())
}

fn memory() -> Arc<dyn Backend> {
    Arc::new(Memory::new(16 << 20).unwrap())
}

fn range(offset: u64, length: u64) -> ByteRange {
    ByteRange::new(offset, length).unwrap()
}

fn write(offset: u64, byte: u8, length: usize) -> Op {
    Op::Write { offset, payload: Payload::from(vec![byte; length]), fua: false }
}

fn read(backend: &dyn Backend, offset: u64, length: u64) -> Vec<u8> {
    wait::read(backend, range(offset, length)).unwrap()
}

/// A backend that answers as it is told to.
struct Scripted<F>(Info, F);

impl<F: Fn(Io) + Send + Sync + 'static> Backend for Scripted<F> {
    fn info(&self) -> &Info {
        &self.0
    }

    fn submit(&self, io: Io) {
        (self.1)(io);
    }

    fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}
