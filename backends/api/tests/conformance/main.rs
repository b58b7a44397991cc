//! The suite on trial: the plain backend passes it, and each broken one fails the case that is there for its bug.

mod mutant;
mod plain;

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use nbdgate_api::{
    Backend,
    conformance::{self, CASES, Case, Duty, Harness},
};
use parking_lot::Mutex;

use crate::{
    mutant::{Bug, Mutant, again},
    plain::Plain,
};

/// The suite holds backends as trait objects; opening one again needs the real type.
type Known<T> = Arc<Mutex<HashMap<usize, Weak<T>>>>;

fn key(backend: &Arc<dyn Backend>) -> usize {
    Arc::as_ptr(backend).cast::<()>() as usize
}

fn harness<T: Backend>(
    open: impl Fn(u64) -> Arc<T> + Send + Sync + 'static,
    reopen: impl Fn(&T) -> Arc<T> + Clone + Send + Sync + 'static,
) -> Harness {
    let known: Known<T> = Arc::default();
    let register = move |known: &Known<T>, disk: Arc<T>| -> Arc<dyn Backend> {
        let weak = Arc::downgrade(&disk);
        let backend: Arc<dyn Backend> = disk;
        known.lock().insert(key(&backend), weak);
        backend
    };
    let (opening, crashing) = (known.clone(), known.clone());
    let recrash = reopen.clone();
    let find = |known: &Known<T>, backend: &Arc<dyn Backend>| {
        known.lock()[&key(backend)].upgrade().expect("the disk is still held")
    };
    Harness::new(move |size| register(&opening, open(size)))
        .with_reopen(move |backend| register(&known, reopen(&*find(&known, &backend))))
        .with_crash(move |backend| register(&crashing, recrash(&*find(&crashing, &backend))))
}

fn plain() -> Harness {
    harness(|size| Arc::new(Plain::new(size, Arc::default())), |disk| Arc::new(disk.crashed()))
}

fn mutant(bug: Bug) -> Harness {
    harness(move |size| Arc::new(Mutant::new(Plain::new(size, Arc::default()), bug)), again)
}

#[test]
fn a_correct_backend_passes() {
    conformance::run(plain());
}

#[test]
fn a_seed_shows_the_same_again() {
    let text = |seed| {
        let harness = Arc::new(mutant(Bug::LostWrites).with_seed(seed));
        Case::named("writes_read_back").run(&harness).unwrap_err().text
    };
    assert_eq!(text(7), text(7));
    assert_ne!(text(7), text(8));
}

/// Which case catches which bug, and as what. Every case is here.
const CAUGHT: &[(Bug, &str, Duty)] = &[
    (Bug::OddPreferredBlock, "info_follows_its_rules", Duty::Info),
    (Bug::LargerThanAsked, "info_follows_its_rules", Duty::Info),
    (Bug::Panics, "every_request_ends_once", Duty::B2),
    (Bug::ReadHoleOverData, "writes_read_back", Duty::B4),
    (Bug::ReadGap, "reads_cover_their_range_once", Duty::B3),
    (Bug::ReadOverlap, "reads_cover_their_range_once", Duty::B3),
    (Bug::NewDiskOfGarbage, "unwritten_bytes_are_zeros", Duty::B4),
    (Bug::FlipsAByte, "repeated_reads_agree", Duty::B4),
    (Bug::StaleReads, "overwrites_win", Duty::B4),
    (Bug::LostWrites, "writes_read_back", Duty::B4),
    (Bug::LostWrites, "random_requests_match_a_model", Duty::B4),
    (Bug::LostLastByte, "the_end_of_the_disk_is_usable", Duty::B4),
    (Bug::LostLastByte, "tiny_disks_work", Duty::B4),
    (Bug::LostPastSixteenMib, "the_longest_payload_is_taken", Duty::B4),
    (Bug::KeepsPayload, "lent_payloads_are_given_back", Duty::B11),
    (Bug::LostSlice, "random_requests_match_a_model", Duty::B4),
    (Bug::LostUpdates, "neighbours_do_not_disturb", Duty::B6),
    (Bug::TornBlocks, "readers_see_old_or_new", Duty::B4),
    (Bug::TrimIgnored, "trimmed_bytes_are_zeros", Duty::B7),
    (Bug::TrimTooFar, "trimmed_bytes_are_zeros", Duty::B7),
    (Bug::LongTrimIgnored, "the_whole_disk_can_be_zeroed", Duty::B7),
    (Bug::FastZeroesIgnored, "zeroed_bytes_are_zeros", Duty::B7),
    (Bug::RefusedZeroesChange, "zeroed_bytes_are_zeros", Duty::B7),
    (Bug::NoHoleIgnored, "zeroes_without_hole_stay_allocated", Duty::B7),
    (Bug::ExtentHoleOverData, "holes_have_no_data", Duty::B8),
    (Bug::ExtentEmpty, "extents_follow_each_other", Duty::B8),
    (Bug::ExtentPastTheEnd, "extents_follow_each_other", Duty::B8),
    (Bug::ExtentGap, "extents_follow_each_other", Duty::B8),
    (Bug::NoExtents, "extents_follow_each_other", Duty::B8),
    (Bug::ReqOneDiffers, "extents_follow_each_other", Duty::B8),
    (Bug::FlushIgnored, "flushed_data_survives_a_crash", Duty::B5),
    (Bug::FuaIgnored, "forced_data_survives_a_crash", Duty::B5),
    (Bug::CloseKeepsNothing, "closed_disks_keep_their_content", Duty::B10),
    (Bug::CloseKeepsServing, "submits_after_close_are_refused", Duty::B10),
    (Bug::CloseForgetsWrites, "close_ends_what_is_in_flight", Duty::B10),
];

/// The same for bugs that show as a wait which is cut short; the others need no hurry.
const CAUGHT_BY_PATIENCE: &[(Bug, &str, Duty)] = &[
    (Bug::ForgetsReplies, "every_request_ends_once", Duty::B2),
    (Bug::EndsWithTheNext, "every_request_ends_once", Duty::B2),
    (Bug::EndsInBatches, "many_requests_may_be_in_flight", Duty::B2),
    (Bug::LocksAroundTheEnd, "replies_may_submit", Duty::B1),
];

fn assert_caught(harness: Harness, bug: Bug, case: &str, duty: Duty) {
    let (seed, harness) = (harness.seed(), Arc::new(harness));
    match Case::named(case).run(&harness) {
        Err(failure) => assert_eq!(failure.duty, duty, "{bug:?} in {case}: {failure} (seed {seed})"),
        Ok(()) => panic!("{case} did not catch {bug:?} (seed {seed})"),
    }
}

#[test]
fn every_bug_is_caught_by_its_case() {
    for &(bug, case, duty) in CAUGHT {
        assert_caught(mutant(bug), bug, case, duty);
    }
}

#[test]
fn requests_that_do_not_end_are_caught_by_patience() {
    for &(bug, case, duty) in CAUGHT_BY_PATIENCE {
        assert_caught(mutant(bug).with_patience(Duration::from_millis(200)), bug, case, duty);
    }
}

#[test]
fn every_case_has_a_bug_that_it_catches() {
    for case in CASES {
        let caught = |list: &[(Bug, &str, Duty)]| list.iter().any(|(_, name, _)| *name == case.name);
        assert!(caught(CAUGHT) || caught(CAUGHT_BY_PATIENCE), "no bug is there for {}", case.name);
    }
}

#[test]
fn failed_mutations_may_spoil_their_range_and_nothing_else() {
    let case = Case::named("random_requests_match_a_model");
    let tolerant = |bug| Arc::new(mutant(bug).expecting_failures());
    case.run(&tolerant(Bug::Fails)).unwrap();
    assert!(case.run(&Arc::new(mutant(Bug::Fails))).is_err(), "a failure is one where none is expected");
    assert_eq!(case.run(&tolerant(Bug::FailsBeyondItsRange)).unwrap_err().duty, Duty::B6);
}
