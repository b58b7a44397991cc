//! What a connection tells the metrics of its export.

use std::time::Instant;

use super::{answer::Answered, output::Tally};
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

/// Counts an answered request.
pub(super) fn answered(metrics: &ExportMetrics, answered: &Answered, now: Instant) {
    let took = now.saturating_duration_since(answered.started);
    let outcome = match &answered.error {
        Some(error) => Err(error.kind()),
        None => Ok(match answered.command {
            Command::Read { range, .. } | Command::Write { range, .. } => range.length(),
            _ => 0,
        }),
    };
    metrics.request_ended(label(&answered.command), took, outcome);
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
