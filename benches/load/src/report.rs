//! What a run tells, for people and as JSON.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::{
    cli::{Op, Order},
    driver::Outcome,
    plan::Plan,
    verifier::Tally,
};

/// The share of a core from which the generator counts as the bottleneck.
const SATURATED: f64 = 0.97;

/// A run's numbers. Times are in microseconds, rates per second.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    op: &'static str,
    order: &'static str,
    block_size: u32,
    depth: u32,
    connections: u32,
    structured: bool,
    seconds: f64,
    requests: u64,
    requests_per_second: f64,
    bytes_per_second: f64,
    latency_us: Latency,
    /// Requests that took longer than 100 ms.
    slow: u64,
    errors: u64,
    first_error: Option<u32>,
    client_cpu: Cpu,
    server_cpu: Option<Cpu>,
    verified: Option<Tally>,
}

#[derive(Clone, Debug, Serialize)]
struct Latency {
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Cpu {
    us_per_request: f64,
    cores: f64,
}

impl Report {
    /// Sums a run up.
    pub(crate) fn new(plan: &Plan, outcome: &Outcome) -> Self {
        let latencies = &outcome.measured.latencies;
        let seconds = outcome.elapsed.as_secs_f64();
        let requests = latencies.count();
        let rate = requests as f64 / seconds;
        let cpu = |time: Duration| Cpu {
            us_per_request: time.as_secs_f64() * 1e6 / requests.max(1) as f64,
            cores: time.as_secs_f64() / seconds,
        };
        let quantile = |permille| latencies.quantile(permille) as f64 / 1e3;
        Self {
            op: match plan.op {
                Op::Read => "read",
                Op::Write => "write",
                Op::WriteFlush => "write+flush",
                Op::Mixed => "mixed",
            },
            order: match plan.order {
                Order::Random => "random",
                Order::Sequential => "sequential",
            },
            block_size: plan.block_size,
            depth: plan.depth,
            connections: plan.connections,
            structured: plan.structured,
            seconds,
            requests,
            requests_per_second: rate,
            bytes_per_second: rate * f64::from(plan.block_size),
            latency_us: Latency {
                mean: latencies.mean() / 1e3,
                p50: quantile(500),
                p90: quantile(900),
                p99: quantile(990),
                p999: quantile(999),
                max: latencies.max() as f64 / 1e3,
            },
            slow: latencies.slow(),
            errors: outcome.measured.errors,
            first_error: outcome.measured.first_error,
            client_cpu: cpu(outcome.client_cpu),
            server_cpu: outcome.server_cpu.map(cpu),
            verified: outcome.tally,
        }
    }

    /// Whether every request succeeded and every byte was right.
    pub(crate) fn is_clean(&self) -> bool {
        self.errors == 0 && self.verified.is_none_or(|tally| tally.wrong == 0)
    }

    /// Whether the generator, not the server, may have been the limit.
    pub(crate) fn saturated(&self) -> bool {
        self.client_cpu.cores > SATURATED
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, order, block_size, depth, connections, seconds, .. } = self;
        let replies = if self.structured { "structured" } else { "simple" };
        writeln!(
            f,
            "{op}, {block_size} bytes, {order}, depth {depth}, connections {connections}, {replies} replies, \
             {seconds:.2} s"
        )?;
        let (rate, mebibytes) = (self.requests_per_second, self.bytes_per_second / f64::from(1 << 20));
        writeln!(f, "  rate        {rate:.0} requests/s, {mebibytes:.1} MiB/s")?;
        let Latency { mean, p50, p90, p99, p999, max } = self.latency_us;
        writeln!(
            f,
            "  latency us  mean {mean:.1}, p50 {p50:.1}, p90 {p90:.1}, p99 {p99:.1}, p99.9 {p999:.1}, max {max:.1}; \
             {} above 100 ms",
            self.slow
        )?;
        if let Some(Cpu { us_per_request, cores }) = self.server_cpu {
            writeln!(f, "  server CPU  {us_per_request:.3} us/request, {cores:.2} cores")?;
        }
        let Cpu { us_per_request, cores } = self.client_cpu;
        write!(f, "  client CPU  {us_per_request:.3} us/request, {cores:.2} cores")?;
        if let Some(Tally { right, wrong, unknown }) = self.verified {
            write!(f, "\n  verified    {right} blocks right, {wrong} wrong, {unknown} not written by this run")?;
        }
        if let Some(error) = self.first_error {
            write!(f, "\n  errors      {}, the first with number {error}", self.errors)?;
        }
        Ok(())
    }
}
