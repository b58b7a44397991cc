//! fsck: clean disks are clean, every damaged object is named, and nothing is ever written.

use std::sync::{Arc, atomic::Ordering};

use nbdgate_s3::{
    NoProgress,
    fsck::{ProblemKind, Severity},
};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};

use crate::{
    history::{BLOCKS, History, on_paused_clock, options, seeds},
    setup::{BLOCK, at},
    sim_store::Faults,
};

#[test]
fn a_sound_disk_is_clean_and_nothing_is_written() {
    for seed in seeds(3) {
        on_paused_clock(async {
            for clean in [true, false] {
                let history = History::new(seed, clean).await;
                let client = history.bucket.client(Faults::default());
                let store: Arc<dyn ObjectStore> = Arc::<crate::sim_store::SimStore>::clone(&client);
                let fsck = nbdgate_s3::FsckOptions { data: true };
                let report = nbdgate_s3::fsck(&at(&store), &fsck, &NoProgress, &options()).await.unwrap();
                assert_eq!((report.severity, report.problems.len()), (Severity::Clean, 0), "seed {seed}: {report:?}");
                assert_eq!(report.exit_code(), 0);
                assert!(report.frames > 0 && report.segments > 0 && report.manifests > 4);
                assert_eq!(client.counts.puts.load(Ordering::Relaxed), 0, "seed {seed}: fsck wrote");
            }
        });
    }
}

/// The ways to hurt an object.
const WAYS: u32 = 4;

async fn hurt(history: &History, name: &str, way: u32) {
    match way {
        0 => history.bucket.lose(name).await,
        1 => history.bucket.damage(name, |bytes| *bytes.last_mut().unwrap() ^= 0x10).await,
        2 => history.bucket.damage(name, |bytes| bytes.truncate(bytes.len() / 2)).await,
        _ => history.bucket.damage(name, |bytes| bytes.fill(0)).await,
    }
}

/// Every object, one at a time: if the disk does not read as it was written any more, fsck says "damaged", and names the
/// object or, where it is gone without a trace, what shows that it is.
#[test]
fn whatever_hurts_a_live_byte_is_found() {
    for seed in seeds(1) {
        on_paused_clock(async {
            for clean in [true, false] {
                let history = History::new(seed, clean).await;
                for name in history.names().await {
                    for way in 0..WAYS {
                        one(history.fork(), &name, way, &format!("seed {seed}, clean {clean}: {name}, way {way}"))
                            .await;
                    }
                }
            }
        });
    }
}

async fn one(history: History, name: &str, way: u32, what: &str) {
    hurt(&history, name, way).await;
    let report = history.fsck(true).await;
    let short = name.strip_prefix("root/").unwrap();
    // A manifest that is gone from the end of the chain is shown by what its writer wrote.
    let shown = |kind| kind == ProblemKind::ManifestsLost && short.contains("/m/");
    let named = report
        .problems
        .iter()
        .any(|problem| problem.object == short || problem.detail.contains(short) || shown(problem.kind));
    if let Err(error) = history.is_exact().await {
        // A slot that is gone from an open log looks like one that was never stored, unless the window proves otherwise:
        // the newest leaves no trace, an older one those behind it.
        let open = way == 0 && short.contains("/l/") && error == "other bytes";
        if !open {
            assert_eq!(report.severity, Severity::Damaged, "{what}: {error}: {report:?}");
            assert!(named, "{what}: not named in {report:?}");
        } else if !is_newest(&history, short).await {
            assert!(report.severity >= Severity::Repairable && named, "{what}: {report:?}");
        }
    }
    if way != 0 && !unreferenced(short) {
        assert!(named, "{what}: {report:?}");
    }
}

/// Whether nothing is left behind a slot of its log.
async fn is_newest(history: &History, short: &str) -> bool {
    let writer = short.split('/').nth(4).unwrap();
    let number = short.rsplit('/').next().unwrap();
    let names = history.names().await;
    let later =
        |name: &&String| name.contains("/l/") && name.contains(writer) && name.rsplit('/').next().unwrap() > number;
    !names.iter().any(|name| later(&name))
}

/// Objects that nothing refers to need not be named.
fn unreferenced(short: &str) -> bool {
    short.contains("/p/") || short.contains("/l/") || short.contains("/g/")
}

#[test]
fn a_bad_frame_is_found_only_with_data_and_names_its_blocks() {
    on_paused_clock(async {
        let mut found = 0;
        let sound = History::new(7, true).await;
        for name in sound.names().await.into_iter().filter(|name| name.contains("/l/")) {
            let history = sound.fork();
            // The last byte of a segment is in its last frame.
            hurt(&history, &name, 1).await;
            let quick = history.fsck(false).await;
            let full = history.fsck(true).await;
            let Some(problem) = full.problems.iter().find(|problem| problem.kind == ProblemKind::FramesDamaged) else {
                continue;
            };
            assert!(quick.severity == Severity::Clean, "{quick:?}");
            assert!(name.ends_with(&problem.object), "{problem:?}");
            if problem.severity == Severity::Damaged {
                found += 1;
                assert!(problem.affected.bytes > 0 && problem.affected.bytes <= 16 << 10, "{problem:?}");
                assert!(history.is_exact().await.is_err());
            } else {
                history.is_exact().await.unwrap();
            }
        }
        assert!(found > 0, "some frame is live");
    });
}

#[test]
fn orphans_are_counted_and_fences_are_none() {
    on_paused_clock(async {
        let history = History::new(11, true).await;
        let volume =
            history.names().await.iter().find_map(|name| name.strip_suffix("/desc").map(str::to_owned)).unwrap();
        let before = history.fsck(false).await;
        for orphan in
            ["g/07/00000001-00000000000000aa/0000000000000007", "p/01/00000001-00000000000000aa/0000000000000001"]
        {
            let path = Path::from(format!("{volume}/{orphan}"));
            history.bucket.inner.put(&path, vec![1; 100].into()).await.unwrap();
        }
        history.bucket.inner.put(&Path::from(format!("{volume}/g/holiday.jpg")), vec![1; 10].into()).await.unwrap();
        let report = history.fsck(false).await;
        assert_eq!((report.orphans, report.orphan_bytes), (before.orphans + 2, before.orphan_bytes + 200));
        assert_eq!((report.foreign, report.severity), (1, Severity::Clean));
    });
}

#[test]
fn objects_of_a_later_writer_show_that_manifests_are_lost() {
    on_paused_clock(async {
        let history = History::new(12, false).await;
        let manifests: Vec<String> = history.names().await.into_iter().filter(|name| name.contains("/m/")).collect();
        for name in &manifests[4..] {
            history.bucket.lose(name).await;
        }
        let report = history.fsck(false).await;
        assert!(report.problems.iter().any(|problem| problem.kind == ProblemKind::ManifestsLost), "{report:?}");
        assert_eq!(report.exit_code(), 2);
    });
}

#[test]
fn a_disk_in_use_is_looked_at_without_being_disturbed() {
    on_paused_clock(async {
        let history = History::new(13, true).await;
        let store = history.store();
        let disk = nbdgate_s3::open(&at(&store), options()).await.unwrap();
        crate::ask::write(&disk, 0, crate::setup::noise(1, BLOCK)).await.unwrap();
        crate::ask::flush(&disk).await.unwrap();
        assert_eq!(history.fsck(true).await.severity, Severity::Clean);
        crate::ask::write(&disk, (BLOCKS - 1) * BLOCK, crate::setup::noise(2, BLOCK)).await.unwrap();
        crate::ask::flush(&disk).await.unwrap();
        disk.shutdown().await.unwrap();
    });
}

#[test]
fn what_is_not_there_is_an_error_and_not_a_clean_disk() {
    on_paused_clock(async {
        let history = History::new(14, true).await;
        let store = history.store();
        let nothing = nbdgate_s3::Location::in_store(store, "root", "nothing");
        let fsck = nbdgate_s3::FsckOptions::default();
        let error = nbdgate_s3::fsck(&nothing, &fsck, &NoProgress, &options()).await.unwrap_err();
        assert!(error.chain().contains("there is no disk"), "{}", error.chain());
        let busy: Arc<dyn ObjectStore> = history.bucket.client(Faults { busy: 1000, ..Faults::default() });
        assert!(nbdgate_s3::fsck(&at(&busy), &fsck, &NoProgress, &options()).await.is_err());
    });
}
