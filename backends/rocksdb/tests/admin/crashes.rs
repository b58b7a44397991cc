//! Commands that end in the middle: by a kill, and as leftovers of one.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use nbdgate_rocksdb::{
    CreateOptions, NoProgress,
    admin::{clone, remove, remove_snapshot, snapshot, snapshots},
    create,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{MIB, Place, names, noise, read, read_snapshot, write};

/// Tells the child where to work.
const PLACE: &str = "NBDGATE_TEST_CRASH_PLACE";
/// What the child says when it begins.
const READY: &str = "ready to be killed";
const KILLS: u64 = 8;
/// More than the child has time for.
const ROUNDS: u32 = 10_000;
const SEED: u64 = 0x5eed;

#[test]
fn a_command_that_is_killed_leaves_the_old_state_or_the_new() {
    if let Some(place) = env::var_os(PLACE) {
        return work(Path::new(&place));
    }
    let place = Place::new();
    let disk = place.disk("vm", 4 * MIB);
    write(&disk, 0, &noise(60, 3 * MIB));
    let content = read(&disk);
    let mut dice = StdRng::seed_from_u64(SEED);
    for kill in 0..KILLS {
        let wait = Duration::from_micros(dice.random_range(0..400_000));
        kill_after(&place, wait);
        let told = format!("kill {kill} of seed {SEED:#x}, after {wait:?}");
        assert!(read(&disk) == content, "{told}: the disk changed");
        for one in snapshots(&disk).unwrap_or_else(|error| panic!("{told}: {error}")) {
            assert!(read_snapshot(&disk, &one.name) == content, "{told}: snapshot {}", one.name);
        }
        for name in place.names().iter().filter(|name| !name.contains('.') && *name != "vm") {
            assert!(read(&place.path(name)) == content, "{told}: clone {name}");
        }
        clear(&place, &disk, &told);
    }
}

/// Takes snapshots, clones them, and removes both, until it is killed.
fn work(place: &Path) {
    let disk = place.join("vm");
    println!("{READY}");
    for round in 0..ROUNDS {
        let (name, copy) = (format!("s{round}"), place.join(format!("copy{}", round % 2)));
        snapshot(&disk, &name).unwrap();
        clone(&disk, &name, &copy).unwrap();
        remove_snapshot(&disk, &name).unwrap();
        remove(&copy, &NoProgress).unwrap();
    }
}

fn kill_after(place: &Place, wait: Duration) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "crashes::a_command_that_is_killed_leaves_the_old_state_or_the_new", "--nocapture"])
        .env(PLACE, place.0.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let is_ready = said.take(100).any(|line| line.contains(READY));
    // A random moment, not one that anything waits for.
    thread::sleep(wait);
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_ready, "the child did not begin");
    assert!(ended.is_none(), "the child ended by itself: {ended:?}");
}

/// The same commands again, after which nothing is left.
fn clear(place: &Place, disk: &Path, told: &str) {
    snapshot(disk, "after").unwrap_or_else(|error| panic!("{told}: {error}"));
    for copy in ["copy0", "copy1"].map(|name| place.path(name)) {
        if !copy.exists() {
            clone(disk, "after", &copy).unwrap_or_else(|error| panic!("{told}: {error}"));
        }
        remove(&copy, &NoProgress).unwrap_or_else(|error| panic!("{told}: {error}"));
    }
    for one in snapshots(disk).unwrap() {
        remove_snapshot(disk, &one.name).unwrap();
    }
    assert_eq!(place.names(), ["vm"], "{told}");
    assert!(names(&disk.join("snapshots")).is_empty(), "{told}");
}

#[test]
fn a_half_made_snapshot_is_no_snapshot_and_goes_with_the_next() {
    let place = Place::new();
    let disk = place.disk("vm", MIB);
    let half = disk.join("snapshots/.new-0123456789abcdef0123456789abcdef.tmp");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("000008.sst"), "half a table").unwrap();
    assert!(snapshots(&disk).unwrap().is_empty());
    assert_eq!(super::info(&disk).snapshots, 0);
    snapshot(&disk, "monday").unwrap();
    assert_eq!(names(&disk.join("snapshots")), ["monday"]);
}

#[test]
fn a_half_made_disk_goes_when_one_is_made_there() {
    let place = Place::new();
    let origin = place.disk("origin", MIB);
    snapshot(&origin, "monday").unwrap();
    let half = |id: char| {
        let path = place.disk("other", MIB);
        fs::remove_file(path.join("db/CURRENT")).unwrap();
        fs::rename(path, place.path(&format!("vm.new-{}", id.to_string().repeat(32)))).unwrap();
    };
    half('a');
    create(&place.path("vm"), &CreateOptions { size: MIB, ..CreateOptions::default() }).unwrap();
    assert_eq!(place.names(), ["origin", "vm"]);
    remove(&place.path("vm"), &NoProgress).unwrap();
    half('b');
    clone(&origin, "monday", &place.path("vm")).unwrap();
    assert_eq!(place.names(), ["origin", "vm"]);
}
