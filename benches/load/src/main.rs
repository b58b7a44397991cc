//! nbdgate-load: a load generator that speaks raw NBD.
//!
//! One thread keeps a fixed number of requests in flight on each of its connections, measures rates, latencies
//! and the CPU that the server and the generator itself spent, and can check every byte it reads. Its NBD code
//! is its own: a second implementation of the protocol, which shares nothing with the server it measures. It
//! does not retry, reconnect or pace: a server that breaks the protocol ends the run with an error.

mod cli;
mod connection;
mod driver;
mod handshake;
mod histogram;
mod input;
mod pattern;
mod plan;
mod poller;
mod process;
mod random;
mod report;
mod slots;
mod socket;
#[cfg(test)]
mod testing;
mod verifier;
mod wire;
mod workload;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::{cli::Args, driver::Load, plan::Plan, report::Report};

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("nbdgate-load: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs the load and prints its report; false where a request failed or a byte was wrong.
fn run(args: Args) -> anyhow::Result<bool> {
    let json = args.json;
    let plan = Plan::try_from(args)?;
    let outcome = Load::connect(&plan)?.run()?;
    let report = Report::new(&plan, &outcome);
    if json {
        println!("{}", serde_json::to_string(&report).context("write the report as JSON")?);
    } else {
        println!("{report}");
    }
    if report.saturated() {
        eprintln!("nbdgate-load: the generator used a whole core; the server may be able to do more");
    }
    Ok(report.is_clean())
}
