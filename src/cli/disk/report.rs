//! What is told of disks: a table for people, JSON for programs, the same facts in both.

use std::io::{self, Write};
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::Args;
use serde_json::{Map, Value};

use crate::{cli::Failure, config::Size};

/// In which form to tell.
#[derive(Args, Debug)]
pub(super) struct Output {
    /// Write JSON: sizes in bytes, keys as in the table
    #[arg(long)]
    json: bool,
}

/// Facts of one disk, in the order in which they are told. The first is where it is.
#[derive(Debug)]
pub(super) struct Report(Vec<Fact>);

#[derive(Debug)]
struct Fact {
    key: &'static str,
    /// For people.
    text: String,
    /// For programs.
    value: Value,
}

impl Report {
    pub(super) fn new(uri: &str) -> Self {
        let mut report = Self(Vec::new());
        report.text("uri", uri);
        report
    }

    pub(super) fn text(&mut self, key: &'static str, text: &str) {
        self.0.push(Fact { key, text: text.to_owned(), value: text.into() });
    }

    pub(super) fn size(&mut self, key: &'static str, bytes: u64) {
        let size = Size::from_bytes(bytes).to_string();
        let is_plain = size.bytes().all(|byte| byte.is_ascii_digit());
        let text = if is_plain { format!("{bytes} bytes") } else { format!("{size} ({bytes} bytes)") };
        self.0.push(Fact { key, text, value: bytes.into() });
    }

    #[cfg(any(feature = "object-log", feature = "rocksdb"))]
    pub(super) fn count(&mut self, key: &'static str, count: u32) {
        self.0.push(Fact { key, text: count.to_string(), value: count.into() });
    }

    /// The number under a key, if there is one.
    pub(super) fn number_of(&self, key: &str) -> Option<u64> {
        self.0.iter().find(|fact| fact.key == key)?.value.as_u64()
    }

    /// A number of any size.
    #[cfg(any(feature = "object-log", feature = "rocksdb"))]
    pub(super) fn number(&mut self, key: &'static str, number: u64) {
        self.0.push(Fact { key, text: number.to_string(), value: number.into() });
    }

    /// Yes or no.
    #[cfg(feature = "object-log")]
    pub(super) fn truth(&mut self, key: &'static str, truth: bool) {
        self.0.push(Fact { key, text: if truth { "yes" } else { "no" }.to_owned(), value: truth.into() });
    }

    /// One thing for people, another for programs.
    #[cfg(feature = "object-log")]
    pub(super) fn value(&mut self, key: &'static str, text: String, value: Value) {
        self.0.push(Fact { key, text, value });
    }

    /// Facts that begin with no location.
    #[cfg(any(feature = "object-log", feature = "rocksdb"))]
    pub(super) fn row() -> Self {
        Self(Vec::new())
    }

    /// A number of bytes with a fraction of its unit, for people.
    pub(super) fn bytes(bytes: f64) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let mut number = bytes;
        let mut unit = 0;
        while number >= 1024.0 && unit + 1 < units.len() {
            number /= 1024.0;
            unit += 1;
        }
        format!("{number:.1} {}", units[unit])
    }

    /// One fact a line.
    pub(super) fn table(&self) -> String {
        let width = self.0.iter().map(|fact| fact.key.len()).max().unwrap_or(0);
        let lines: Vec<_> = self.0.iter().map(|Fact { key, text, .. }| format!("{key:width$}  {text}")).collect();
        lines.join("\n") + "\n"
    }

    fn json(&self) -> Value {
        self.0.iter().map(|fact| (fact.key.to_owned(), fact.value.clone())).collect::<Map<_, _>>().into()
    }
}

impl Output {
    /// Tells of several disks.
    #[cfg(feature = "object-log")]
    pub(super) fn disks(&self, reports: &[Report]) -> Result<(), Failure> {
        let text = if self.json {
            let disks: Value = reports.iter().map(Report::json).collect();
            format!("{disks:#}\n")
        } else {
            list_table(reports)
        };
        write(&text)
    }

    /// Tells of several things of one kind.
    #[cfg(any(feature = "object-log", feature = "rocksdb"))]
    pub(super) fn rows(&self, reports: &[Report]) -> Result<(), Failure> {
        let json = || reports.iter().map(Report::json).collect::<Value>();
        write(&if self.json { format!("{:#}\n", json()) } else { row_table(reports) })
    }

    /// Tells text that is for programs and for people.
    pub(super) fn text(&self, text: &str) -> Result<(), Failure> {
        if !self.json {
            return write(text);
        }
        write(&format!("{:#}\n", Value::from(text)))
    }

    /// Tells a value as JSON, or what `table` makes of it.
    pub(super) fn json_or(&self, value: &impl serde::Serialize, table: impl FnOnce() -> String) -> Result<(), Failure> {
        if !self.json {
            return write(&table());
        }
        let json = serde_json::to_string_pretty(value).context("cannot write JSON")?;
        write(&(json + "\n"))
    }

    /// Tells of one disk.
    pub(super) fn disk(&self, report: &Report) -> Result<(), Failure> {
        let text = if self.json { format!("{:#}\n", report.json()) } else { report.table() };
        write(&text)
    }
}

/// One thing a line, all its facts in columns.
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
fn row_table(reports: &[Report]) -> String {
    let Some(first) = reports.first() else { return String::new() };
    let header: Vec<String> = first.0.iter().map(|fact| fact.key.to_uppercase()).collect();
    let rows = reports.iter().map(|report| report.0.iter().map(|fact| fact.text.clone()).collect());
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> = (0..).zip(row).map(|(column, cell)| format!("{cell:0$}", width(column))).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// One disk a line, its first facts in columns.
#[cfg(feature = "object-log")]
fn list_table(reports: &[Report]) -> String {
    /// Facts that tell one disk from another; the others are for a look at one disk.
    const COLUMNS: [&str; 5] = ["uri", "size", "state", "host", "created"];
    let cell = |report: &Report, column: &str| {
        let fact = report.0.iter().find(|fact| fact.key == column);
        // The exact bytes are for a look at one disk, too.
        fact.map_or("", |fact| fact.text.split(" (").next().unwrap_or_default()).to_owned()
    };
    let header = COLUMNS.map(str::to_uppercase);
    let rows: Vec<_> = reports.iter().map(|report| COLUMNS.map(|column| cell(report, column))).collect();
    let width = |column: usize| rows.iter().chain([&header]).map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(width);
    let mut text = String::new();
    for row in [&header].into_iter().chain(&rows) {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// As in 2026-01-31T12:00:00Z; empty for the start of 1970, which stands for not known.
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
pub(super) fn time(unix_ms: u64) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms));
    // Years of five digits have no such form, and only a damaged disk tells of them.
    let time = time.filter(|_| (1..253_402_300_800_000).contains(&unix_ms));
    time.map(|time| humantime::format_rfc3339_seconds(time).to_string()).unwrap_or_default()
}

fn write(text: &str) -> Result<(), Failure> {
    Ok(io::stdout().lock().write_all(text.as_bytes()).context("cannot write to standard output")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_programs_are_told_the_same() {
        let mut report = Report::new("file:/x");
        report.size("size", 10 << 30);
        report.size("allocated", 513);
        assert_eq!(report.table(), "uri        file:/x\nsize       10G (10737418240 bytes)\nallocated  513 bytes\n");
        let json = serde_json::json!({"uri": "file:/x", "size": 10_737_418_240_u64, "allocated": 513});
        assert_eq!(report.json(), json);
    }

    #[test]
    #[cfg(feature = "object-log")]
    fn a_list_has_a_line_for_each_disk() {
        let mut report = Report::new("file:/x");
        report.size("size", 10 << 30);
        let listed = list_table(&[report, Report::new("file:/longer")]);
        assert_eq!(listed, "URI           SIZE  STATE  HOST  CREATED\nfile:/x       10G\nfile:/longer\n");
    }

    #[test]
    #[cfg(any(feature = "object-log", feature = "rocksdb"))]
    fn times_are_told_in_utc() {
        assert_eq!(time(1_767_225_600_000), "2026-01-01T00:00:00Z");
        assert_eq!((time(0), time(u64::MAX)), (String::new(), String::new()));
    }
}
