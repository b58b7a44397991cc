//! nbdgate-instructions: one case so many times, for callgrind; or all of them against the clock, with and without what
//! can be left out.

use std::time::Instant;

use anyhow::Context;
use clap::{Parser, Subcommand};
use nbdgate::{metrics::Metrics, nbd::proto::ReplyStyle};
use nbdgate_instructions::{
    Case, Rig, WIDE, codec,
    disk::DiskKind,
    script::{BLOCKS, Load},
};

/// Serves requests without a socket, to be counted and timed.
#[derive(Debug, Parser)]
#[command(name = "nbdgate-instructions", version)]
struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the names of the cases.
    List,
    /// Do one case.
    Run {
        /// Its name.
        case: String,
        /// Requests; whole rounds of 256.
        count: u64,
        /// Without a metrics recorder.
        #[arg(long)]
        bare: bool,
    },
    /// Print nanoseconds per request of every case on the path, as CSV: without a recorder, with one, and with one and
    /// the least budget; rounds interleaved.
    Time {
        /// Rounds.
        #[arg(long, default_value_t = 9)]
        rounds: u64,
        /// Requests of one measurement.
        #[arg(long, default_value_t = 100 * BLOCKS)]
        count: u64,
    },
}

/// The least that a connection may be allowed to have in flight, in bytes: the longest request and its overhead.
const LEAST: u32 = (64 << 10) + 512;
/// Requests before a measurement.
const WARM_UP: u64 = 8 * BLOCKS;

/// The cases on the path of a request.
fn path_cases() -> Vec<(String, Case)> {
    use DiskKind::{File, Hole, Memory};
    use ReplyStyle::{Simple, Structured};
    let mut cases = Vec::new();
    let mut add = |name: &str, disk, load, style, depth, sleeps| {
        cases.push((name.to_owned(), Case { disk, load, style, depth, sleeps }));
    };
    add("READ, memory, simple", Memory, Load::Read, Simple, 32, false);
    add("READ, memory, structured", Memory, Load::Read, Structured, 32, false);
    add("READ, memory, simple, depth 1", Memory, Load::Read, Simple, 1, false);
    add("READ, memory, simple, asleep before each 32", Memory, Load::Read, Simple, 32, true);
    add("READ, memory, simple, asleep before each", Memory, Load::Read, Simple, 1, true);
    add("WRITE, memory, simple", Memory, Load::Write, Simple, 32, false);
    add("WRITE, memory, structured", Memory, Load::Write, Structured, 32, false);
    add("READ, file in page cache, simple", File, Load::Read, Simple, 32, false);
    add("READ, file in page cache, structured", File, Load::Read, Structured, 32, false);
    add("WRITE, file in page cache, simple", File, Load::Write, Simple, 32, false);
    add("READ of a hole, simple", Hole, Load::Read, Simple, 32, false);
    add("READ of a hole, structured", Hole, Load::Read, Structured, 32, false);
    cases
}

const PARSE: &str = "codec: parse and validate a READ";
const REPLY_SIMPLE: &str = "codec: header of a simple reply";
const REPLY_STRUCTURED: &str = "codec: header of a structured data chunk";

fn main() -> anyhow::Result<()> {
    match Args::parse().action {
        Action::List => {
            let codec = [PARSE, REPLY_SIMPLE, REPLY_STRUCTURED].map(str::to_owned);
            for name in codec.into_iter().chain(path_cases().into_iter().map(|(name, _)| name)) {
                println!("{name}");
            }
        }
        Action::Run { case, count, bare } => run(&case, count, bare)?,
        Action::Time { rounds, count } => {
            println!("case,bare,metrics,limits");
            path_cases().into_iter().try_for_each(|(name, case)| time(&name, case, rounds, count))?;
        }
    }
    Ok(())
}

fn run(name: &str, count: u64, bare: bool) -> anyhow::Result<()> {
    match name {
        PARSE => codec::parse(count),
        REPLY_SIMPLE => codec::reply(ReplyStyle::Simple, count),
        REPLY_STRUCTURED => codec::reply(ReplyStyle::Structured, count),
        name => {
            let found = path_cases().into_iter().find(|(known, _)| known == name);
            let (_, case) = found.with_context(|| format!("there is no case {name:?}"))?;
            rig(case, bare)?.serve(count / case.depth as u64, |_| ())?;
        }
    }
    Ok(())
}

/// A rig whose export's metrics are recorded, unless it is bare.
fn rig(case: Case, bare: bool) -> anyhow::Result<Rig> {
    let directory = std::env::temp_dir();
    if bare {
        return Rig::new(case, &directory);
    }
    metrics::with_local_recorder(Metrics::detached().recorder(), || Rig::new(case, &directory))
}

fn time(name: &str, case: Case, rounds: u64, count: u64) -> anyhow::Result<()> {
    let (bare, metered) = (rig(case, true)?, rig(case, false)?);
    for _ in 0..rounds {
        let bare = nanoseconds(&bare, case, count, WIDE)?;
        let metrics = nanoseconds(&metered, case, count, WIDE)?;
        let limits = nanoseconds(&metered, case, count, LEAST)?;
        println!("{name:?},{bare:.1},{metrics:.1},{limits:.1}");
    }
    Ok(())
}

/// Nanoseconds per request of a warm connection.
fn nanoseconds(rig: &Rig, case: Case, count: u64, limit: u32) -> anyhow::Result<f64> {
    let depth = case.depth as u64;
    let (mut start, mut end) = (None, None);
    rig.serve_within(limit, (WARM_UP + count) / depth, |batch| {
        if batch == WARM_UP / depth {
            start = Some(Instant::now());
        } else if batch == (WARM_UP + count) / depth {
            end = Some(Instant::now());
        }
    })?;
    let took = end.zip(start).map(|(end, start)| end - start).context("the script did not come to its end")?;
    Ok(took.as_nanos() as f64 / count as f64)
}
