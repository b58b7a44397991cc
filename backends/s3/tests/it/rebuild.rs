//! rebuild: the exact content from what is left, or a clear refusal; never other bytes without saying so.

use nbdgate_s3::{
    Error, NoProgress, OpenOptions,
    checked::Checked,
    format::{Codec, Epoch, Lba, Nonce, VolumeId, Writer, Wseq},
    map::{SegmentKind, SegmentName},
    rebuild::{RebuildBase, RebuildOptions, RebuildReport, rebuild},
    segment_builder::{Content, PendingExtent, SegmentSpec, build},
};
use object_store::{ObjectStoreExt, path::Path};

use crate::{
    history::{BLOCKS, History, on_paused_clock, options, seeds},
    setup::{BLOCK, at},
    sim_store::Bucket,
};

async fn run(history: &History, how: RebuildOptions) -> Result<RebuildReport, Error> {
    let store = history.store();
    rebuild(&at(&store), &how, &NoProgress, &options()).await
}

async fn delete(history: &History, part: &str) {
    for name in history.names().await.iter().filter(|name| name.contains(part)) {
        history.bucket.lose(name).await;
    }
}

/// The disk opens for writing, serves, closes, and fsck finds nothing.
async fn serves_again(history: &mut History, seed: u64) {
    history.is_exact().await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let store = history.store();
    let disk = nbdgate_s3::open(&at(&store), options()).await.unwrap();
    let bytes = crate::setup::noise(seed, BLOCK);
    crate::ask::write(&disk, (BLOCKS - 1) * BLOCK, bytes.clone()).await.unwrap();
    crate::ask::flush(&disk).await.unwrap();
    disk.shutdown().await.unwrap();
    let at = usize::try_from((BLOCKS - 1) * BLOCK).unwrap();
    history.content[at..].copy_from_slice(&bytes);
    history.is_exact().await.unwrap();
    let report = history.fsck(true).await;
    assert!(report.severity <= nbdgate_s3::fsck::Severity::Repairable, "seed {seed}: {report:?}");
}

#[test]
fn a_disk_without_manifests_is_restored_exactly() {
    for seed in seeds(4) {
        on_paused_clock(async {
            for clean in [true, false] {
                let mut history = History::new(seed, clean).await;
                delete(&history, "/m/").await;
                assert!(history.is_exact().await.is_err());
                let dry = run(&history, RebuildOptions { dry_run: true, ..RebuildOptions::default() }).await.unwrap();
                assert!(history.is_exact().await.is_err(), "a dry run writes nothing");
                assert!(matches!(dry.base, RebuildBase::Checkpoint { .. }), "{dry:?}");
                // A dead gateway's far segments may be left: then the loss must be accepted, though nothing is.
                let accept_loss = !dry.exact();
                assert!(!accept_loss, "seed {seed}: {dry:?}");
                let report = run(&history, RebuildOptions::default()).await.unwrap();
                assert_eq!(report.size, BLOCKS * BLOCK);
                serves_again(&mut history, seed).await;
            }
        });
    }
}

#[test]
fn a_disk_without_any_checkpoint_is_replayed_from_its_log() {
    for seed in seeds(4) {
        on_paused_clock(async {
            for manifests in [true, false] {
                let mut history = History::new(seed, true).await;
                delete(&history, "/p/").await;
                if !manifests {
                    delete(&history, "/m/").await;
                }
                assert!(history.is_exact().await.is_err());
                let refused = run(&history, RebuildOptions::default()).await.unwrap_err();
                assert!(refused.chain().contains("nothing was written"), "{}", refused.chain());
                let how = RebuildOptions { accept_loss: true, size: Some(BLOCKS * BLOCK), ..RebuildOptions::default() };
                let report = run(&history, how).await.unwrap();
                assert_eq!(report.base, RebuildBase::Nothing);
                serves_again(&mut history, seed).await;
            }
        });
    }
}

/// One object is lost or damaged. Where fsck finds damage, rebuild restores the exact content, or refuses, or says what is
/// lost; and what it writes opens.
#[test]
fn any_single_loss_is_mended_or_told() {
    for seed in seeds(1) {
        on_paused_clock(async {
            let mut mended = 0;
            for clean in [true, false] {
                let history = History::new(seed, clean).await;
                for name in history.names().await {
                    for zeroed in [false, true] {
                        let what = format!("seed {seed}, clean {clean}, {name}, zeroed {zeroed}");
                        mended += u32::from(loss(history.fork(), &name, zeroed, &what).await);
                    }
                }
            }
            assert!(mended > 10, "seed {seed}: only {mended} losses were mended");
        });
    }
}

async fn loss(history: History, name: &str, zeroed: bool, what: &str) -> bool {
    if zeroed {
        history.bucket.damage(name, |bytes| bytes.fill(0)).await;
    } else {
        history.bucket.lose(name).await;
    }
    let before = history.is_exact().await;
    let how = RebuildOptions { accept_loss: true, ..RebuildOptions::default() };
    let report = match run(&history, how).await {
        Ok(report) => report,
        Err(error) => {
            // Data under a checkpoint is gone for good, and the newest slot of an open log leaves no trace.
            assert!(before.is_ok() || name.contains("/l/"), "{what}: {}", error.chain());
            let told = error.chain();
            assert!(told.contains("healthy") || told.contains("opens as it is"), "{what}: {told}");
            return false;
        }
    };
    let after = history.is_exact().await;
    let data = name.contains("/l/");
    match after {
        Ok(()) => before.is_err(),
        // Damaged names are left to the operator.
        Err(_) if !report.left.is_empty() && (name.ends_with("/desc") || name.contains("/volumes/")) => {
            assert!(report.left.iter().any(|left| left.contains("remove it")), "{what}: {report:?}");
            history.bucket.lose(name).await;
            run(&history, how).await.unwrap();
            history.is_exact().await.unwrap();
            true
        }
        Err(error) => {
            assert!(data, "{what}: {error}: {report:?}");
            // Data that is gone is gone; it must not be silent, but for the newest slot of a log that nobody closed.
            assert!(!report.exact() || !zeroed && error == "other bytes", "{what}: {error}: {report:?}");
            false
        }
    }
}

#[test]
fn a_healthy_disk_is_left_alone_and_forced_it_is_the_same() {
    on_paused_clock(async {
        let mut history = History::new(21, false).await;
        let before = history.names().await;
        let error = run(&history, RebuildOptions::default()).await.unwrap_err();
        assert!(error.chain().contains("healthy"), "{}", error.chain());
        assert_eq!(history.names().await, before, "a refusal writes nothing");
        for from_log in [false, true] {
            let how = RebuildOptions { dry_run: true, from_log, ..RebuildOptions::default() };
            let report = run(&history, how).await.unwrap();
            assert!(report.healthy && report.exact(), "{report:?}");
            assert_eq!(report.differs.unwrap().bytes, 0, "the log says what the checkpoint says");
        }
        let how = RebuildOptions { force: true, ..RebuildOptions::default() };
        assert!(run(&history, how).await.unwrap().written.is_some());
        serves_again(&mut history, 21).await;
    });
}

#[test]
fn a_gateway_that_lives_is_fenced_by_a_rebuild() {
    on_paused_clock(async {
        let mut history = History::new(22, true).await;
        let store = history.store();
        let disk = nbdgate_s3::open(&at(&store), options()).await.unwrap();
        let bytes = crate::setup::noise(5, BLOCK);
        crate::ask::write(&disk, 0, bytes.clone()).await.unwrap();
        crate::ask::flush(&disk).await.unwrap();
        history.content[..4096].copy_from_slice(&bytes);
        delete(&history, "/m/").await;
        run(&history, RebuildOptions::default()).await.unwrap();
        crate::ask::write(&disk, 0, crate::setup::noise(6, BLOCK)).await.unwrap();
        assert!(crate::ask::flush(&disk).await.is_err(), "a fenced gateway must not answer a FLUSH well");
        drop(disk);
        serves_again(&mut history, 22).await;
    });
}

#[test]
fn another_hosts_disk_is_not_rebuilt_without_steal() {
    on_paused_clock(async {
        let history = History::new(23, false).await;
        let newest = history.names().await.into_iter().rfind(|name| name.contains("/m/")).unwrap();
        history.bucket.damage(&newest, |bytes| bytes[70] ^= 1).await;
        let store = history.store();
        let other = OpenOptions { host: Some("host-b".to_owned()), ..options() };
        let refused = rebuild(&at(&store), &RebuildOptions::default(), &NoProgress, &other).await.unwrap_err();
        assert!(refused.chain().contains("host-a"), "{}", refused.chain());
        let steal = OpenOptions { steal: true, ..other };
        rebuild(&at(&store), &RebuildOptions::default(), &NoProgress, &steal).await.unwrap();
        history.is_exact().await.unwrap();
    });
}

/// Garbage collection moved the blocks of the only segment under the older root, and deleted it; then the newer root is
/// lost. The moved segment says after which mutation it shows the disk.
#[test]
fn a_moved_segment_stands_in_for_one_that_was_deleted() {
    on_paused_clock(async {
        // Before the base, between base and end, and imported data that names no mutation.
        for (mutation, adopted) in [(2, true), (3, true), (1, false), (4, false), (0, false)] {
            let mut history = History::new(51, true).await;
            history.content.fill(0);
            history.bucket = Bucket::new(mutation);
            let store = history.store();
            crate::setup::create(&at(&store), BLOCKS * BLOCK).await;
            for (number, start) in [(1, 0), (2, 4), (3, 100)] {
                let disk = nbdgate_s3::open(&at(&store), options()).await.unwrap();
                let bytes = crate::setup::noise(number, 8 * BLOCK);
                crate::ask::write(&disk, start * BLOCK, bytes.clone()).await.unwrap();
                let at = usize::try_from(start * BLOCK).unwrap();
                history.content[at..at + bytes.len()].copy_from_slice(&bytes);
                disk.shutdown().await.unwrap();
            }
            put_moved(&history, mutation).await;
            let names = history.names().await;
            let newest = names.iter().rfind(|name| name.contains("/p/") && name.contains("/00000003-")).unwrap();
            history.bucket.lose(newest).await;
            delete(&history, "/l/01/").await;
            delete(&history, "/m/").await;
            let report = run(&history, RebuildOptions { dry_run: true, ..RebuildOptions::default() }).await.unwrap();
            let gone = if adopted { 0 } else { 4 * BLOCK };
            assert_eq!((report.unreadable.bytes, report.moved_segments), (gone, u64::from(adopted)), "{report:?}");
            if adopted {
                run(&history, RebuildOptions::default()).await.unwrap();
                serves_again(&mut history, 51).await;
            } else {
                assert!(run(&history, RebuildOptions::default()).await.is_err());
            }
        }
    });
}

/// Blocks 0 to 11 as they are at the end, in a moved segment of the last writer.
async fn put_moved(history: &History, mutation: u64) {
    let names = history.names().await;
    let log = names.iter().rfind(|name| name.contains("/l/") && name.contains("/00000003-")).unwrap();
    let volume = VolumeId(log.split('/').nth(2).unwrap().parse().unwrap());
    let nonce = log.split('/').nth(5).unwrap().split_once('-').unwrap().1;
    let writer = Writer { epoch: Epoch(3), nonce: Nonce(u64::from_str_radix(nonce, 16).unwrap()) };
    let spec = SegmentSpec {
        volume,
        name: SegmentName { kind: SegmentKind::Moved, owner: 0, writer, number: 1 },
        first_wseq: Wseq(0),
        last_wseq: Wseq(mutation),
        prev_prelude_crc: 0,
        unix_ms: 0,
        frame_blocks: 4,
        codec: Codec::Zstd,
    };
    let bytes = history.content[..12 * 4096].to_vec();
    let built =
        build(&spec, None, &[PendingExtent { lba: Lba(0), content: Content::Data(Checked::new(bytes.into())) }]);
    let path = Path::from(built.name.key("root", volume));
    history.bucket.inner.put(&path, built.payload.into_iter().collect()).await.unwrap();
}

#[test]
fn what_a_later_version_wrote_is_neither_damage_nor_replaced() {
    on_paused_clock(async {
        let sound = History::new(61, false).await;
        for part in ["/desc", "/m/"] {
            let history = sound.fork();
            let name = history.names().await.into_iter().rfind(|name| name.contains(part)).unwrap();
            let later = |bytes: &mut Vec<u8>| {
                bytes[5] = 9;
                let crc = crc32c::crc32c(&bytes[..60]).to_le_bytes();
                bytes[60..64].copy_from_slice(&crc);
            };
            history.bucket.damage(&name, later).await;
            let before = history.names().await;
            let store = history.store();
            let how = RebuildOptions { force: true, accept_loss: true, ..RebuildOptions::default() };
            let refused = rebuild(&at(&store), &how, &NoProgress, &options()).await.unwrap_err();
            assert!(refused.chain().contains("format version 9"), "{name}: {}", refused.chain());
            let fsck = nbdgate_s3::FsckOptions::default();
            let refused = nbdgate_s3::fsck(&at(&store), &fsck, &NoProgress, &options()).await;
            assert!(refused.is_err(), "{name}: {refused:?}");
            assert_eq!(history.names().await, before);
        }
    });
}
