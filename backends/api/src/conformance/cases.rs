//! The list of cases; each file holds those of one theme.

mod durability;
mod edges;
mod ending;
mod racing;
mod random;
mod reading;
mod shutdown;
mod status;
mod zeroing;

use std::{panic, thread};

use crate::conformance::{Case, Duty, Failure};

/// Every case, the plain ones first.
pub const CASES: &[Case] = &[
    Case { name: "info_follows_its_rules", duty: Duty::Info, check: edges::info_follows_its_rules },
    Case { name: "every_request_ends_once", duty: Duty::B2, check: ending::every_request_ends_once },
    Case { name: "replies_may_submit", duty: Duty::B1, check: ending::replies_may_submit },
    Case { name: "many_requests_may_be_in_flight", duty: Duty::B1, check: ending::many_requests_may_be_in_flight },
    Case { name: "unwritten_bytes_are_zeros", duty: Duty::B4, check: reading::unwritten_bytes_are_zeros },
    Case { name: "reads_cover_their_range_once", duty: Duty::B3, check: reading::reads_cover_their_range_once },
    Case { name: "repeated_reads_agree", duty: Duty::B4, check: reading::repeated_reads_agree },
    Case { name: "writes_read_back", duty: Duty::B4, check: reading::writes_read_back },
    Case { name: "lent_payloads_are_given_back", duty: Duty::B11, check: ending::lent_payloads_are_given_back },
    Case { name: "overwrites_win", duty: Duty::B4, check: reading::overwrites_win },
    Case { name: "trimmed_bytes_are_zeros", duty: Duty::B7, check: zeroing::trimmed_bytes_are_zeros },
    Case { name: "zeroed_bytes_are_zeros", duty: Duty::B7, check: zeroing::zeroed_bytes_are_zeros },
    Case { name: "zeroes_without_hole_stay_allocated", duty: Duty::B7, check: zeroing::zeroes_stay_allocated },
    Case { name: "the_whole_disk_can_be_zeroed", duty: Duty::B7, check: zeroing::the_whole_disk_can_be_zeroed },
    Case { name: "extents_follow_each_other", duty: Duty::B8, check: status::extents_follow_each_other },
    Case { name: "holes_have_no_data", duty: Duty::B8, check: status::holes_have_no_data },
    Case { name: "the_end_of_the_disk_is_usable", duty: Duty::B4, check: edges::the_end_of_the_disk_is_usable },
    Case { name: "tiny_disks_work", duty: Duty::B4, check: edges::tiny_disks_work },
    Case { name: "the_longest_payload_is_taken", duty: Duty::B4, check: edges::the_longest_payload_is_taken },
    Case { name: "readers_see_old_or_new", duty: Duty::B4, check: racing::readers_see_old_or_new },
    Case { name: "neighbours_do_not_disturb", duty: Duty::B6, check: racing::neighbours_do_not_disturb },
    Case { name: "random_requests_match_a_model", duty: Duty::B4, check: random::random_requests_match_a_model },
    Case { name: "submits_after_close_are_refused", duty: Duty::B10, check: shutdown::submits_are_refused },
    Case { name: "close_ends_what_is_in_flight", duty: Duty::B10, check: shutdown::close_ends_what_is_in_flight },
    Case { name: "closed_disks_keep_their_content", duty: Duty::B10, check: durability::closed_disks_keep_content },
    Case { name: "flushed_data_survives_a_crash", duty: Duty::B5, check: durability::flushed_data_survives_a_crash },
    Case { name: "forced_data_survives_a_crash", duty: Duty::B5, check: durability::forced_data_survives_a_crash },
];

/// Does the work of workers 0 to `count` on a thread each; the first failure, if there is one.
fn side_by_side(count: u16, work: impl Fn(u16) -> Result<(), Failure> + Sync) -> Result<(), Failure> {
    let work = &work;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..count).map(|worker| scope.spawn(move || work(worker))).collect();
        let outcomes: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        outcomes.into_iter().try_for_each(|outcome| outcome.unwrap_or_else(|cause| panic::resume_unwind(cause)))
    })
}
