//! Layers that are told no fault keep the contract of the backend below.

use std::{
    collections::HashMap,
    sync::{Arc, Weak, atomic::AtomicU64, atomic::Ordering},
};

use nbdgate_api::{
    Backend, Capabilities, Kind, Op,
    conformance::{self, Case, Harness},
};
use nbdgate_layers::{Action, Fault, Limit, Limits, ReadOnly, Record, Rule, Shuffle, Survivors, Volatile};
use nbdgate_memory::Memory;
use parking_lot::Mutex;

fn memory(size: u64) -> Arc<dyn Backend> {
    Arc::new(Memory::new(size).expect("a memory disk for the suite"))
}

fn shuffled(size: u64) -> Arc<dyn Backend> {
    Arc::new(Shuffle::new(memory(size), 7).expect("a thread"))
}

#[test]
fn record_keeps_the_contract() {
    conformance::run(Harness::new(|size| Arc::new(Record::new(memory(size)))));
}

#[test]
fn fault_without_rules_keeps_the_contract() {
    conformance::run(Harness::new(|size| Arc::new(Fault::new(memory(size), 7))));
}

#[test]
fn shuffle_keeps_the_contract() {
    conformance::run(Harness::new(shuffled));
}

#[test]
fn a_read_only_view_keeps_the_contract() {
    conformance::run(Harness::new(|size| Arc::new(ReadOnly::new(memory(size)))));
}

#[test]
fn limits_keep_the_contract() {
    let limits = [
        Limits { capabilities: Capabilities::NONE, ..Limits::default() },
        Limits { minimum_block: 4096, maximum_payload: 1 << 20, read_piece: 8192, ..Limits::default() },
        Limits { minimum_block: 65536, ..Limits::default() },
    ];
    for limits in limits {
        let opened = Arc::new(Mutex::new(Vec::new()));
        let disks = opened.clone();
        conformance::run(Harness::new(move |size| {
            let limit = Arc::new(Limit::new(memory(size), limits).expect("the suite keeps to the minimum block"));
            disks.lock().push(limit.clone());
            limit
        }));
        let broken: u64 = opened.lock().iter().map(|limit| limit.violations()).sum();
        assert_eq!(broken, 0, "the suite keeps the caller's duties under {limits:?}");
    }
}

/// Volatile disks by address: the suite gives back what it was given, as a trait object.
#[derive(Clone, Default)]
struct Disks(Arc<Mutex<HashMap<usize, Weak<Volatile>>>>);

impl Disks {
    fn open(&self, inner: Arc<dyn Backend>) -> Arc<dyn Backend> {
        let disk = Arc::new(Volatile::new(inner).expect("a thread"));
        self.0.lock().insert(Arc::as_ptr(&disk).cast::<()>() as usize, Arc::downgrade(&disk));
        disk
    }

    fn find(&self, disk: &Arc<dyn Backend>) -> Arc<Volatile> {
        self.0.lock()[&(Arc::as_ptr(disk).cast::<()>() as usize)].upgrade().expect("the suite holds the disk")
    }
}

#[test]
fn volatile_keeps_the_contract_across_crashes() {
    for keep_some in [false, true] {
        for below in [memory, shuffled] {
            let (disks, crashes) = (Disks::default(), AtomicU64::new(0));
            let crashing = disks.clone();
            conformance::run(Harness::new(move |size| disks.open(below(size))).with_crash(move |disk| {
                let seed = crashes.fetch_add(1, Ordering::SeqCst);
                let survivors = if keep_some { Survivors::Some { seed } } else { Survivors::None };
                crashing.open(crashing.find(&disk).crash(survivors).expect("memory takes the survivors"))
            }));
        }
    }
}

#[test]
fn failing_mutations_stay_in_their_range() {
    for action in [Action::Fail(Kind::NoSpace), Action::FailAfter(Kind::Io), Action::FailPart(Kind::Io), Action::Lose] {
        let harness = Harness::new(move |size| {
            let fault = Fault::new(memory(size), 7);
            fault.add(Rule::new(action, Op::is_mutation).nth(10).always());
            Arc::new(fault)
        });
        let seed = harness.seed();
        if let Err(failure) = Case::named("random_requests_match_a_model").run(&Arc::new(harness.expecting_failures()))
        {
            panic!("{action:?}: {failure} (seed {seed})");
        }
    }
}
