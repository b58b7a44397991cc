//! Levels of the write and read path, of the journal and of upkeep.

use super::*;

#[test]
fn the_way_of_writes_is_told_in_base_units() {
    let text = told(|disk| {
        disk.levels(&Levels { dirty_bytes: 7, uploads: 2, commit_lag_ms: 1500, waiting: 3 });
        disk.uploads(&UploadLevels { limit: 16, uploads: 5, bytes: 77, waiting: 9, refusals: 11 });
    });
    let writes = ["object_dirty_bytes 7", "object_uploads_in_flight 2", "object_waiting_writes 3"];
    assert_lines(&text, &writes);
    assert_lines(&text, &["object_commit_lag_seconds 1.5", "object_bucket_uploads_limit 16"]);
    assert_lines(&text, &["object_bucket_uploads_in_flight 5", "object_bucket_upload_bytes 77"]);
    assert_lines(&text, &["object_bucket_waiting_uploads 9", "object_bucket_refusals_total 11"]);
}

#[test]
fn refusals_of_a_bucket_are_not_counted_again_when_a_disk_is_opened_again() {
    let text = told(|disk| {
        disk.uploads(&UploadLevels { refusals: 11, ..UploadLevels::default() });
        ObjectMetrics::new("vm").uploads(&UploadLevels { refusals: 12, ..UploadLevels::default() });
    });
    assert_lines(&text, &["object_bucket_refusals_total 12"]);
}

#[test]
fn a_journal_is_told_when_there_is_one() {
    assert!(!told(|_| ()).contains("journal"), "a disk without one");
    let levels = JournalLevels {
        size_bytes: 1000,
        used_bytes: 900,
        unsynced_bytes: 80,
        lag_bytes: 70,
        lag_ms: 2500,
        memory_bytes: 60,
        delay_ms: 20,
        failed: true,
    };
    let text = told(|disk| disk.journal(&levels));
    assert_lines(&text, &["journal_size_bytes 1000", "journal_used_bytes 900", "journal_unsynced_bytes 80"]);
    assert_lines(&text, &["journal_lag_bytes 70", "journal_lag_seconds 2.5", "journal_memory_bytes 60"]);
    assert_lines(&text, &["journal_write_delay_seconds 0.02", "journal_failed 1"]);
}

#[test]
fn reads_go_on_counting_when_a_disk_is_opened_again() {
    let levels = ReadLevels {
        frame_hits: 10,
        frame_misses: 20,
        ahead_bytes: 300,
        ahead_used_bytes: 200,
        ahead_wasted_bytes: 50,
        memory_bytes: 9,
        in_flight_bytes: 8,
    };
    let text = told(|disk| {
        disk.reads(&levels);
        ObjectMetrics::new("vm").reads(&ReadLevels { frame_hits: 1, ..levels });
    });
    assert_lines(&text, &["object_frame_hits_total 11", "object_frame_misses_total 40"]);
    assert_lines(&text, &["object_read_ahead_bytes_total 600", "object_read_ahead_used_bytes_total 400"]);
    assert_lines(&text, &["object_read_ahead_wasted_bytes_total 100", "object_read_memory_bytes 9"]);
    assert_lines(&text, &["object_read_in_flight_bytes 8"]);
}

#[test]
fn garbage_is_told_in_full() {
    let levels = GcLevels {
        stored_blocks: 100,
        live_blocks: 60,
        behind_bytes: 4096,
        pinned_bytes: 5,
        waiting_bytes: 6,
        deferred_bytes: 7,
        deferred_objects: 8,
        moved_bytes: 9,
        deleted_objects: 10,
        deleted_bytes: 11,
        unreadable: 12,
    };
    let text = told(|disk| disk.collected(&levels));
    assert_lines(&text, &["object_gc_stored_blocks 100", "object_gc_live_blocks 60", "object_gc_behind_bytes 4096"]);
    assert_lines(&text, &["object_gc_pinned_bytes 5", "object_gc_waiting_bytes 6", "object_gc_deferred_bytes 7"]);
    assert_lines(&text, &["object_gc_deferred_objects 8", "object_gc_moved_bytes_total 9"]);
    assert_lines(&text, &["object_gc_deleted_objects_total 10", "object_gc_deleted_bytes_total 11"]);
    assert_lines(&text, &["object_gc_unreadable_segments_total 12"]);
}

#[test]
fn scrubbing_is_told_when_it_goes_on_and_damage_is_of_its_round() {
    assert!(!told(|_| ()).contains("scrub"), "a disk that is not scrubbed");
    let levels = ScrubLevels { rounds: 0, done_bytes: 50, total_bytes: 100, damaged_segments: 2, damaged_bytes: 8192 };
    let text = told(|disk| disk.scrubbed(&levels));
    assert_lines(&text, &["object_scrub_rounds_total 0", "object_scrub_round_bytes 100"]);
    assert_lines(&text, &["object_scrub_verified_bytes 50", "object_scrub_damaged_segments 2"]);
    assert_lines(&text, &["object_scrub_damaged_bytes 8192"]);
    let text = told(|disk| {
        disk.scrubbed(&levels);
        disk.scrubbed(&ScrubLevels { rounds: 1, total_bytes: 100, ..ScrubLevels::default() });
    });
    assert_lines(&text, &["object_scrub_rounds_total 1", "object_scrub_damaged_segments 0"]);
}
