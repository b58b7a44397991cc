//! A device that fails to sync. The kernel reports lost pages once, so after that no FLUSH may be believed.

use std::{path::Path, process::Command};

use nbdgate_api::{Kind, Op, wait};
use nbdgate_rocksdb::RocksDisk;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter_all_threads};

use crate::support::{Place, again, levels, noise, read, write};

const LENGTH: usize = 16 << 10;

/// The disk of the process that a test starts; from some time on all its syncs fail.
const DISK: &str = "NBDGATE_TEST_SYNC";

/// From now on every sync of a file's data fails in this process, as when its device has lost what was written.
fn fail_syncs() {
    let calls = [libc::SYS_fdatasync, libc::SYS_fsync];
    let rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
    let error = SeccompAction::Errno(libc::EIO.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, error, arch).unwrap();
    apply_filter_all_threads(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

#[test]
fn after_a_failed_sync_no_flush_is_believed_and_reads_go_on() {
    if let Some(path) = std::env::var_os(DISK) {
        return syncs_fail(Path::new(&path));
    }
    let place = Place::new();
    let path = place.path();
    let disk = place.create(&path, 1 << 20, 16 << 10);
    write(&disk, 0, noise(0, LENGTH));
    wait::flush(&disk).unwrap();
    drop(disk);
    let me = Command::new(std::env::current_exe().unwrap());
    let output = again(me, "sync::after_a_failed_sync_no_flush_is_believed_and_reads_go_on", DISK, &path);
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", told(&output.stdout), told(&output.stderr));
    assert!(told(&output.stdout).contains("syncs fail"), "{}", told(&output.stdout));
    // Opened again, what is there is what counts.
    let disk = place.open(&path);
    assert_eq!(read(&disk, 0, LENGTH as u64), noise(0, LENGTH));
    let second = read(&disk, LENGTH as u64, LENGTH as u64);
    assert!(second == noise(1, LENGTH) || second == [0; LENGTH]);
    write(&disk, 0, noise(2, LENGTH));
    wait::flush(&disk).unwrap();
    assert!(!levels(&disk).latched);
    crate::support::close(disk);
}

fn syncs_fail(path: &Path) {
    let place = Place::new();
    let disk: RocksDisk = place.open(path);
    write(&disk, LENGTH as u64, noise(1, LENGTH));
    fail_syncs();
    println!("syncs fail");
    let mut tried = None;
    let durable = || Op::Write { offset: 0, payload: noise(3, LENGTH).into(), fua: true };
    for round in 0..3 {
        let error = wait::flush(&disk).unwrap_err();
        assert_eq!(error.kind(), Kind::Io, "round {round}: {}", error.chain());
        assert_eq!(wait::call(&disk, durable()).outcome.unwrap_err().kind(), Kind::Io, "round {round}");
        let levels = levels(&disk);
        assert!(levels.latched);
        // The kernel would say that all is well the next time, so it is not even asked.
        assert_eq!(*tried.get_or_insert(levels.wal_syncs), levels.wal_syncs, "round {round}");
        assert_eq!(read(&disk, LENGTH as u64, LENGTH as u64), noise(1, LENGTH));
    }
    let zeroes = Op::Trim { range: crate::support::range(0, 4096), fua: true };
    assert_eq!(wait::call(&disk, zeroes).outcome.unwrap_err().kind(), Kind::Io);
    // Closing must not say that all is durable.
    assert_eq!(nbdgate_api::Backend::close(&disk).unwrap_err().kind(), Kind::Io);
}
