//! fsck, rebuild, scrub, garbage collection, probe, keys.

use anyhow::anyhow;
use nbdgate_s3::{
    Capability, FsckOptions, Location, OpenOptions,
    admin::{self, GcReport},
    fsck::{FsckReport, Severity},
    rebuild::{RebuildBase, RebuildOptions, RebuildReport},
    scrub::{ScrubOptions, ScrubReport},
};
use serde_json::json;

use super::{parse, reading, writing};
use crate::{
    cli::{
        Failure,
        disk::{
            access::{Hold, Key},
            progress::Bar,
            report::Report,
            wait,
        },
    },
    config::KeySource,
};

/// What was found, and whether it is all right.
type Checked = (Report, anyhow::Result<()>);

/// Checks a disk.
pub(in crate::cli::disk) fn fsck(uri: &str, data: bool, key: &Key) -> Result<Checked, Failure> {
    let location: Location = parse(uri)?;
    let bar = Bar::new("checking");
    let found = wait(nbdgate_s3::fsck(&location, &FsckOptions { data }, &bar, &reading(key)?));
    bar.end();
    let found = found?;
    let sound = match found.severity {
        Severity::Clean => Ok(()),
        Severity::Repairable => Err(anyhow!("{location} has problems; nothing that it holds is lost")),
        Severity::Damaged => Err(anyhow!("{location} is damaged: `disk rebuild --dry-run` tells what can be saved")),
    };
    Ok((check(&location, &found), sound))
}

fn check(location: &Location, found: &FsckReport) -> Report {
    let mut report = Report::new(&location.to_string());
    let severity = match found.severity {
        Severity::Clean => "clean",
        Severity::Repairable => "repairable",
        Severity::Damaged => "damaged",
    };
    report.text("severity", severity);
    report.truth("in-use", found.in_use);
    report.number("manifests", found.manifests);
    report.number("snapshots", found.snapshots);
    report.number("segments", found.segments);
    report.number("log-segments", found.log_segments);
    report.number("frames", found.frames);
    report.size("verified", found.frame_bytes);
    report.number("orphans", found.orphans);
    report.size("orphaned", found.orphan_bytes);
    report.number("foreign", found.foreign);
    let text = found.problems.iter().map(|problem| {
        let affected: Vec<_> = problem.affected.ranges.iter().map(ToString::to_string).collect();
        let affected = if affected.is_empty() { String::new() } else { format!(" (bytes {})", affected.join(", ")) };
        format!("\n  {:?} {}: {}{affected}", problem.severity, problem.object, problem.detail)
    });
    let json = found.problems.iter().map(|problem| {
        let ranges = problem.affected.ranges.iter();
        let ranges = ranges.map(|range| json!({"offset": range.offset(), "length": range.length()}));
        json!({
            "kind": format!("{:?}", problem.kind),
            "severity": format!("{:?}", problem.severity).to_lowercase(),
            "object": problem.object,
            "detail": problem.detail,
            "affected-bytes": problem.affected.bytes,
            "affected": ranges.collect::<Vec<_>>(),
        })
    });
    report.value("problems", text.collect(), json.collect::<Vec<_>>().into());
    report.number("unlisted", found.unlisted);
    report
}

/// Rebuilds a disk.
pub(in crate::cli::disk) fn rebuild(
    uri: &str,
    options: RebuildOptions,
    key: &Key,
    hold: &Hold,
) -> Result<Report, Failure> {
    let location: Location = parse(uri)?;
    let bar = Bar::new("rebuilding");
    let rebuilt = wait(nbdgate_s3::rebuild::rebuild(&location, &options, &bar, &writing(key, hold)?));
    bar.end();
    Ok(rebuilt_report(&location, &rebuilt?))
}

fn rebuilt_report(location: &Location, rebuilt: &RebuildReport) -> Report {
    let mut report = Report::new(&location.to_string());
    report.size("size", rebuilt.size);
    report.truth("exact", rebuilt.exact());
    report.truth("healthy", rebuilt.healthy);
    report.text("base", &base(&rebuilt.base));
    report.number("log-segments", rebuilt.log_segments);
    report.number("moved-segments", rebuilt.moved_segments);
    report.number("mutation", rebuilt.mutation);
    report.size("unreadable", rebuilt.unreadable.bytes);
    let lines = |lines: &[String]| lines.iter().flat_map(|line| ["\n  ", line.as_str()]).collect::<String>();
    report.value("unknown", lines(&rebuilt.unknown), rebuilt.unknown.clone().into());
    report.value("restored", lines(&rebuilt.restored), rebuilt.restored.clone().into());
    report.value("left", lines(&rebuilt.left), rebuilt.left.clone().into());
    report.truth("written", rebuilt.written.is_some());
    report
}

fn base(base: &RebuildBase) -> String {
    match base {
        RebuildBase::Nothing => "the empty disk".to_owned(),
        RebuildBase::Checkpoint { object, number } => format!("checkpoint {number}, in {object}"),
    }
}

/// Verifies all data.
pub(in crate::cli::disk) fn scrub(uri: &str, rate: Option<u64>, key: &Key) -> Result<Checked, Failure> {
    let location: Location = parse(uri)?;
    let bar = Bar::new("scrubbing");
    let options = ScrubOptions { bytes_per_second: rate };
    let found = wait(nbdgate_s3::scrub::scrub(&location, &options, &bar, &reading(key)?));
    bar.end();
    let found = found?;
    let sound = if found.is_sound() { Ok(()) } else { Err(anyhow!("{location} has lost data: see what is damaged")) };
    Ok((scrubbed(&location, &found), sound))
}

fn scrubbed(location: &Location, found: &ScrubReport) -> Report {
    let mut report = Report::new(&location.to_string());
    report.number("segments", found.segments);
    report.number("frames", found.frames);
    report.size("verified", found.bytes);
    report.number("miscounted", found.miscounted);
    let text = found.damage.iter().map(|damage| {
        let affected: Vec<_> = damage.affected.ranges.iter().map(ToString::to_string).collect();
        format!("\n  {} ({:?}): {}; bytes {}", damage.object, damage.picture, damage.detail, affected.join(", "))
    });
    let json = found.damage.iter().map(
        |damage| json!({"object": damage.object, "detail": damage.detail, "affected-bytes": damage.affected.bytes}),
    );
    report.value("damage", text.collect(), json.collect::<Vec<_>>().into());
    report
}

/// Collects the garbage.
pub(in crate::cli::disk) fn gc(uri: &str, key: &Key, hold: &Hold) -> Result<Report, Failure> {
    let location: Location = parse(uri)?;
    let bar = Bar::new("collecting");
    let collected = wait(admin::gc(&location, &writing(key, hold)?, &bar));
    bar.end();
    Ok(collected_report(&location, &collected?))
}

fn collected_report(location: &Location, collected: &GcReport) -> Report {
    let mut report = Report::new(&location.to_string());
    report.size("moved", collected.moved_bytes);
    report.number("deleted-objects", collected.deleted_objects);
    report.size("deleted", collected.deleted_bytes);
    report.number("orphans", collected.orphans);
    report.size("orphaned", collected.orphan_bytes);
    report.number("orphans-deleted", collected.orphans_deleted);
    report.number("orphans-young", collected.orphans_young);
    report.number("foreign", collected.foreign);
    report.number("unreadable", collected.unreadable);
    report.number("stored-blocks", collected.stored_blocks);
    report.number("live-blocks", collected.live_blocks);
    report.size("pinned", collected.pinned_bytes);
    report
}

/// Probes a store.
pub(in crate::cli::disk) fn probe(uri: &str, key: &Key) -> Result<Report, Failure> {
    let location: Location = parse(uri)?;
    let probed = wait(admin::probe(&location, &OpenOptions { ..reading(key)? }))?;
    let mut report = Report::new(&location.to_string());
    let capability = match probed.capability {
        Capability::Safe => "safe",
        Capability::Advisory => "advisory",
    };
    report.text("capability", capability);
    let millis = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    for (name, time) in [("round-trip", probed.round_trip), ("put", probed.put), ("get", probed.get)] {
        report.value(name, format!("{:.1} ms", millis(time)), millis(time).into());
    }
    let offset = probed.clock_offset_ms;
    report.value("clock-offset", offset.map_or("not known".to_owned(), |ms| format!("{ms} ms")), offset.into());
    Ok(report)
}

/// Changes keys.
pub(in crate::cli::disk) fn rekey(
    uri: &str,
    new: Option<&KeySource>,
    rotate: bool,
    key: &Key,
    hold: &Hold,
) -> Result<Report, Failure> {
    let location: Location = parse(uri)?;
    let mut options = writing(key, hold)?;
    if let Some(new) = new {
        let new = new.clone().into();
        wait(admin::rekey(&location, &new, &options))?;
        options.key = Some(new);
    }
    let mut report = Report::new(&location.to_string());
    report.truth("rewrapped", new.is_some());
    if rotate {
        report.number("key-id", u64::from(wait(admin::rotate(&location, &options))?));
    }
    Ok(report)
}
