//! Failures, losses and panics below; the latch.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::AtomicU64,
};

use nbdgate_api::Capabilities;
use nbdgate_layers::{Action, Fault, Limit, Limits, Rule};

use super::*;

fn is_flush(op: &Op) -> bool {
    matches!(op, Op::Flush)
}

fn fua(offset: u64) -> Op {
    Op::Write { offset, payload: vec![1; 512].into(), fua: true }
}

/// What a scheduler answers to `op` above a backend that fails one request by `rule`; whether it latched.
fn after(rule: Rule, op: Op) -> (Result<(), Kind>, bool) {
    let fault = Arc::new(Fault::new(memory(), 1));
    fault.add(rule);
    let scheduler = scheduler(fault);
    let ends = Arc::<Ends>::default();
    ends.submit(&scheduler, 1, op);
    (ends.take()[0].1, scheduler.is_latched())
}

#[test]
fn a_failed_flush_latches_and_a_failed_write_does_not() {
    let io = Action::Fail(Kind::Io);
    assert_eq!(after(Rule::new(io, is_flush), Op::Flush), (Err(Kind::Io), true));
    assert_eq!(after(Rule::new(Action::Fail(Kind::NoSpace), is_flush), Op::Flush), (Err(Kind::NoSpace), true));
    assert_eq!(after(Rule::new(Action::Lose, is_flush), Op::Flush), (Err(Kind::Io), true));
    assert_eq!(after(Rule::new(Action::Fail(Kind::Shutdown), is_flush), Op::Flush), (Err(Kind::Shutdown), false));
    assert_eq!(after(Rule::new(io, Op::is_mutation), write(0, 1, 512)), (Err(Kind::Io), false));
    assert_eq!(after(Rule::new(io, Op::is_mutation), fua(0)), (Err(Kind::Io), true));
    assert_eq!(after(Rule::new(Action::Fail(Kind::NoSpace), Op::is_mutation), fua(0)), (Err(Kind::NoSpace), false));
}

#[test]
fn a_latched_export_refuses_what_it_cannot_promise_and_reads_on() {
    let fault = Arc::new(Fault::new(memory(), 1));
    fault.add(Rule::new(Action::Fail(Kind::Io), is_flush));
    let scheduler = scheduler(fault);
    let ends = Arc::<Ends>::default();
    ends.submit(&scheduler, 1, Op::Flush);
    ends.submit(&scheduler, 2, Op::Flush);
    ends.submit(&scheduler, 3, write(0, 1, 512));
    ends.submit(&scheduler, 4, Op::Read(range(0, 512)));
    let failed = Err(Kind::Io);
    assert_eq!(ends.take(), [(1, failed), (2, failed), (3, failed), (4, Ok(()))]);
}

/// The device forgets a failure once it has told it, as fsync does: the second flush succeeds without the data.
#[test]
fn nothing_in_flight_is_called_durable_after_a_flush_has_failed() {
    let fault = Arc::new(Fault::new(memory(), 1));
    fault.add(Rule::new(Action::Hold, |_| true).always());
    let capabilities = Capabilities { fua: false, ..Capabilities::ALL };
    let limit = Limit::new(fault.clone(), Limits { capabilities, ..Limits::default() }).unwrap();
    let top = Arc::new(Fault::new(Arc::new(limit), 1));
    top.add(Rule::new(Action::FailAfter(Kind::Io), is_flush));
    let scheduler = scheduler(top);
    let ends = Arc::<Ends>::default();
    ends.submit(&scheduler, 1, Op::Flush);
    ends.submit(&scheduler, 2, Op::Flush);
    ends.submit(&scheduler, 3, fua(0));
    ends.submit(&scheduler, 4, write(4096, 1, 512));
    ends.submit(&scheduler, 5, write(4096, 2, 512));
    fault.clear();
    while fault.release() {}
    let mut ended = ends.take();
    ended.sort_unstable_by_key(|(tag, _)| *tag);
    let failed = Err(Kind::Io);
    // The plain write was with the backend before; it promises nothing. The one behind it never started.
    assert_eq!(ended, [(1, failed), (2, failed), (3, failed), (4, Ok(())), (5, failed)]);
}

#[test]
fn a_lost_mutation_lets_the_next_one_pass() {
    let fault = Arc::new(Fault::new(memory(), 1));
    fault.add(Rule::new(Action::Hold, Op::is_mutation));
    fault.add(Rule::new(Action::Lose, Op::is_mutation).times(2));
    let scheduler = scheduler(fault.clone());
    let ends = Arc::<Ends>::default();
    (0..4).for_each(|tag| ends.submit(&scheduler, tag, write(0, 1, 512)));
    assert!(fault.release());
    let lost = Err(Kind::Io);
    assert_eq!(ends.take(), [(0, Ok(())), (1, lost), (2, lost), (3, Ok(()))]);
}

#[test]
fn a_panic_below_loses_no_other_request() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let (keep, count) = (held.clone(), AtomicU64::new(0));
    let backend = Scripted(memory().info().clone(), move |io: Io| match count.fetch_add(1, Ordering::SeqCst) {
        0 => keep.lock().push(io),
        1 | 3 => panic!("no {:?} today", io.op),
        _ => io.reply.end(Ok(())),
    });
    let scheduler = scheduler(Arc::new(backend));
    let ends = Arc::<Ends>::default();
    (0..5).for_each(|tag| ends.submit(&scheduler, tag, write(0, 1, 512)));
    let first: Io = held.lock().pop().unwrap();
    // Whether the panic comes up here or not, nobody may be left waiting.
    let _ = catch_unwind(AssertUnwindSafe(|| first.reply.end(Ok(()))));
    let mut ended = ends.take();
    ended.sort_unstable_by_key(|(tag, _)| *tag);
    let lost = Err(Kind::Io);
    assert_eq!(ended, [(0, Ok(())), (1, lost), (2, Ok(())), (3, lost), (4, Ok(()))]);
}

#[test]
fn a_read_only_export_refuses_mutations_and_takes_flushes() {
    let scheduler = Scheduler::new(memory(), true, ExportMetrics::new("tested").meters());
    let ends = Arc::<Ends>::default();
    ends.submit(&scheduler, 1, write(0, 1, 512));
    ends.submit(&scheduler, 2, Op::Flush);
    ends.submit(&scheduler, 3, Op::Read(range(0, 512)));
    assert_eq!(ends.take(), [(1, Err(Kind::Permission)), (2, Ok(())), (3, Ok(()))]);
}
