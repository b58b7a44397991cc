//! A recorded trace of requests, replayed without a disk: how many segments and requests it would make.
//!
//! A line is `milliseconds,operation,offset,length`, the operation one of read, write, trim, zero and flush; lines with
//! `#` and empty ones are skipped. Times never run backwards.

use std::collections::BTreeSet;

use super::{FlushTo, Item, MONTH_SECONDS, Usage, Workload};

/// Bytes of a block.
const BLOCK: u64 = 4096;
/// Stored bytes at which a segment is closed.
const SEGMENT: f64 = (8 << 20) as f64;
/// Bytes of a line of the read cache.
const LINE: u64 = 64 << 10;

/// What a trace did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// From the first line to the last, in seconds.
    pub seconds: f64,
    /// Log segments that were full or old.
    pub segments: f64,
    /// Log segments that a FLUSH closed.
    pub flushed: f64,
    /// Bytes written, before compression.
    pub written: f64,
    /// Lines of the cache that were read for the first time.
    pub missed: f64,
    /// Distinct bytes written.
    pub live: f64,
}

/// Why a trace cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct BadTrace {
    /// Counted from one.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// The open segment of the replay.
#[derive(Default)]
struct Replay {
    trace: Trace,
    open: f64,
    since: f64,
    blocks: BTreeSet<u64>,
    lines: BTreeSet<u64>,
}

impl Trace {
    /// Replays `text` on a disk that is set up as `like` says; its rates are not used.
    ///
    /// # Errors
    /// A line is none.
    pub fn replay(text: &str, like: &Workload) -> Result<Self, BadTrace> {
        let mut replay = Replay::default();
        let (mut first, mut last) = (None, 0.0);
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |what: String| BadTrace { line: number, what };
            let request = Request::parse(line).map_err(bad)?;
            if request.at < last {
                return Err(bad(format!("time runs backwards, from {last} to {}", request.at)));
            }
            last = request.at;
            first.get_or_insert(last);
            replay.take(&request, like);
        }
        replay.close_if_old(f64::INFINITY, like);
        replay.trace.seconds = (last - first.unwrap_or(last)) / 1000.0;
        replay.trace.live = replay.blocks.len() as f64 * BLOCK as f64;
        Ok(replay.trace)
    }

    /// The same for a month, on a disk like `like`.
    pub fn month(&self, like: &Workload) -> Usage {
        let factor = MONTH_SECONDS / self.seconds.max(1.0);
        let described = Workload {
            live_gib: self.live / super::GIB,
            written_gib_day: self.written * factor / 30.0 / super::GIB,
            missed_reads_day: self.missed * factor / 30.0,
            flushes_second: 0.0,
            ..like.clone()
        };
        let mut usage = described.usage();
        // The description knows averages; the replay has counted the segments.
        let sent = usage.causes.remove("segment").map_or(0.0, |item| item.sent);
        let (segments, flushed) = (self.segments * factor, self.flushed * factor);
        let share = |part: f64| if part > 0.0 { sent * part / (segments + flushed) } else { 0.0 };
        usage.add("segment", &Item { puts: segments, sent: share(segments), ..Item::default() });
        usage.add("flush", &Item { puts: flushed, sent: share(flushed), ..Item::default() });
        usage
    }
}

impl Replay {
    fn take(&mut self, request: &Request, like: &Workload) {
        self.close_if_old(request.at, like);
        let ends = request.offset.saturating_add(request.length);
        match request.operation {
            Operation::Read => {
                for line in request.offset / LINE..ends.div_ceil(LINE) {
                    self.trace.missed += f64::from(self.lines.insert(line));
                }
            }
            Operation::Write => {
                self.blocks.extend(request.offset / BLOCK..ends.div_ceil(BLOCK));
                if self.open == 0.0 {
                    self.since = request.at;
                }
                self.open += request.length as f64;
                self.trace.written += request.length as f64;
                while self.open / like.compression >= SEGMENT {
                    self.open = (self.open - SEGMENT * like.compression).max(0.0);
                    self.trace.segments += 1.0;
                }
            }
            Operation::Zero => {
                for block in request.offset.div_ceil(BLOCK)..ends / BLOCK {
                    self.blocks.remove(&block);
                }
            }
            Operation::Flush => {
                if self.open > 0.0 && like.flush == FlushTo::Object {
                    self.open = 0.0;
                    self.trace.flushed += 1.0;
                }
            }
        }
    }

    fn close_if_old(&mut self, now: f64, like: &Workload) {
        if self.open > 0.0 && now - self.since >= like.upload_delay_seconds * 1000.0 {
            self.open = 0.0;
            self.trace.segments += 1.0;
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Read,
    Write,
    Zero,
    Flush,
}

struct Request {
    at: f64,
    operation: Operation,
    offset: u64,
    length: u64,
}

impl Request {
    /// The longest range that is believed.
    const MAX_LENGTH: u64 = 1 << 40;

    fn parse(line: &str) -> Result<Self, String> {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [at, operation, offset, length] = fields[..] else {
            return Err(format!("{line:?} is not milliseconds,operation,offset,length"));
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is not a whole number"));
        let operation = match operation {
            "read" => Operation::Read,
            "write" => Operation::Write,
            "trim" | "zero" => Operation::Zero,
            "flush" => Operation::Flush,
            _ => return Err(format!("{operation:?} is not read, write, trim, zero or flush")),
        };
        let length = number(length)?;
        if length > Self::MAX_LENGTH {
            return Err(format!("a request of {length} bytes is too long"));
        }
        Ok(Self { at: number(at)? as f64, operation, offset: number(offset)?, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(flush: &str) -> Workload {
        toml::from_str(&format!("live-gib = 0\nwritten-gib-day = 0\ncompression = 1\nlease = false\nflush = {flush:?}"))
            .expect("a workload")
    }

    #[test]
    fn flushes_close_segments_in_object_mode_only() {
        let text =
            "0,write,0,4096\n10,flush,0,0\n20,flush,0,0\n30,write,4096,4096\n9000,write,0,4096\n20000,flush,0,0\n";
        let object = Trace::replay(text, &like("object")).expect("a trace");
        assert_eq!((object.flushed, object.segments, object.written, object.live), (1.0, 2.0, 12_288.0, 8192.0));
        let journal = Trace::replay(text, &like("journal")).expect("a trace");
        assert_eq!((journal.flushed, journal.segments), (0.0, 2.0));
    }

    #[test]
    fn full_segments_and_missed_lines_are_counted() {
        let text = "0,write,0,33554432\n1,read,0,131072\n2,read,65536,4096\n3,trim,0,16777216\n";
        let trace = Trace::replay(text, &like("object")).expect("a trace");
        assert_eq!((trace.segments, trace.missed), (4.0, 2.0));
        assert!((trace.live - f64::from(16 << 20)).abs() < 1.0, "{trace:?}");
        let month = trace.month(&like("object"));
        assert!(month.causes["segment"].puts > 1e6, "three milliseconds, over and over: {month:?}");
    }

    #[test]
    fn a_bad_line_is_told_by_its_number() {
        for (text, what) in [
            ("# x\n1,write,0\n", "line 2"),
            ("1,erase,0,1", "erase"),
            ("1,read,x,1", "whole number"),
            ("5,flush,0,0\n4,flush,0,0", "backwards"),
            ("1,trim,0,99999999999999", "too long"),
        ] {
            let error = Trace::replay(text, &like("object")).expect_err(what).to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
