//! What a backend lacks is made of what it has.

use nbdgate_api::{Capabilities, Zeroes};
use nbdgate_layers::{Action, Fault, Limit, Limits, Record, Request, Rule};

use super::*;

/// A scheduler above a recorder, above a limit that counts broken duties.
fn limited(limits: Limits) -> (Arc<Scheduler>, Arc<Record>, Arc<Limit>) {
    let limit = Arc::new(Limit::new(memory(), limits).unwrap());
    let record = Arc::new(Record::new(limit.clone()));
    (scheduler(record.clone()), record, limit)
}

fn zeroes(range: ByteRange, fua: bool) -> Op {
    Op::WriteZeroes { range, zeroes: Zeroes::default(), fua }
}

#[test]
fn fua_without_fua_is_a_flush_after_the_mutation_has_ended() {
    let capabilities = Capabilities { fua: false, ..Capabilities::ALL };
    let (scheduler, record, limit) = limited(Limits { capabilities, ..Limits::default() });
    let ends = Arc::<Ends>::default();
    let ops = [
        Op::Write { offset: 0, payload: vec![1; 512].into(), fua: true },
        Op::Trim { range: range(0, 512), fua: true },
        zeroes(range(0, 512), true),
    ];
    for op in ops {
        record.clear();
        ends.submit(&scheduler, 1, op);
        assert_eq!(ends.take(), [(1, Ok(()))]);
        let log = record.requests();
        assert!(matches!(&log[..], [first, Request { op: Op::Flush, .. }] if !first.op.is_durable()), "{log:?}");
        assert!(log[0].ended_before(&log[1]));
    }
    assert_eq!(limit.violations(), 0);
}

#[test]
fn zeroes_without_zeroes_are_written_in_bounded_aligned_steps() {
    for (minimum_block, maximum_payload) in [(1, 32 << 20), (4096, 4096), (512, 3 * 512), (1, 65_535), (4096, 70_000)] {
        let capabilities = Capabilities { write_zeroes: false, fua: false, ..Capabilities::ALL };
        let limits = Limits { capabilities, minimum_block, maximum_payload, ..Limits::default() };
        let (scheduler, record, limit) = limited(limits);
        let ends = Arc::<Ends>::default();
        let target = range(4096, 3 << 20);
        ends.submit(&scheduler, 1, zeroes(target, true));
        assert_eq!(ends.take(), [(1, Ok(()))], "blocks of {minimum_block}, payloads of {maximum_payload}");
        assert_eq!(limit.violations(), 0);
        let mut next = target.offset();
        let log = record.requests();
        for request in &log[..log.len() - 1] {
            let Op::Write { offset, payload, fua: false } = &request.op else { panic!("{:?}", request.op) };
            assert_eq!(*offset, next);
            next += payload.len();
            assert!(payload.slices().iter().all(|slice| slice.iter().all(|byte| *byte == 0)));
        }
        assert_eq!(next, target.end());
        assert!(matches!(log[log.len() - 1].op, Op::Flush));
    }
}

#[test]
fn a_step_that_fails_is_the_last_and_frees_the_range() {
    let fault = Arc::new(Fault::new(memory(), 1));
    fault.add(Rule::new(Action::Fail(Kind::NoSpace), |op| matches!(op, Op::Write { .. })).nth(2));
    let capabilities = Capabilities { write_zeroes: false, ..Capabilities::ALL };
    let limit = Limit::new(fault, Limits { capabilities, ..Limits::default() }).unwrap();
    let record = Arc::new(Record::new(Arc::new(limit)));
    let scheduler = scheduler(record.clone());
    let ends = Arc::<Ends>::default();
    ends.submit(&scheduler, 1, zeroes(range(0, 5 << 20), true));
    assert_eq!(ends.take(), [(1, Err(Kind::NoSpace))]);
    assert_eq!(record.requests().len(), 2, "nothing was sent after the failure");
    ends.submit(&scheduler, 2, write(0, 1, 512));
    assert_eq!(ends.take(), [(2, Ok(()))]);
}

#[test]
fn the_whole_disk_is_zeroed_without_a_deep_stack() {
    let capabilities = Capabilities { write_zeroes: false, ..Capabilities::ALL };
    let limits = Limits { capabilities, maximum_payload: 512, ..Limits::default() };
    let (scheduler, record, _) = limited(limits);
    let ends = Arc::<Ends>::default();
    ends.submit(&scheduler, 1, zeroes(range(0, 16 << 20), false));
    assert_eq!(ends.take(), [(1, Ok(()))]);
    assert_eq!(record.requests().len(), (16 << 20) / 512);
}

#[test]
fn what_cannot_be_emulated_is_refused_or_answered_truly() {
    let (scheduler, record, _) = limited(Limits { capabilities: Capabilities::NONE, ..Limits::default() });
    let ends = Arc::<Ends>::default();
    let fast = Zeroes { fast: true, no_hole: false };
    ends.submit(&scheduler, 1, Op::WriteZeroes { range: range(0, 512), zeroes: fast, fua: false });
    ends.submit(&scheduler, 2, Op::Trim { range: range(0, 512), fua: false });
    ends.submit(&scheduler, 3, Op::Cache(range(0, 512)));
    ends.submit(&scheduler, 4, Op::BlockStatus { range: range(0, 512), req_one: true });
    let refused = Err(Kind::NotSupported);
    assert_eq!(ends.take(), [(1, refused), (2, refused), (3, Ok(())), (4, Ok(()))]);
    assert!(record.requests().is_empty());
}
