//! The run: warm-up, measurement, drain, and the read-back of a verifying run.
//!
//! One thread serves all connections. Each wake-up reads the clock once, parses all that came, refills the free slots
//! and sends them together; a request's latency is from the wake-up that sent it to the one that found its answer.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};

use crate::{
    cli::Op,
    connection::{Connection, Finished, Shape},
    handshake::Export,
    histogram::Histogram,
    input::Wait,
    plan::{Plan, Stop},
    poller::Poller,
    process::Usage,
    random::Random,
    socket,
    verifier::{Tally, Verifier},
    wire::{Command, Request},
    workload::{Step, Workload},
};

/// A load on a server.
pub(crate) struct Load<'a> {
    plan: &'a Plan,
    connections: Vec<Connection>,
    poller: Poller,
    workload: Workload,
    verifier: Option<Verifier>,
    /// Where WRITEs that are not verified have their bytes from; the slots' own, again and again, if nowhere.
    noise: Option<Random>,
    source: Source,
    in_flight: u64,
    measured: Measured,
}

/// Where new requests come from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// The workload, so many more times.
    Workload(u64),
    /// Reads of what was written, from a block on.
    ReadBack(u64),
}

/// What is counted during the measurement.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) latencies: Histogram,
    pub(crate) errors: u64,
    /// The first error's number.
    pub(crate) first_error: Option<u32>,
}

/// A finished run.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) measured: Measured,
    pub(crate) elapsed: Duration,
    pub(crate) client_cpu: Duration,
    pub(crate) server_cpu: Option<Duration>,
    pub(crate) tally: Option<Tally>,
}

impl<'a> Load<'a> {
    /// Connects and negotiates all connections.
    pub(crate) fn connect(plan: &'a Plan) -> anyhow::Result<Self> {
        let mut connections = Vec::new();
        let mut first = None;
        for index in 0..plan.connections {
            let (socket, export) = socket::open(plan).with_context(|| format!("open connection {index}"))?;
            first.get_or_insert(export);
            let payload = if plan.writes() || plan.verify { plan.block_size as usize } else { 0 };
            let shape = Shape { depth: plan.depth, payload, structured: plan.structured, keep: plan.verify };
            connections.push(Connection::new(socket, shape));
        }
        let export = first.context("a run has a connection")?;
        let blocks = check_export(plan, export)?;
        let in_flight = u64::from(plan.depth) * u64::from(plan.connections);
        let verifier =
            if plan.verify { Some(Verifier::new(run_number(), plan.block_size, blocks, in_flight)?) } else { None };
        let poller = Poller::new(connections.iter().map(Connection::socket), plan.stall)?;
        let workload = Workload::new(plan, blocks);
        // Another run, with another seed, writes other bytes; offsets do not come from the same numbers.
        let noise = plan.fresh.then(|| Random::new(!plan.seed));
        let (source, measured) = (Source::Workload(0), Measured::new());
        Ok(Self { plan, connections, poller, workload, verifier, noise, source, in_flight: 0, measured })
    }

    /// Does it all.
    pub(crate) fn run(mut self) -> anyhow::Result<Outcome> {
        let plan = self.plan;
        if !plan.warm_up.is_zero() {
            self.generate(Stop::After(plan.warm_up))?;
            self.measured.latencies = Histogram::new();
        }
        let usage = || plan.server_pid.map(Usage::of).transpose();
        let (server, client) = (usage()?, Usage::of(std::process::id())?);
        let start = Instant::now();
        let end = self.generate(plan.stop)?;
        let client_cpu = Usage::of(std::process::id())?.since(&client);
        let server_cpu = usage()?.zip(server).map(|(after, before)| after.since(&before));
        let mut measured = self.measured.clone();
        self.drain()?;
        if self.verifier.is_some() {
            self.source = Source::ReadBack(0);
            self.refill_all()?;
            self.drain()?;
        }
        (measured.errors, measured.first_error) = (self.measured.errors, self.measured.first_error);
        let tally = self.verifier.as_ref().map(Verifier::tally);
        for connection in self.connections {
            connection.disconnect()?;
        }
        Ok(Outcome { measured, elapsed: end - start, client_cpu, server_cpu, tally })
    }

    /// Keeps all slots busy until the stop; tells when that was.
    fn generate(&mut self, stop: Stop) -> anyhow::Result<Instant> {
        let (count, deadline) = match stop {
            Stop::After(time) => (u64::MAX, Some(Instant::now() + time)),
            Stop::Requests(count) => (count.saturating_sub(self.in_flight), None),
        };
        self.source = Source::Workload(count);
        self.refill_all()?;
        loop {
            let now = self.turn()?;
            if self.in_flight == 0 || deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(now);
            }
        }
    }

    /// Waits for what is in flight; a read-back goes on to its end.
    fn drain(&mut self) -> anyhow::Result<()> {
        if matches!(self.source, Source::Workload(_)) {
            self.source = Source::Workload(0);
        }
        while self.in_flight > 0 {
            self.turn()?;
        }
        Ok(())
    }

    fn refill_all(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        (0..self.connections.len()).try_for_each(|index| self.refill(index, now))
    }

    /// Waits once and serves what is ready; tells the time of it.
    fn turn(&mut self) -> anyhow::Result<Instant> {
        if let [connection] = &self.connections[..]
            && !connection.wants_to_send()
        {
            return self.serve(0, Wait::ForBytes);
        }
        let mut ready = Vec::new();
        self.poller.wait(&mut ready)?;
        let mut now = Instant::now();
        for index in ready {
            now = self.serve(index, Wait::No)?;
        }
        Ok(now)
    }

    /// Receives, settles what was answered, and sends the next.
    fn serve(&mut self, index: usize, wait: Wait) -> anyhow::Result<Instant> {
        let came = self.connections[index].receive(wait)?;
        let now = Instant::now();
        if came {
            while let Some(finished) = self.connections[index].next_finished()? {
                self.settle(index, finished, now);
            }
        }
        self.refill(index, now)?;
        Ok(now)
    }

    fn settle(&mut self, index: usize, finished: Finished, now: Instant) {
        let Finished { slot, request, started, error } = finished;
        let connection = &mut self.connections[index];
        if request.command != Command::Flush
            && let Some(verifier) = &mut self.verifier
        {
            verifier.finished(request, error == 0, connection.payload(slot));
        }
        connection.release(slot);
        if error != 0 {
            self.measured.errors += 1;
            self.measured.first_error.get_or_insert(error);
        } else if request.command == Command::Write && self.plan.op == Op::WriteFlush {
            connection.issue(Request { command: Command::Flush, offset: 0, length: 0 }, started);
            return;
        }
        self.in_flight -= 1;
        if error == 0 {
            self.measured.latencies.record(now - started);
        }
    }

    /// Fills the free slots of a connection and sends them.
    fn refill(&mut self, index: usize, now: Instant) -> anyhow::Result<()> {
        while self.connections[index].has_room() {
            let Some(step) = self.next_step(index) else { break };
            let offset = step.block * u64::from(self.plan.block_size);
            let request = Request { command: step.command, offset, length: self.plan.block_size };
            let payload = self.connections[index].issue(request, now);
            if step.command == Command::Write {
                if let Some(verifier) = &mut self.verifier {
                    verifier.fill(request, payload);
                } else if let Some(noise) = &mut self.noise {
                    noise.fill(payload);
                }
            }
            self.in_flight += 1;
        }
        let connection = &mut self.connections[index];
        connection.send()?;
        self.poller.poll_for_room(index, connection.socket(), connection.wants_to_send())
    }

    /// The next step of a connection; `None` when there is nothing more to do.
    fn next_step(&mut self, index: usize) -> Option<Step> {
        match &mut self.source {
            Source::Workload(0) => None,
            Source::Workload(rest) => {
                *rest -= 1;
                let mut step = self.workload.next(index);
                if let Some(verifier) = &mut self.verifier {
                    step.block = verifier.claim(step.block);
                }
                Some(step)
            }
            Source::ReadBack(next) => {
                let block = self.verifier.as_mut()?.written_from(*next)?;
                *next = block + 1;
                Some(Step { command: Command::Read, block })
            }
        }
    }
}

impl Measured {
    fn new() -> Self {
        Self { latencies: Histogram::new(), errors: 0, first_error: None }
    }
}

/// Checks that the export can take the load; tells how many blocks it is.
fn check_export(plan: &Plan, export: Export) -> anyhow::Result<u64> {
    ensure!(!(plan.writes() && export.is_read_only()), "the export is read-only");
    ensure!(plan.op != Op::WriteFlush || export.can_flush(), "the export does not know FLUSH");
    let shared = plan.connections == 1 || export.can_multi_conn();
    ensure!(shared || !plan.verify, "--verify over several connections needs an export with CAN_MULTI_CONN");
    let size = plan.range.unwrap_or(export.size);
    ensure!(size <= export.size, "the range of {size} bytes is larger than the export of {}", export.size);
    let blocks = size / u64::from(plan.block_size);
    ensure!(blocks > 0, "the export of {} bytes is smaller than a block", export.size);
    Ok(blocks)
}

/// A number that no other run on this disk is likely to have.
fn run_number() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.subsec_nanos() ^ std::process::id().rotate_left(16)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        sync::{Arc, Mutex},
    };

    use crate::testing::{Fault, run, run_on};

    const DISK: usize = 64 << 12;
    const MIXED: [&str; 8] = ["--verify", "--op", "mixed", "--depth", "8", "--requests", "2000", "--structured"];

    #[test]
    fn a_verifying_run_finds_every_byte_right_with_both_kinds_of_reply() {
        for (name, arguments) in [("chunks", &MIXED[..]), ("simple", &MIXED[..7])] {
            let outcome = run(name, DISK, Fault::None, arguments).unwrap();
            let tally = outcome.tally.unwrap();
            assert_eq!((outcome.measured.latencies.count(), outcome.measured.errors, tally.wrong), (2000, 0, 0));
            assert!(tally.right > 1000, "{tally:?}");
        }
    }

    #[test]
    fn several_connections_share_one_disk_and_one_thread() {
        let arguments = ["--verify", "--op", "mixed", "--depth", "8", "--requests", "4000", "--connections", "3"];
        let outcome = run("several", DISK, Fault::None, &arguments).unwrap();
        let tally = outcome.tally.unwrap();
        assert_eq!((outcome.measured.latencies.count(), outcome.measured.errors, tally.wrong), (4000, 0, 0));
        assert!(tally.right > 2000, "{tally:?}");
    }

    #[test]
    fn a_lost_write_is_found() {
        for op in ["mixed", "write", "write+flush"] {
            let arguments = ["--verify", "--op", op, "--depth", "4", "--requests", "4000"];
            let outcome = run(&format!("lost-{op}"), DISK, Fault::LoseWrite(8192), &arguments).unwrap();
            assert!(outcome.tally.unwrap().wrong > 0, "{op}");
        }
    }

    #[test]
    fn a_block_is_no_longer_known_after_its_write_failed() {
        let arguments = ["--verify", "--op", "write", "--depth", "4", "--requests", "500"];
        let outcome = run("refused", DISK, Fault::Refuse(3), &arguments).unwrap();
        assert_eq!((outcome.measured.errors, outcome.measured.first_error), (1, Some(5)));
        assert_eq!((outcome.measured.latencies.count(), outcome.tally.unwrap().wrong), (499, 0));
    }

    #[test]
    fn no_two_fresh_writes_hold_the_same_bytes_and_another_seed_writes_others() {
        let mut seen = HashSet::new();
        let mut write = |name, more: &[&str]| {
            let disk = Arc::new(Mutex::new(vec![0; DISK]));
            let arguments = ["--op", "write", "--order", "sequential", "--depth", "4", "--requests", "64"];
            let outcome = run_on(&disk, name, Fault::None, &[&arguments[..], more].concat()).unwrap();
            assert_eq!((outcome.measured.latencies.count(), outcome.measured.errors), (64, 0));
            disk.lock().unwrap().chunks(4096).filter(|block| seen.insert(block.to_vec())).count()
        };
        assert_eq!(write("static", &[]), 4);
        assert_eq!(write("fresh", &["--fresh"]), 64);
        assert_eq!(write("other", &["--fresh", "--seed", "2"]), 64);
    }

    #[test]
    fn breaking_the_protocol_ends_the_run() {
        let message = |name, fault| format!("{:#}", run(name, DISK, fault, &["--requests", "9"]).unwrap_err());
        assert!(message("cookie", Fault::WrongCookie(5)).contains("not in flight"));
        assert_eq!(message("close", Fault::Close(5)), "the server closed the connection");
    }

    #[test]
    fn payloads_larger_than_a_socket_buffer_pass() {
        let arguments = ["--verify", "--op", "mixed", "--depth", "4", "--requests", "50", "--block-size", "4m"];
        let outcome = run("large", 64 << 20, Fault::None, &arguments).unwrap();
        assert_eq!((outcome.measured.latencies.count(), outcome.tally.unwrap().wrong), (50, 0));
    }

    #[test]
    fn loads_that_the_export_cannot_take_are_refused() {
        for arguments in [["--range", "1g"], ["--block-size", "1m"], ["--depth", "64"]] {
            let arguments = [&arguments[..], &["--verify", "--requests", "1"]].concat();
            assert!(run("refuse", DISK, Fault::None, &arguments).is_err(), "{arguments:?}");
        }
    }
}
