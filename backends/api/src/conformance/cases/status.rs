//! B8: BLOCK_STATUS. Every answer that the suite asks for anywhere is checked for its form.

use crate::{
    Op,
    conformance::{Context, Duty, Failure, model::Model},
};

const SIZE: u64 = 2 << 20;

pub(super) fn extents_follow_each_other(context: &Context) -> Result<(), Failure> {
    let disk = context.open_odd(SIZE)?;
    if !disk.info().capabilities.extents {
        context.skip("no BLOCK_STATUS");
        return disk.finish().map(drop);
    }
    let mut generator = context.generator(disk.info());
    for round in 0..60 {
        if !disk.info().read_only && round % 4 == 0 {
            let range = generator.range(1 << 16);
            disk.write(range.offset(), generator.payload(range.length()))?;
        }
        let range = generator.range(SIZE);
        let many = disk.submit(Op::BlockStatus { range, req_one: false }).extents()?;
        let one = disk.submit(Op::BlockStatus { range, req_one: true }).extents()?;
        if one[0].kind != many[0].kind {
            let text = format!("{range} starts with {:?}, with REQ_ONE with {:?}", many[0], one[0]);
            return Err(Failure::new(Duty::B8, text));
        }
    }
    disk.finish().map(drop)
}

pub(super) fn holes_have_no_data(context: &Context) -> Result<(), Failure> {
    let disk = context.open_odd(SIZE)?;
    if !disk.info().capabilities.extents {
        context.skip("no BLOCK_STATUS");
        return disk.finish().map(drop);
    }
    let mut generator = context.generator(disk.info());
    let mut model = Model::new(disk.info().size, disk.info().block.minimum);
    for _ in 0..40 {
        if disk.info().read_only {
            break;
        }
        let op = generator.mutation();
        if disk.submit(op.clone()).outcome()?.is_ok() {
            model.apply(&op);
        } else if let Some(range) = op.range() {
            model.forget(range);
        }
        model.check_extents(&disk.extents(disk.whole())?)?;
    }
    for extent in disk.extents(disk.whole())?.iter().filter(|extent| extent.kind.reads_zero()) {
        if disk.read_all(extent.range)?.iter().any(|&byte| byte != 0) {
            return Err(Failure::new(Duty::B8, format!("{:?} at {} reads as data", extent.kind, extent.range)));
        }
    }
    disk.finish().map(drop)
}
