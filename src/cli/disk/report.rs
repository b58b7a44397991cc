//! What is told of disks: a table for people, JSON for programs, the same facts in both.

use std::io::{self, Write};

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

    #[cfg(feature = "object-log")]
    pub(super) fn count(&mut self, key: &'static str, count: u32) {
        self.0.push(Fact { key, text: count.to_string(), value: count.into() });
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
    pub(super) fn disks(&self, reports: &[Report]) -> Result<(), Failure> {
        let text = if self.json {
            let disks: Value = reports.iter().map(Report::json).collect();
            format!("{disks:#}\n")
        } else {
            list_table(reports)
        };
        write(&text)
    }

    /// Tells of one disk.
    pub(super) fn disk(&self, report: &Report) -> Result<(), Failure> {
        let text = if self.json { format!("{:#}\n", report.json()) } else { report.table() };
        write(&text)
    }
}

/// One disk a line, its first facts in columns.
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
        let listed = list_table(&[report, Report::new("file:/longer")]);
        assert_eq!(listed, "URI           SIZE  STATE  HOST  CREATED\nfile:/x       10G\nfile:/longer\n");
        let mut report = Report::new("file:/x");
        report.size("size", 10 << 30);
        report.size("allocated", 513);
        let json = serde_json::json!({"uri": "file:/x", "size": 10_737_418_240_u64, "allocated": 513});
        assert_eq!(report.json(), json);
    }
}
