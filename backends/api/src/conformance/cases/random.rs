//! Random requests, many in flight, against the model.

use crate::{
    Error, Kind, Op,
    conformance::{
        Context, Duty, Failure,
        disk::{Disk, Pending, describe},
        model::{Expected, Model},
    },
};

const SIZE: u64 = 6 << 20;
const DEPTH: usize = 24;

pub(super) fn random_requests_match_a_model(context: &Context) -> Result<(), Failure> {
    let disk = context.open_odd(SIZE)?;
    if disk.info().read_only {
        context.skip("the disk is read-only");
        return disk.finish().map(drop);
    }
    let mut generator = context.generator(disk.info());
    let mut run = Run {
        disk: &disk,
        model: Model::new(disk.info().size, disk.info().block.minimum),
        mutations: Vec::new(),
        reads: Vec::new(),
        others: Vec::new(),
        tolerant: context.expects_failures(),
    };
    for _ in 0..context.rounds() {
        run.settle()?;
        run.make_room()?;
        run.submit(generator.op())?;
    }
    let model = run.drain()?;
    let duty = if context.expects_failures() { Duty::B6 } else { Duty::B4 };
    model.expect(disk.whole()).check(&disk.read_all(disk.whole())?, duty)?;
    if disk.info().capabilities.extents {
        model.check_extents(&disk.extents(disk.whole())?)?;
    }
    if context.can_reopen() {
        let disk = context.reopen(disk)?;
        model.expect(disk.whole()).check(&disk.read_all(disk.whole())?, Duty::B10)?;
        return disk.finish().map(drop);
    }
    disk.finish().map(drop)
}

struct Run<'a> {
    disk: &'a Disk,
    model: Model,
    mutations: Vec<Pending>,
    reads: Vec<(Pending, Expected)>,
    others: Vec<Pending>,
    tolerant: bool,
}

impl Run<'_> {
    fn submit(&mut self, op: Op) -> Result<(), Failure> {
        match &op {
            Op::Read(range) => {
                let mut expected = self.model.expect(*range);
                self.mutations.iter().for_each(|rival| expected.add_rival(rival.op()));
                self.reads.push((self.disk.submit(op), expected));
            }
            Op::Write { .. } | Op::Trim { .. } | Op::WriteZeroes { .. } => {
                self.wait_for_overlapping(&op)?;
                self.reads.iter_mut().for_each(|(_, expected)| expected.add_rival(&op));
                self.mutations.push(self.disk.submit(op));
            }
            Op::Flush | Op::BlockStatus { .. } | Op::DirtyStatus { .. } | Op::Cache(_) => {
                self.others.push(self.disk.submit(op));
            }
        }
        Ok(())
    }

    /// C3: mutations in flight never overlap.
    fn wait_for_overlapping(&mut self, op: &Op) -> Result<(), Failure> {
        let range = op.range().expect("a mutation has a range");
        let overlaps = |pending: &Pending| pending.op().range().is_some_and(|other| other.overlaps(range));
        while let Some(index) = self.mutations.iter().position(overlaps) {
            let mutation = self.mutations.swap_remove(index);
            self.finish_mutation(&mutation)?;
        }
        Ok(())
    }

    /// Takes in what has ended; mutations first, so that later reads expect them.
    fn settle(&mut self) -> Result<(), Failure> {
        while let Some(index) = self.mutations.iter().position(Pending::is_ended) {
            let mutation = self.mutations.swap_remove(index);
            self.finish_mutation(&mutation)?;
        }
        while let Some(index) = self.reads.iter().position(|(read, _)| read.is_ended()) {
            let (read, expected) = self.reads.swap_remove(index);
            self.finish_read(&read, &expected)?;
        }
        while let Some(index) = self.others.iter().position(Pending::is_ended) {
            let other = self.others.swap_remove(index);
            self.finish_other(&other)?;
        }
        Ok(())
    }

    fn make_room(&mut self) -> Result<(), Failure> {
        if self.mutations.len() + self.reads.len() + self.others.len() < DEPTH {
            return Ok(());
        }
        if !self.reads.is_empty() {
            let (read, expected) = self.reads.remove(0);
            self.finish_read(&read, &expected)
        } else if !self.mutations.is_empty() {
            let mutation = self.mutations.remove(0);
            self.finish_mutation(&mutation)
        } else {
            let other = self.others.remove(0);
            self.finish_other(&other)
        }
    }

    fn drain(mut self) -> Result<Model, Failure> {
        for mutation in std::mem::take(&mut self.mutations) {
            self.finish_mutation(&mutation)?;
        }
        for (read, expected) in std::mem::take(&mut self.reads) {
            self.finish_read(&read, &expected)?;
        }
        for other in std::mem::take(&mut self.others) {
            self.finish_other(&other)?;
        }
        Ok(self.model)
    }

    fn finish_mutation(&mut self, mutation: &Pending) -> Result<(), Failure> {
        let op = mutation.op();
        match mutation.outcome()? {
            Ok(_) => self.model.apply(op),
            Err(error) if is_refusal(op, &error) => {}
            Err(_) if self.tolerant => {
                let range = op.range().expect("a mutation has a range");
                self.model.forget(range);
                self.reads.iter_mut().for_each(|(_, expected)| expected.forget(range));
            }
            Err(error) => return Err(unexpected(op, &error)),
        }
        Ok(())
    }

    fn finish_read(&self, read: &Pending, expected: &Expected) -> Result<(), Failure> {
        let duty = if self.tolerant { Duty::B6 } else { Duty::B4 };
        expected.check(&read.bytes()?, duty)
    }

    fn finish_other(&self, other: &Pending) -> Result<(), Failure> {
        if let Op::BlockStatus { .. } = other.op() {
            return other.extents().map(drop);
        }
        match other.outcome()? {
            Err(error) if !self.tolerant => Err(unexpected(other.op(), &error)),
            _ => Ok(()),
        }
    }
}

/// WRITE_ZEROES with `fast` that changed nothing (B7).
fn is_refusal(op: &Op, error: &Error) -> bool {
    matches!(op, Op::WriteZeroes { zeroes, .. } if zeroes.fast) && error.kind() == Kind::NotSupported
}

fn unexpected(op: &Op, error: &Error) -> Failure {
    Failure::new(Duty::B4, format!("{} failed with {:?}: {}", describe(op), error.kind(), error.chain()))
}
