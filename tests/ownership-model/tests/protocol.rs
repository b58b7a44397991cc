//! The protocol holds in every state of two writers, and each mutant of it is found.
//!
//! Numbers of states are exact: a search that sees fewer no longer checks what it did.

use nbdgate_ownership_model::{Bug, Outcome, Rules, Violation, check};

/// Far more than any of these has: a search that runs away ends.
const LIMIT: usize = 2_000_000;

#[track_caller]
fn holds(rules: Rules, states: usize, longest_log: usize) {
    let verdict = check(rules, LIMIT);
    assert_eq!(verdict.outcome, Outcome::Holds, "{verdict}");
    assert_eq!((verdict.states, verdict.longest_log), (states, longest_log));
}

/// The mutant is found after so many steps.
#[track_caller]
fn is_found(rules: Rules, steps: usize) -> Violation {
    let verdict = check(rules, LIMIT);
    let Outcome::Broken { violation, trace } = verdict.outcome else { panic!("not found: {verdict}") };
    assert_eq!(trace.len(), steps, "{trace:#?}");
    violation
}

#[test]
fn two_writers_with_a_checkpoint_that_moves_data_keep_every_promise() {
    holds(Rules::TWO_WRITERS, 401_278, 4);
}

#[test]
fn two_writers_with_a_wide_window_keep_every_promise() {
    holds(Rules::WIDE_WINDOW, 222_965, 6);
}

#[test]
fn two_writers_with_two_checkpoints_keep_every_promise() {
    holds(Rules::TWO_CHECKPOINTS, 29_884, 2);
}

#[test]
fn the_far_fence_ends_the_race_and_breaks_nothing() {
    holds(Rules::FAR_FENCE, 265_796, 8);
}

#[test]
fn a_far_fence_left_behind_breaks_no_checkpoint() {
    holds(Rules::FAR_FENCE_AND_CHECKPOINT, 537_694, 4);
}

#[test]
fn a_log_without_fence_shrinks() {
    let violation = is_found(Rules::TWO_WRITERS.with(Bug::NoFence), 9);
    assert!(matches!(violation, Violation::Shrunk { .. }), "{violation:?}");
}

#[test]
fn flushes_answered_out_of_order_are_lost() {
    let violation = is_found(Rules::TWO_WRITERS.with(Bug::AnswerOutOfOrder), 5);
    assert!(matches!(violation, Violation::Lost(_)), "{violation:?}");
}

#[test]
fn a_late_put_lands_where_a_fence_was_collected() {
    let violation = is_found(Rules::TWO_WRITERS.with(Bug::FenceCollected), 23);
    assert!(matches!(violation, Violation::Lost(_)), "{violation:?}");
}

#[test]
fn a_sleeper_that_creates_a_deleted_manifest_again_deletes_live_data_unless_it_lists() {
    let rules = Rules { window: 1, slots: 1, ..Rules::TWO_WRITERS };
    let violation = is_found(rules.with(Bug::NoListAfterCreate), 25);
    assert!(matches!(violation, Violation::Dangling(_)), "{violation:?}");
}

#[test]
fn a_far_fence_alone_lets_the_old_writer_go_on() {
    let violation = is_found(Rules::FAR_FENCE.with(Bug::FarFenceAlone), 11);
    assert!(matches!(violation, Violation::Lost(_) | Violation::Shrunk { .. }), "{violation:?}");
}
