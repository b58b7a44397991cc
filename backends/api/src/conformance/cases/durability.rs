//! B5 and B10: what must be there when a disk is opened again.

use crate::{
    Op,
    conformance::{Context, Duty, Failure, disk::Disk, generator::Generator, model::Model},
};

const SIZE: u64 = 2 << 20;
const CRASHES: u32 = 8;

pub(super) fn closed_disks_keep_content(context: &Context) -> Result<(), Failure> {
    let mut disk = context.open_odd(SIZE)?;
    if disk.info().read_only || !context.can_reopen() {
        return disk.finish().map(drop);
    }
    let mut generator = context.generator(disk.info());
    let mut model = Model::new(disk.info().size, disk.info().block.minimum);
    for _ in 0..4 {
        for _ in 0..20 {
            mutate(&disk, &mut generator, &mut model, false)?;
        }
        disk = context.reopen(disk)?;
        model.expect(disk.whole()).check(&disk.read_all(disk.whole())?, Duty::B10)?;
    }
    disk.finish().map(drop)
}

pub(super) fn flushed_data_survives_a_crash(context: &Context) -> Result<(), Failure> {
    survive(context, false)
}

pub(super) fn forced_data_survives_a_crash(context: &Context) -> Result<(), Failure> {
    survive(context, true)
}

/// Mutations made durable, by FLUSH or by FUA, then others that may be lost, then a crash: each block is as it was
/// durable or as one of the others made it.
fn survive(context: &Context, forced: bool) -> Result<(), Failure> {
    let mut disk = context.open_odd(SIZE)?;
    let can_force = disk.info().capabilities.fua || !forced;
    if disk.info().read_only || !can_force || !context.can_crash() {
        return disk.finish().map(drop);
    }
    let mut generator = context.generator(disk.info());
    let mut model = Model::new(disk.info().size, disk.info().block.minimum);
    for _ in 0..CRASHES {
        for _ in 0..10 {
            mutate(&disk, &mut generator, &mut model, forced)?;
        }
        if !forced {
            disk.flush()?;
        }
        let mut expected = model.expect(disk.whole());
        for _ in 0..generator.below(10) {
            let op = unforced(generator.mutation());
            // Whether it ended well or not, a crash may leave it or not.
            let _ = disk.submit(op.clone()).outcome()?;
            expected.add_rival(&op);
        }
        disk = context.crash(disk);
        let found = disk.read_all(disk.whole())?;
        expected.check(&found, Duty::B5)?;
        // What was found is what must stay, once it is flushed.
        disk.flush()?;
        model = Model::of(found, disk.info().block.minimum);
    }
    disk.finish().map(drop)
}

/// One mutation, ended and in the model. One that fails is a failure unless it is a fast zero that is refused.
fn mutate(disk: &Disk, generator: &mut Generator, model: &mut Model, forced: bool) -> Result<(), Failure> {
    let mut op = generator.mutation();
    match &mut op {
        Op::Write { fua, .. } | Op::Trim { fua, .. } => *fua |= forced,
        Op::WriteZeroes { fua, zeroes, .. } => {
            *fua |= forced;
            zeroes.fast = false;
        }
        Op::Read(_) | Op::Flush | Op::BlockStatus { .. } | Op::DirtyStatus { .. } | Op::Cache(_) => {}
    }
    disk.call(op.clone(), Duty::B4)?;
    model.apply(&op);
    Ok(())
}

fn unforced(mut op: Op) -> Op {
    if let Op::Write { fua, .. } | Op::Trim { fua, .. } | Op::WriteZeroes { fua, .. } = &mut op {
        *fua = false;
    }
    op
}
