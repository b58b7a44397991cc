//! Disks that earlier versions wrote: opened, read, written and checked by this one.
//!
//! `tests/fixtures/format-1` was made by `examples/format_fixture.rs` with the first release of format 1; it never changes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::{Path, PathBuf};

use nbdgate_api::{Backend, ByteRange, wait};
use nbdgate_s3::{Disk, FsckOptions, Location, NoProgress, OnUnclean, OpenOptions};

const BLOCK: u64 = 4096;
const BLOCKS: u64 = 2048;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Block `number` of a disk of format 1, as `examples/format_fixture.rs` wrote it.
fn block(disk: &str, number: u64) -> Vec<u8> {
    let round = match (disk, number) {
        ("imported", n) if n % 512 < 64 => 4,
        ("imported", _) => 0,
        (_, 10..20) => 2,
        (_, 0..40 | 60..100) => 1,
        (_, 2000) => 3,
        _ => 0,
    };
    if round == 0 {
        return vec![0; 4096];
    }
    format!("block {number} round {round}. ").bytes().cycle().take(4096).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn holds(disk: Disk, name: &'static str) -> Disk {
    tokio::task::spawn_blocking(move || {
        assert_eq!(disk.info().size, BLOCKS * BLOCK);
        let bytes = wait::read(&disk, ByteRange::between(0, BLOCKS * BLOCK)).unwrap();
        for (number, found) in (0..).zip(bytes.chunks(4096)) {
            assert!(found == block(name, number), "{name}: block {number} holds other bytes");
        }
        disk
    })
    .await
    .unwrap()
}

fn options(read_only: bool) -> OpenOptions {
    OpenOptions {
        read_only,
        on_unclean: OnUnclean::Serve,
        steal: true,
        host: Some("fixture".to_owned()),
        ..OpenOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_of_format_1_are_read_checked_and_written() {
    let directory = tempfile::tempdir().unwrap();
    copy(&fixtures().join("format-1"), directory.path());
    for name in ["clean", "crashed", "imported"] {
        let location: Location = format!("dir:{}/{name}", directory.path().display()).parse().unwrap();
        drop(holds(nbdgate_s3::open(&location, options(true)).await.unwrap(), name).await);
        for data in [false, true] {
            let report = nbdgate_s3::fsck(&location, &FsckOptions { data }, &NoProgress, &options(true)).await.unwrap();
            assert!(report.problems.is_empty(), "{name}: {report:?}");
        }
        let disk = holds(nbdgate_s3::open(&location, options(false)).await.unwrap(), name).await;
        let disk = tokio::task::spawn_blocking(move || {
            wait::write(&disk, 1000 * BLOCK, vec![7; 4096]).unwrap();
            wait::flush(&disk).unwrap();
            disk
        });
        disk.await.unwrap().shutdown().await.unwrap();
        let report =
            nbdgate_s3::fsck(&location, &FsckOptions { data: true }, &NoProgress, &options(true)).await.unwrap();
        assert!(report.problems.is_empty(), "{name}: {report:?}");
    }
}
