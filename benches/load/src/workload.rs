//! Which request comes next.

use crate::{
    cli::{Op, Order},
    plan::Plan,
    random::Random,
    wire::Command,
};

/// An endless, seeded sequence of commands and blocks.
#[derive(Debug)]
pub(crate) struct Workload {
    op: Op,
    read_percent: u64,
    order: Order,
    random: Random,
    blocks: u64,
    /// By connection: the next block of a sequential walk.
    cursors: Vec<u64>,
}

/// A command on a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) command: Command,
    pub(crate) block: u64,
}

impl Workload {
    /// The plan's sequence over so many blocks.
    pub(crate) fn new(plan: &Plan, blocks: u64) -> Self {
        let connections = u64::from(plan.connections);
        Self {
            op: plan.op,
            read_percent: u64::from(plan.read_percent),
            order: plan.order,
            random: Random::new(plan.seed),
            blocks,
            cursors: (0..connections).map(|index| blocks / connections * index).collect(),
        }
    }

    /// The next step of a connection.
    pub(crate) fn next(&mut self, connection: usize) -> Step {
        let command = match self.op {
            Op::Read => Command::Read,
            Op::Mixed if self.random.below(100) < self.read_percent => Command::Read,
            Op::Write | Op::WriteFlush | Op::Mixed => Command::Write,
        };
        let block = match self.order {
            Order::Random => self.random.below(self.blocks),
            Order::Sequential => {
                let cursor = &mut self.cursors[connection];
                let block = *cursor;
                *cursor = (block + 1) % self.blocks;
                block
            }
        };
        Step { command, block }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Args;

    fn workload(arguments: &[&str], blocks: u64) -> Workload {
        let arguments = ["nbdgate-load", "--connect", "unix:/x"].iter().chain(arguments);
        Workload::new(&Plan::try_from(Args::parse_from(arguments)).unwrap(), blocks)
    }

    #[test]
    fn sequential_connections_start_apart_and_wrap() {
        let mut workload = workload(&["--order", "sequential", "--connections", "2"], 6);
        let mut walk = |connection| (0..7).map(|_| workload.next(connection).block).collect::<Vec<_>>();
        assert_eq!(walk(0), [0, 1, 2, 3, 4, 5, 0]);
        assert_eq!(walk(1), [3, 4, 5, 0, 1, 2, 3]);
    }

    #[test]
    fn random_blocks_cover_the_disk_and_repeat_with_the_seed() {
        let arguments = ["--op", "mixed", "--seed", "7"];
        let steps = |mut workload: Workload| (0..1000).map(|_| workload.next(0)).collect::<Vec<_>>();
        let first = steps(workload(&arguments, 10));
        assert_eq!(first, steps(workload(&arguments, 10)));
        assert!((0..10).all(|block| first.iter().any(|step| step.block == block)));
        let reads = first.iter().filter(|step| step.command == Command::Read).count();
        assert!((600..800).contains(&reads), "{reads}");
    }
}
