//! A small request allocates nothing once its connection is warm.
//!
//! A binary of its own, because it counts what the global allocator is asked for, on the thread that serves.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fmt::Write,
    path::Path,
};

use nbdgate::{metrics::Metrics, nbd::proto::ReplyStyle};
use nbdgate_instructions::{Case, Rig, disk::DiskKind, script::Load};

/// Requests before and while they are counted; both are whole rounds of every script.
const WARM_UP: u64 = 2048;
const COUNTED: u64 = 10_240;
/// How often a file is tried. Where the kernel makes one write wait for 10 ms, as on a machine that is stopped for so
/// long, the writes after it leave the thread for a while and allocate: such a round says nothing.
const ROUNDS: usize = 5;
/// Where images lie, if it is there: the page cache alone, which never throttles.
const MEMORY_FILES: &str = "/dev/shm";

const ALL: [Load; 3] = [Load::Read, Load::Write, Load::Mixed];

/// The system's allocator, and how often this thread asked for memory.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn asked() -> u64 {
    ASKED.get()
}

fn count() {
    // Gone at the end of a thread, where nothing is counted.
    let _gone = ASKED.try_with(|asked| asked.set(asked.get() + 1));
}

// SAFETY: every call is handed to the system's allocator as it is; counting neither allocates nor unwinds.
#[expect(unsafe_code, reason = "an allocator is unsafe to implement")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above; `memory` came from the system's allocator, since all of it does.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Allocations of [`COUNTED`] requests.
fn allocations(case: Case) -> u64 {
    let directory = Some(Path::new(MEMORY_FILES)).filter(|path| path.is_dir()).map(Path::to_owned);
    let directory = directory.unwrap_or_else(std::env::temp_dir);
    let metrics = Metrics::detached();
    let rig = metrics::with_local_recorder(metrics.recorder(), || Rig::new(case, &directory)).expect("a disk");
    let depth = case.depth as u64;
    let (mut before, mut after) = (None, None);
    rig.serve((WARM_UP + COUNTED) / depth, |batch| {
        if batch == WARM_UP / depth {
            before = Some(asked());
        } else if batch == (WARM_UP + COUNTED) / depth {
            after = Some(asked());
        }
    })
    .expect("a runtime");
    after.expect("the script ended") - before.expect("the script was warm once")
}

/// Serves loads at depth 1 and 32, without a pause and asleep before each batch, each in up to so many rounds until one is free of allocations, and
/// tells in which none was.
fn allocating(disk: DiskKind, loads: &[Load], rounds: usize) -> String {
    let mut found = String::new();
    for &load in loads {
        for style in [ReplyStyle::Simple, ReplyStyle::Structured] {
            for (depth, sleeps) in [(1, false), (32, false), (1, true), (32, true)] {
                let case = Case { disk, load, style, depth, sleeps };
                let least = least((0..rounds).map(|_| allocations(case)));
                if least > 0 {
                    let _text = writeln!(found, "{least} in {COUNTED} requests of {case:?}");
                }
            }
        }
    }
    found
}

/// The least of the counts; stops at the first zero.
fn least(mut counts: impl Iterator<Item = u64>) -> u64 {
    let mut least = u64::MAX;
    while least > 0
        && let Some(count) = counts.next()
    {
        least = least.min(count);
    }
    least
}

#[test]
fn small_requests_to_memory_allocate_nothing() {
    assert_eq!(allocating(DiskKind::Memory, &ALL, 1), "");
}

#[test]
fn small_reads_of_holes_allocate_nothing() {
    assert_eq!(allocating(DiskKind::Hole, &[Load::Read], 1), "");
}

#[test]
fn small_requests_to_a_file_in_the_page_cache_allocate_nothing() {
    assert_eq!(allocating(DiskKind::File, &ALL, ROUNDS), "");
}

#[test]
fn what_allocates_is_counted() {
    let before = asked();
    drop(std::hint::black_box(vec![0_u8; 100]));
    let mut grows = std::hint::black_box(Vec::with_capacity(1));
    grows.resize(1000, 1_u8);
    assert_eq!(asked() - before, 3, "a zeroed vector, one with room, and its growth");

    let case = Case { disk: DiskKind::Memory, load: Load::Write, style: ReplyStyle::Simple, depth: 1, sleeps: false };
    let rig = Rig::new(case, Path::new(MEMORY_FILES)).expect("a disk");
    let mut counts = Vec::with_capacity(512);
    rig.serve(256, |batch| {
        counts.push(asked());
        drop(std::hint::black_box(Box::new(batch)));
    })
    .expect("a runtime");
    assert!(counts.is_sorted_by(|one, next| one < next), "an allocation of each batch is seen from where it is served");
}
