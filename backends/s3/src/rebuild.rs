//! Putting a disk together again from its objects alone, when its manifest or its checkpoint is lost.
//!
//! ```text
//! what is there ─► newest root that loads ─► the log behind it, without a gap ─► fence ─► checkpoint, CLOSED
//!                   └► none: the log from its first slot, and moved segments
//! ```
//!
//! What a writer has written it had first recovered, so behind a root of epoch e lie slots of epochs from e on only, in
//! the order of slots, each continuing the mutations of the one before. That, and nothing else, is applied. What is
//! left over, or cannot be known, is told, and then nothing is written unless the caller accepts the loss.
//!
//! Nothing is deleted and nothing is replaced: a damaged manifest stays where it is, and a newer one follows it.

mod adopt;
mod compare;
mod replay;
mod report;
mod salvage;
mod survey;
mod write;

use std::sync::Arc;

use nbdgate_api::{Error, Kind};

pub use self::report::{RebuildBase, RebuildReport};
use self::{replay::Rebuilt, survey::Survey};
use crate::{
    Location, OpenOptions, Progress,
    format::{BLOCK_SIZE, manifest::State},
    inspect::{Inspect, identity::identify, store_for},
    keys::unlock::unlock_damaged,
    observer::Cause,
    ownership::host::host_name,
    store::Patience,
};

/// How a disk is rebuilt.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "four flags of a command, each given by itself")]
pub struct RebuildOptions {
    /// Say what would be done, and write nothing.
    pub dry_run: bool,
    /// Rebuild a disk that opens.
    pub force: bool,
    /// Write a state that may lack something, or hold what was overwritten or trimmed; the report says what.
    pub accept_loss: bool,
    /// Take no checkpoint for granted: replay the log from its first slot.
    pub from_log: bool,
    /// Bytes of the disk, where nothing says them any more.
    pub size: Option<u64>,
}

/// Rebuilds a disk.
///
/// # Errors
/// There is no such disk, it was deleted, another host holds it (without `steal`), it is healthy (without `force`), or
/// something would be lost (without `accept_loss`): nothing was written then. Or the store does not answer.
pub async fn rebuild(
    location: &Location,
    rebuild: &RebuildOptions,
    progress: &dyn Progress,
    options: &OpenOptions,
) -> Result<RebuildReport, Error> {
    let store = store_for(location, options, Cause::Scrub)?;
    let patience = Patience::asking(options.tuning.open_deadline);
    let identity = identify(&store, location, patience).await?;
    unlock_damaged(&store, identity.volume, location, options, patience).await?;
    let inspect = Inspect { store: Arc::clone(&store), volume: identity.volume, patience };
    let survey = Survey::of(&inspect, &identity, rebuild.size, progress).await?;
    refuse_holder(&survey, location, options)?;
    let mut rebuilt = replay::replay(&inspect, &survey, rebuild.from_log, progress).await?;
    let healthy = compare::healthy(&inspect, &survey).await?;
    if let Some(head) = &healthy {
        rebuilt.report.differs = Some(compare::differences(head, &rebuilt.state.committed));
    }
    rebuilt.report.healthy = healthy.is_some();
    rebuilt.report.size = rebuilt.state.committed.map.blocks() * BLOCK_SIZE as u64;
    rebuilt.report.unknown.extend(journal_left_out(&survey, options));
    if rebuild.dry_run {
        return Ok(rebuilt.report);
    }
    refuse(&rebuilt.report, *rebuild, location)?;
    let Rebuilt { mut report, state } = rebuilt;
    if !report.healthy || rebuild.force {
        report.written = Some(write::publish(&inspect, &survey, state, options).await?);
    }
    write::restore(&inspect, location, &survey, &identity, &mut report).await?;
    Ok(report)
}

fn refuse_holder(survey: &Survey, location: &Location, options: &OpenOptions) -> Result<(), Error> {
    let Some(manifest) = &survey.manifest else { return Ok(()) };
    if manifest.state == State::Deleted {
        return Err(Error::new(Kind::Invalid, format!("{location} was deleted")));
    }
    let held = matches!(manifest.state, State::Open | State::Claim);
    if held && manifest.owner.host != host_name(options.host.as_deref()) && !options.steal {
        let text = format!(
            "{location} was last held by {}: stop that gateway, or rebuild with `steal` if it is gone",
            manifest.owner.host
        );
        return Err(Error::new(Kind::Permission, text));
    }
    Ok(())
}

/// A rebuild replays no journal, and what a journal holds does not follow what is rebuilt.
fn journal_left_out(survey: &Survey, options: &OpenOptions) -> Option<String> {
    let owner = &survey.manifest.as_ref()?.owner;
    let journal = owner.journal.filter(|_| owner.journal_dirty && !options.abandon_journal)?;
    let host = &owner.host;
    Some(format!("the journal {journal} of host {host} may hold writes that the bucket lacks, and is not replayed"))
}

fn refuse(report: &RebuildReport, rebuild: RebuildOptions, location: &Location) -> Result<(), Error> {
    if report.healthy && !rebuild.force && report.lost_names == 0 {
        let text = match report.unreadable.bytes {
            0 => format!("{location} is healthy: there is nothing to rebuild"),
            lost => {
                format!("{location} opens as it is, and the {lost} bytes whose objects are missing cannot be rebuilt")
            }
        };
        return Err(Error::new(Kind::Invalid, text));
    }
    if !report.exact() && !rebuild.accept_loss {
        let text =
            format!("rebuilding {location} may lose something ({}): nothing was written", report.unknown.join("; "));
        return Err(Error::new(Kind::Invalid, text));
    }
    Ok(())
}
