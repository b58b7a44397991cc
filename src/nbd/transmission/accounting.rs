//! What a connection tells the metrics of its export.

use std::time::Instant;

use super::{answer::Answered, output::Tally, slot::Slot};
use crate::{
    metrics::{self, Chunk, ExportMetrics},
    nbd::proto::{Command, constants},
};

/// The label of a command.
pub(super) fn label(command: &Command) -> metrics::Command {
    match command {
        Command::Read { .. } => metrics::Command::Read,
        Command::Write { .. } => metrics::Command::Write,
        Command::Flush => metrics::Command::Flush,
        Command::Trim { .. } => metrics::Command::Trim,
        Command::WriteZeroes { .. } => metrics::Command::WriteZeroes,
        Command::Cache(_) => metrics::Command::Cache,
        Command::BlockStatus { .. } | Command::FilteredBlockStatus(_) => metrics::Command::BlockStatus,
        Command::Disc => unreachable!("DISC is never in flight"),
    }
}

/// The label of a refused request's command, if there is such a command.
pub(super) fn label_of_number(command: u16) -> Option<metrics::Command> {
    Some(match command {
        constants::NBD_CMD_READ => metrics::Command::Read,
        constants::NBD_CMD_WRITE => metrics::Command::Write,
        constants::NBD_CMD_FLUSH => metrics::Command::Flush,
        constants::NBD_CMD_TRIM => metrics::Command::Trim,
        constants::NBD_CMD_WRITE_ZEROES => metrics::Command::WriteZeroes,
        constants::NBD_CMD_CACHE => metrics::Command::Cache,
        constants::NBD_CMD_BLOCK_STATUS => metrics::Command::BlockStatus,
        _ => return None,
    })
}

/// Requests that ended in one go, gathered while they are of one kind and were parsed at one time: most are, and a batch is
/// counted as cheaply as one request.
#[derive(Debug)]
pub(super) struct Ended<'a> {
    metrics: &'a ExportMetrics,
    now: Instant,
    run: Option<Run>,
}

#[derive(Debug)]
struct Run {
    command: metrics::Command,
    started: Instant,
    pieces: u32,
    requests: u32,
    bytes: u64,
}

impl<'a> Ended<'a> {
    /// Nothing yet; all of it ends `now`.
    pub(super) fn new(metrics: &'a ExportMetrics, now: Instant) -> Self {
        Self { metrics, now, run: None }
    }

    /// A piece of a request came back.
    pub(super) fn piece(&mut self, slot: &Slot) {
        self.run(&slot.command, slot.started).pieces += 1;
    }

    /// A request is answered.
    pub(super) fn request(&mut self, answered: &Answered) {
        if let Some(error) = &answered.error {
            let took = self.now.saturating_duration_since(answered.started);
            return self.metrics.request_failed(label(&answered.command), took, error.kind());
        }
        let run = self.run(&answered.command, answered.started);
        run.requests += 1;
        if let Command::Read { range, .. } | Command::Write { range, .. } = answered.command {
            run.bytes += range.length();
        }
    }

    fn run(&mut self, command: &Command, started: Instant) -> &mut Run {
        let command = label(command);
        if self.run.as_ref().is_some_and(|run| run.command != command || run.started != started) {
            self.flush();
        }
        self.run.get_or_insert(Run { command, started, pieces: 0, requests: 0, bytes: 0 })
    }

    fn flush(&mut self) {
        let Some(Run { command, started, pieces, requests, bytes }) = self.run.take() else { return };
        let took = self.now.saturating_duration_since(started);
        if pieces > 0 {
            self.metrics.pieces_ended(command, took, pieces);
        }
        if requests > 0 {
            self.metrics.requests_ended(command, took, requests, bytes);
        }
    }
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Counts the chunks written since the last call.
pub(super) fn chunks(metrics: &ExportMetrics, tally: &mut Tally) {
    let Tally { data, hole, error, none, block_status } = std::mem::take(tally);
    for (kind, count) in [
        (Chunk::Data, data),
        (Chunk::Hole, hole),
        (Chunk::Error, error),
        (Chunk::None, none),
        (Chunk::BlockStatus, block_status),
    ] {
        if count > 0 {
            metrics.chunks(kind, count);
        }
    }
}
