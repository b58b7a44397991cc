//! What a run does: the command line, checked.

use std::time::Duration;

use anyhow::ensure;

use crate::cli::{Args, Op, Order, Target};

/// The largest block. Every server takes 32 MiB; the specification asks clients not to go above.
const BLOCK_SIZE_MAX: u64 = 32 << 20;

/// Memory for the requests of one run.
const BUFFERS_MAX: u64 = 4 << 30;

/// A checked run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) export: String,
    pub(crate) structured: bool,
    pub(crate) op: Op,
    pub(crate) read_percent: u8,
    pub(crate) block_size: u32,
    pub(crate) order: Order,
    pub(crate) depth: u32,
    pub(crate) connections: u32,
    pub(crate) range: Option<u64>,
    pub(crate) stop: Stop,
    pub(crate) warm_up: Duration,
    pub(crate) stall: Duration,
    pub(crate) seed: u64,
    pub(crate) fresh: bool,
    pub(crate) verify: bool,
    pub(crate) server_pid: Option<u32>,
}

/// When the measurement ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    After(Duration),
    Requests(u64),
}

impl Plan {
    /// Whether the run sends payloads.
    pub(crate) fn writes(&self) -> bool {
        self.op != Op::Read
    }
}

impl TryFrom<Args> for Plan {
    type Error = anyhow::Error;

    fn try_from(args: Args) -> anyhow::Result<Self> {
        let block_size = args.block_size.0;
        ensure!((1..=BLOCK_SIZE_MAX).contains(&block_size), "the block size must be 1 byte to 32 MiB");
        ensure!(!args.verify || block_size.is_multiple_of(512), "--verify needs a block size that 512 divides");
        let buffers = block_size * u64::from(args.depth) * u64::from(args.connections);
        ensure!(buffers <= BUFFERS_MAX, "{buffers} bytes in flight are more than the 4 GiB that are allowed");
        let seconds = |name: &str, value: f64| {
            Duration::try_from_secs_f64(value).map_err(|_| anyhow::anyhow!("{name} must be a time, not {value}"))
        };
        let stop = match args.requests {
            Some(count) => Stop::Requests(count),
            None => Stop::After(seconds("--seconds", args.seconds)?),
        };
        let stall = seconds("--stall-seconds", args.stall_seconds)?;
        ensure!(stall >= Duration::from_millis(1), "--stall-seconds must be a millisecond at least");
        Ok(Self {
            target: args.connect,
            export: args.export,
            structured: args.structured,
            op: args.op,
            read_percent: args.read_percent,
            block_size: u32::try_from(block_size)?,
            order: args.order,
            depth: args.depth,
            connections: args.connections,
            range: args.range.map(|size| size.0),
            stop,
            warm_up: seconds("--warm-up-seconds", args.warm_up_seconds)?,
            stall,
            seed: args.seed,
            fresh: args.fresh,
            verify: args.verify,
            server_pid: args.server_pid,
        })
    }
}
