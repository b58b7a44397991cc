//! The families as a whole: their names, and the document that lists them.

use std::{collections::HashSet, fmt::Write as _, time::Duration};

use super::*;

const DOCUMENT: &str = include_str!("../../docs/METRICS.md");

/// The families as docs/METRICS.md lists them.
fn table() -> String {
    let mut rows: Vec<_> = families().collect();
    rows.sort_by_key(|family| family.name);
    let mut table = String::from("| name | type | labels | unit | meaning |\n| --- | --- | --- | --- | --- |\n");
    for Family { name, kind, labels, unit, help } in rows {
        let kind = match kind {
            FamilyKind::Counter => "counter",
            FamilyKind::Gauge => "gauge",
            FamilyKind::Histogram => "histogram",
        };
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(table, "| `{name}` | {kind} | {} | {unit} | {help} |", labels.join(", ")).expect("text");
    }
    table
}

/// Families that this build does not have, and the document does.
fn is_absent(row: &str) -> bool {
    let object_log = ["| `nbdgate_object_", "| `nbdgate_journal_", "| `nbdgate_cache_"];
    (!cfg!(feature = "object-log") && object_log.iter().any(|prefix| row.starts_with(prefix)))
        || (!cfg!(feature = "rocksdb") && row.starts_with("| `nbdgate_rocksdb_"))
}

#[test]
fn the_document_lists_exactly_the_families_there_are_and_what_to_do_about_each() {
    let table = table();
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `nbdgate_") && !is_absent(line));
    let (documented, advice): (Vec<_>, Vec<_>) = rows.map(declared_and_advised).unzip();
    let declared: Vec<_> = table.lines().filter(|line| line.starts_with("| `nbdgate_")).collect();
    assert_eq!(documented, declared, "docs/METRICS.md must hold this table, and a column of advice:\n{table}");
    for (row, advice) in documented.iter().zip(advice) {
        assert!(advice.len() > 10 && advice.ends_with('.'), "docs/METRICS.md does not tell what to do about {row}");
    }
}

/// Parts a row of the document after the column that the program declares; no cell holds a bar.
fn declared_and_advised(row: &str) -> (&str, &str) {
    let (end, _) = row.match_indices('|').nth(5).unwrap_or_else(|| panic!("too few columns in {row}"));
    let (declared, advice) = row.split_at(end + 1);
    (declared, advice.trim_end_matches('|').trim())
}

#[test]
fn the_document_lists_every_value_of_every_label() {
    let commands = Command::ALL.iter().map(|value| value.as_str());
    let chunks = Chunk::ALL.iter().map(|value| value.as_str());
    let refused = Refused::ALL.iter().map(|value| value.as_str());
    let handshakes = Handshake::ALL.iter().map(|value| value.as_str());
    for value in commands.chain(chunks).chain(refused).chain(handshakes) {
        assert!(DOCUMENT.contains(&format!("`{value}`")), "docs/METRICS.md does not tell of {value}");
    }
}

#[test]
fn names_follow_the_rules_of_prometheus_and_are_unique() {
    let mut names = HashSet::new();
    for family in families() {
        let name = family.name;
        assert!(names.insert(name), "{name} is declared twice");
        assert!(name.starts_with("nbdgate_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(family.kind == FamilyKind::Counter, name.ends_with("_total"), "{name}");
        assert!(family.kind != FamilyKind::Histogram || name.ends_with("_seconds"), "{name}");
        assert!(family.help.ends_with('.') && !family.help.contains('|'), "{name}: help is a sentence in a table");
    }
}

#[test]
fn every_registered_series_belongs_to_a_declared_family() {
    let metrics = Metrics::detached();
    metrics::with_local_recorder(metrics.recorder(), || {
        let server = ServerMetrics::new();
        let _open = server.listener("unix:/x").accepted();
        server.set_io_threads("epoll", 1);
        let export = ExportMetrics::new("vm");
        export.requests_started(1);
        export.request_failed(Command::Read, Duration::from_micros(9), nbdgate_api::Kind::Io);
        export.pieces_ended(Command::Read, Duration::from_micros(3), 1);
        #[cfg(feature = "object-log")]
        object::tell_everything(&metrics);
    });
    #[cfg(feature = "rocksdb")]
    rocksdb::tell_everything(&metrics);
    let text = metrics.render();
    let rendered: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let mut declared: Vec<_> = families().map(|family| family.name).collect();
    declared.sort_unstable();
    assert_eq!(rendered, declared, "every family has a series, and every series a family");
    let mut help = text.lines().filter(|line| line.starts_with("# HELP"));
    assert!(help.all(|line| line.ends_with('.')), "every family is described");
}
