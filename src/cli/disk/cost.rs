//! `nbdgate disk cost`: what a disk costs in a month, from what a gateway counted, from a description, or from a trace.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow};
use clap::{ArgGroup, Args};

use super::{
    place::{Place, usage},
    report::{Output, Report},
};
use crate::{
    cli::{Failure, http},
    config::HostPort,
    cost::{Bill, Metered, PriceList, Prices, Trace, Usage, Workload},
};

/// Seconds after which the requests of a gateway's start weigh little in what it counted.
const SOON: f64 = 3600.0;

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).args(["metrics", "workload", "print_prices"]), after_help = EXAMPLES)]
pub(in crate::cli) struct Cost {
    /// s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk; needed with --metrics
    uri: Option<Place>,

    /// Price what a running gateway has counted: the address of its --metrics
    #[arg(long, value_name = "HOST:PORT", requires_all = ["uri", "export"])]
    metrics: Option<HostPort>,

    /// The export of the disk at that gateway
    #[arg(long, value_name = "NAME")]
    export: Option<String>,

    /// Price a workload that this TOML file describes
    #[arg(long, value_name = "FILE")]
    workload: Option<PathBuf>,

    /// Replay a trace (lines of milliseconds,operation,offset,length) on a disk as --workload describes it
    #[arg(long, value_name = "FILE", requires = "workload")]
    trace: Option<PathBuf>,

    /// Whose prices: aws, aws-express, gcs, azure or r2, or a name in --prices
    #[arg(long, value_name = "NAME", default_value = "aws")]
    provider: String,

    /// Use the price list in this file
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,

    /// Write the built-in price list, to be edited
    #[arg(long)]
    print_prices: bool,

    #[command(flatten)]
    output: Output,
}

const EXAMPLES: &str = "\
Examples:
  What export vm1 of the gateway with metrics on port 9810 costs at its rate so far:
    nbdgate disk cost s3://bucket/disks/vm1 --metrics localhost:9810 --export vm1
  What a disk would cost that is described in workload.toml, at Google:
    nbdgate disk cost --workload workload.toml --provider gcs
  A workload.toml:
    live-gib = 500
    written-gib-day = 60
    flushes-second = 5
    missed-reads-day = 1e6
    flush = \"journal\"";

impl Cost {
    pub(super) fn run(&self) -> Result<(), Failure> {
        if self.print_prices {
            return self.output.text(PriceList::text());
        }
        let prices = self.prices()?;
        let usage = match (&self.metrics, &self.workload, &self.uri) {
            (Some(metrics), _, Some(uri)) => self.metered(metrics, uri)?,
            (_, Some(file), _) => self.described(file)?,
            _ => return Err(usage("give --metrics with a disk, or --workload")),
        };
        let bill = Bill::new(&usage, &prices);
        self.output.json_or(&bill, || table(&bill))
    }

    fn prices(&self) -> Result<Prices, Failure> {
        let list = match &self.prices {
            None => PriceList::built_in(),
            Some(file) => {
                let parsed = PriceList::parse(&read(file)?);
                parsed.map_err(|error| usage(format!("{}: {}", file.display(), error.to_string().trim())))?
            }
        };
        list.get(&self.provider).cloned().ok_or_else(|| {
            let names: Vec<_> = list.names().collect();
            usage(format!("no prices for {:?}: there are {}", self.provider, names.join(", ")))
        })
    }

    fn metered(&self, metrics: &HostPort, uri: &Place) -> Result<Usage, Failure> {
        let stored = stored_bytes(uri)?;
        let export = self.export.as_deref().unwrap_or_default();
        let address = metrics.resolve().map_err(|invalid| Failure::Usage(invalid.into()))?;
        let text = super::wait(scrape(address))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let metered = Metered::parse(&text, export, now).context("cannot price what the gateway counted")?;
        if metered.seconds < SOON {
            let seconds = metered.seconds;
            tracing::warn!(
                seconds,
                "the gateway started lately: what it asked at its start is priced as if it went on"
            );
        }
        Ok(metered.month(stored))
    }

    fn described(&self, file: &Path) -> Result<Usage, Failure> {
        let wrong = |what: String| usage(format!("{}: {what}", file.display()));
        let parsed: Result<Workload, _> = toml::from_str(&read(file)?);
        let workload = parsed.map_err(|error| wrong(error.to_string().trim().to_owned()))?;
        if let Some(problem) = workload.problem() {
            return Err(wrong(problem.to_owned()));
        }
        let Some(trace) = &self.trace else { return Ok(workload.usage()) };
        let replayed = Trace::replay(&read(trace)?, &workload);
        let replayed = replayed.map_err(|error| usage(format!("{}: {error}", trace.display())))?;
        Ok(replayed.month(&workload))
    }
}

/// Bytes that a disk takes in its store, without those of a disk that it was cloned from.
fn stored_bytes(uri: &Place) -> Result<f64, Failure> {
    match uri {
        #[cfg(feature = "object-log")]
        Place::Object(url) => super::object::stored_bytes(url),
        #[cfg(not(feature = "object-log"))]
        Place::Object(_) => Err(uri.refused("cost")),
        Place::File(_) | Place::RocksDb(_) => {
            Err(usage(format!("{uri} is not in an object store: it costs no requests")))
        }
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The text of /metrics.
async fn scrape(address: std::net::SocketAddr) -> anyhow::Result<String> {
    let (status, text) = http::get(address, "/metrics").await?;
    if !status.is_success() {
        return Err(anyhow!("http://{address}/metrics answered {status}"));
    }
    Ok(text)
}

fn table(bill: &Bill) -> String {
    let row = |cells: [&str; 6]| {
        let [cause, puts, gets, deletes, bytes, cost] = cells;
        format!("{cause:<12} {puts:>12} {gets:>12} {deletes:>12} {bytes:>12} {cost:>10}\n")
    };
    let count = |count: f64| format!("{count:.0}");
    let money = |cost: f64| format!("{cost:.2}");
    let mut text = format!("A month at {} (list prices of {})\n\n", bill.prices.of, bill.prices.as_of);
    text += &row(["CAUSE", "PUT, LIST", "GET", "DELETE", "BYTES", "COST"]);
    for line in &bill.lines {
        let bytes = Report::bytes(line.sent_bytes + line.received_bytes);
        let (puts, gets, deletes) = (count(line.puts), count(line.gets), count(line.deletes));
        text += &row([&line.cause, &puts, &gets, &deletes, &bytes, &money(line.cost)]);
    }
    text += &row(["storage", "", "", "", &Report::bytes(bill.stored_bytes), &money(bill.storage_cost)]);
    text += &row(["total", "", "", "", "", &money(bill.total_cost)]);
    text
}
