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
    /// Tells of one disk.
    pub(super) fn disk(&self, report: &Report) -> Result<(), Failure> {
        let text = if self.json { format!("{:#}\n", report.json()) } else { report.table() };
        write(&text)
    }
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
}
