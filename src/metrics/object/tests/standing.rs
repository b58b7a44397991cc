//! Phase, lease and probe of a disk.

use super::*;

#[test]
fn one_phase_holds_at_a_time() {
    let text = told(|disk| [Phase::Claiming, Phase::Open, Phase::Stalled].into_iter().for_each(|at| disk.phase(at)));
    assert_lines(&text, &["object_phase{export=\"vm\",phase=\"stalled\"} 1"]);
    let held = text.lines().filter(|line| line.starts_with("nbdgate_object_phase{"));
    let (ones, zeros): (Vec<_>, Vec<_>) = held.partition(|line| line.ends_with(" 1"));
    assert_eq!((ones.len(), zeros.len()), (1, Phase::ALL.len() - 1), "{text}");
}

#[test]
fn the_lease_is_held_from_open_until_it_is_lost_or_the_disk_is_gone() {
    let lost = LeaseLevels { held: false, waiting: 4 };
    assert_lines(&told(|disk| disk.phase(Phase::Recovering)), &["object_lease_held 0"]);
    let text = told(|disk| disk.phase(Phase::Open));
    assert_lines(&text, &["object_lease_held 1", "object_lease_waiting_reads 0"]);
    let text = told(|disk| {
        disk.phase(Phase::Open);
        disk.lease(&lost);
        disk.phase(Phase::Stalled);
    });
    assert_lines(&text, &["object_lease_held 0", "object_lease_waiting_reads 4"]);
    let text = told(|disk| {
        disk.phase(Phase::Open);
        disk.lease(&lost);
        disk.lease(&LeaseLevels { held: true, waiting: 0 });
    });
    assert_lines(&text, &["object_lease_held 1", "object_lease_waiting_reads 0"]);
    for end in [Phase::Closed, Phase::Fenced, Phase::Failed] {
        let text = told(|disk| {
            disk.phase(Phase::Open);
            disk.phase(end);
        });
        assert_lines(&text, &["object_lease_held 0"]);
    }
}

#[test]
fn a_probe_is_told_when_there_was_one() {
    assert!(!told(|_| ()).contains("probe"), "nothing was probed");
    let text = told(|disk| disk.probed(&REPORT));
    assert_lines(&text, &["object_probe_safe 1", "object_clock_offset_seconds -1.5"]);
    assert_lines(&text, &["object_probe_round_trip_seconds 0.002", "object_probe_put_seconds 0.008"]);
    assert_lines(&text, &["object_probe_get_seconds 0.004"]);
    let advisory = ProbeReport { capability: Capability::Advisory, clock_offset_ms: None, ..REPORT };
    let text = told(|disk| disk.probed(&advisory));
    assert_lines(&text, &["object_probe_safe 0"]);
    assert!(!text.contains("clock_offset"), "the store told no time");
}
