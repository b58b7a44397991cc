//! Snapshots, clones, rollback, resize, removal and changed blocks, one promise at a time.

use std::sync::{Arc, atomic::Ordering};

use nbdgate_api::{Backend, ByteRange, Op, Piece};
use nbdgate_s3::{Disk, Error, Location, NoProgress, OpenOptions, admin};
use object_store::ObjectStore;

use crate::{
    ask::{ask, flush, read, write},
    setup::{BLOCK, at, create, fresh, noise, open, options},
    sim_store::{Bucket, Faults},
};

const SIZE: u64 = 16 << 20;

fn beside(store: &Arc<dyn ObjectStore>, name: &str) -> Location {
    Location::in_store(Arc::clone(store), "root", name)
}

async fn show(location: &Location, snapshot: Option<&str>) -> Result<Disk, Error> {
    let options = OpenOptions { read_only: true, snapshot: snapshot.map(str::to_owned), ..options() };
    nbdgate_s3::open(location, options).await
}

fn text<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.expect_err("it is refused").chain()
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_what_was_answered_before_it_and_nothing_later() {
    let (store, disk) = fresh(SIZE).await;
    let (before, after) = (noise(1, 3 * BLOCK), noise(2, 3 * BLOCK));
    write(&disk, 5 * BLOCK, before.clone()).await.unwrap();
    let taken = disk.snapshot("one").await.unwrap();
    assert_eq!((taken.name.as_str(), taken.size), ("one", SIZE));
    write(&disk, 4 * BLOCK, after.clone()).await.unwrap();
    flush(&disk).await.unwrap();
    let old = show(&at(&store), Some("one")).await.unwrap();
    assert!(old.info().read_only);
    assert_eq!(read(&old, 4 * BLOCK, 4 * BLOCK).await.unwrap(), [vec![0; 4096], before.clone()].concat());
    assert_eq!(read(&disk, 4 * BLOCK, 3 * BLOCK).await.unwrap(), after);
    disk.shutdown().await.unwrap();
    let old = show(&at(&store), Some("one")).await.unwrap();
    assert_eq!(read(&old, 5 * BLOCK, 3 * BLOCK).await.unwrap(), before, "also after the disk was closed");
    assert_eq!(admin::snapshots(&at(&store), &options()).await.unwrap(), [taken]);
}

#[tokio::test(start_paused = true)]
async fn names_are_checked_and_taken_once() {
    let (store, disk) = fresh(SIZE).await;
    for name in ["", ".x", "a b", "a/b", "a@b", "\n"] {
        assert!(text(disk.snapshot(name).await).contains("not the name of a snapshot"), "{name:?}");
    }
    disk.snapshot("a").await.unwrap();
    assert!(text(disk.snapshot("a").await).contains("already"));
    assert!(text(disk.remove_snapshot("b").await).contains("it has a"));
    assert!(text(show(&at(&store), Some("b")).await).contains("no snapshot"));
    let options = OpenOptions { snapshot: Some("a".to_owned()), ..options() };
    assert!(text(nbdgate_s3::open(&at(&store), options).await).contains("read-only"));
    let old = show(&at(&store), Some("a")).await.unwrap();
    assert!(text(old.snapshot("c").await).contains("read-only"));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_an_unchanged_disk_writes_no_pack() {
    let (store, disk) = fresh(SIZE).await;
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    let (one, two) = (disk.snapshot("one").await.unwrap(), disk.snapshot("two").await.unwrap());
    assert_eq!(one.checkpoint, two.checkpoint);
    write(&disk, 0, noise(2, BLOCK)).await.unwrap();
    assert_eq!(disk.snapshot("three").await.unwrap().checkpoint, two.checkpoint + 1);
    assert_eq!(disk.snapshots().len(), 3);
    drop((store, disk));
}

/// A disk with so many extents, and the counters of its client.
async fn sized(extents: u64) -> (Arc<Bucket>, Arc<crate::sim_store::SimStore>, Arc<dyn ObjectStore>, Disk) {
    let bucket = Bucket::new(1);
    let client = bucket.client(Faults::default());
    let store: Arc<dyn ObjectStore> = client.clone();
    create(&at(&store), 1 << 40).await;
    let disk = open(&at(&store)).await.unwrap();
    for number in 0..extents {
        write(&disk, number * 7 * BLOCK * 1024, noise(number, BLOCK)).await.unwrap();
    }
    flush(&disk).await.unwrap();
    (bucket, client, store, disk)
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_takes_a_pack_a_manifest_and_a_list_whatever_the_size() {
    for extents in [1, 300] {
        let (_bucket, client, _store, disk) = sized(extents).await;
        let before = client.counts.total();
        let puts = client.counts.puts.load(Ordering::Relaxed);
        disk.snapshot("one").await.unwrap();
        assert_eq!(client.counts.puts.load(Ordering::Relaxed) - puts, 2, "{extents} extents: a pack and a manifest");
        assert_eq!(client.counts.total() - before, 3, "{extents} extents: and the list behind the manifest");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clone_takes_the_same_few_requests_whatever_the_size() {
    let mut totals = Vec::new();
    for extents in [1, 300] {
        let (_bucket, client, store, disk) = sized(extents).await;
        disk.snapshot("one").await.unwrap();
        let before = client.counts.total();
        let puts = client.counts.puts.load(Ordering::Relaxed);
        admin::clone(&at(&store), "one", &beside(&store, "copy"), &options()).await.unwrap();
        assert_eq!(client.counts.puts.load(Ordering::Relaxed) - puts, 4, "ledger, descriptor, name, manifest");
        totals.push(client.counts.total() - before);
        let copy = open(&beside(&store, "copy")).await.unwrap();
        assert_eq!(read(&copy, 0, BLOCK).await.unwrap(), noise(0, BLOCK));
    }
    assert_eq!(totals[0], totals[1]);
    assert!(totals[0] <= 16, "{totals:?}");
}

#[tokio::test(start_paused = true)]
async fn clones_of_clones_share_what_they_have_and_go_their_own_ways() {
    let (store, disk) = fresh(SIZE).await;
    write(&disk, 0, noise(0, 4 * BLOCK)).await.unwrap();
    disk.snapshot("s").await.unwrap();
    let mut source = at(&store);
    for depth in 1..5_u64 {
        let target = beside(&store, &format!("clone{depth}"));
        admin::clone(&source, "s", &target, &options()).await.unwrap();
        let clone = open(&target).await.unwrap();
        write(&clone, depth % 4 * BLOCK, noise(depth, BLOCK)).await.unwrap();
        clone.snapshot("s").await.unwrap();
        clone.shutdown().await.unwrap();
        source = target;
    }
    write(&disk, 0, noise(9, 4 * BLOCK)).await.unwrap();
    disk.shutdown().await.unwrap();
    for depth in 1..5_u64 {
        let clone = open(&beside(&store, &format!("clone{depth}"))).await.unwrap();
        for block in 0..4_u64 {
            let last = (1..=depth).rfind(|depth| depth % 4 == block);
            let expected = match last {
                Some(depth) => noise(depth, BLOCK),
                None => noise(0, 4 * BLOCK)[usize::try_from(block * BLOCK).unwrap()..][..4096].to_vec(),
            };
            assert_eq!(read(&clone, block * BLOCK, BLOCK).await.unwrap(), expected, "clone {depth}, block {block}");
        }
        clone.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_clones_cannot_be_removed_until_they_are() {
    let (store, disk) = fresh(SIZE).await;
    write(&disk, 0, noise(0, BLOCK)).await.unwrap();
    disk.snapshot("s").await.unwrap();
    let copy = beside(&store, "copy");
    admin::clone(&at(&store), "s", &copy, &options()).await.unwrap();
    assert!(text(disk.remove_snapshot("s").await).contains("clones (copy)"));
    disk.shutdown().await.unwrap();
    assert!(text(admin::remove(&at(&store), &options(), &NoProgress).await).contains("clones (copy)"));
    assert!(open(&at(&store)).await.is_ok(), "a refused removal changes nothing");
    let taken = admin::clone(&at(&store), "s", &copy, &options()).await;
    assert!(text(taken).contains("already"));
    admin::remove(&copy, &options(), &NoProgress).await.unwrap();
    let options = OpenOptions { on_unclean: nbdgate_s3::OnUnclean::Serve, ..options() };
    admin::remove_snapshot(&at(&store), "s", &options).await.unwrap();
    assert!(text(admin::clone(&at(&store), "s", &copy, &options).await).contains("no snapshot"));
}

#[tokio::test(start_paused = true)]
async fn a_removed_disk_leaves_one_small_object_and_its_name_is_free() {
    let bucket = Bucket::new(1);
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    create(&at(&store), SIZE).await;
    let disk = open(&at(&store)).await.unwrap();
    write(&disk, 0, noise(0, 1 << 20)).await.unwrap();
    disk.snapshot("s").await.unwrap();
    let held = admin::remove(&at(&store), &OpenOptions { host: Some("b".into()), ..options() }, &NoProgress).await;
    assert!(text(held).contains("held by host-a"));
    disk.shutdown().await.unwrap();
    let removed = admin::remove(&at(&store), &options(), &NoProgress).await.unwrap();
    assert!(removed.bytes > 1 << 20 && removed.objects > 5, "{removed:?}");
    let left = bucket.names().await;
    assert!(left.len() == 1 && left[0].contains("/m/"), "{left:?}");
    assert!(text(open(&at(&store)).await).contains("no disk"));
    create(&at(&store), SIZE).await;
    let disk = open(&at(&store)).await.unwrap();
    assert_eq!(read(&disk, 0, BLOCK).await.unwrap(), vec![0; 4096]);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_goes_back_and_forth_between_snapshots() {
    let (store, disk) = fresh(SIZE).await;
    write(&disk, 0, noise(1, 2 * BLOCK)).await.unwrap();
    disk.snapshot("one").await.unwrap();
    write(&disk, BLOCK, noise(2, 2 * BLOCK)).await.unwrap();
    disk.snapshot("two").await.unwrap();
    write(&disk, 0, noise(3, BLOCK)).await.unwrap();
    disk.shutdown().await.unwrap();
    let at = at(&store);
    assert!(text(admin::rollback(&at, "three", &options()).await).contains("no snapshot"));
    let given_up = admin::rollback(&at, "one", &options()).await.unwrap();
    assert!(given_up.discarded_objects >= 2 && given_up.discarded_bytes > 3 * BLOCK, "{given_up:?}");
    let one = [noise(1, 2 * BLOCK), vec![0; 4096]].concat();
    let disk = open(&at).await.unwrap();
    assert_eq!(read(&disk, 0, 3 * BLOCK).await.unwrap(), one);
    write(&disk, 2 * BLOCK, noise(4, BLOCK)).await.unwrap();
    let three = disk.snapshot("three").await.unwrap();
    assert!(three.checkpoint > disk.snapshots()[1].checkpoint, "numbers never go back");
    disk.shutdown().await.unwrap();
    admin::rollback(&at, "two", &options()).await.unwrap();
    let disk = open(&at).await.unwrap();
    let two = [&noise(1, BLOCK)[..], &noise(2, 2 * BLOCK)].concat();
    assert_eq!(read(&disk, 0, 3 * BLOCK).await.unwrap(), two);
    disk.shutdown().await.unwrap();
    admin::rollback(&at, "three", &options()).await.unwrap();
    for (name, expected) in [("one", &one), ("two", &two)] {
        let old = show(&at, Some(name)).await.unwrap();
        assert_eq!(&read(&old, 0, 3 * BLOCK).await.unwrap(), expected, "{name}");
    }
    let disk = open(&at).await.unwrap();
    assert_eq!(read(&disk, 2 * BLOCK, BLOCK).await.unwrap(), noise(4, BLOCK));
}

#[tokio::test(start_paused = true)]
async fn a_disk_grows_with_zeros_and_shrinks_only_when_asked() {
    let (store, disk) = fresh(20 << 30).await;
    let ends = [0, (3 << 20) - BLOCK, (4 << 20) + BLOCK, (9 << 30) - BLOCK, (20 << 30) - BLOCK];
    for end in ends {
        write(&disk, end, noise(end, BLOCK)).await.unwrap();
    }
    disk.snapshot("s").await.unwrap();
    disk.shutdown().await.unwrap();
    let at = at(&store);
    let small = (4 << 20) + BLOCK;
    assert!(text(admin::resize(&at, small, admin::Shrink::Refuse, &options()).await).contains("ask for that"));
    assert!(text(admin::resize(&at, 5000, admin::Shrink::Allow, &options()).await).contains("multiple of 4096"));
    admin::resize(&at, small, admin::Shrink::Allow, &options()).await.unwrap();
    let disk = open(&at).await.unwrap();
    assert_eq!(disk.info().size, small);
    assert_eq!(read(&disk, ends[1], BLOCK).await.unwrap(), noise(ends[1], BLOCK));
    write(&disk, BLOCK, noise(7, BLOCK)).await.unwrap();
    disk.shutdown().await.unwrap();
    admin::resize(&at, 30 << 30, admin::Shrink::Refuse, &options()).await.unwrap();
    let disk = open(&at).await.unwrap();
    for gone in &ends[2..] {
        assert_eq!(read(&disk, *gone, BLOCK).await.unwrap(), vec![0; 4096], "given up bytes never come back");
    }
    write(&disk, (30 << 30) - BLOCK, noise(8, BLOCK)).await.unwrap();
    disk.shutdown().await.unwrap();
    let old = show(&at, Some("s")).await.unwrap();
    assert_eq!(old.info().size, 20 << 30);
    for end in ends {
        assert_eq!(read(&old, end, BLOCK).await.unwrap(), noise(end, BLOCK));
    }
    admin::rollback(&at, "s", &options()).await.unwrap();
    assert_eq!(open(&at).await.unwrap().info().size, 20 << 30);
}

#[tokio::test(start_paused = true)]
async fn changed_blocks_are_told_between_snapshots_and_live() {
    let (store, disk) = fresh(SIZE).await;
    write(&disk, 0, noise(1, 8 * BLOCK)).await.unwrap();
    disk.snapshot("one").await.unwrap();
    assert_eq!(dirty(&disk, "one").await, []);
    write(&disk, 2 * BLOCK, noise(2, BLOCK)).await.unwrap();
    assert_eq!(dirty(&disk, "one").await, [(2, 3)], "also what is not in the store yet");
    disk.snapshot("two").await.unwrap();
    let range = ByteRange::between(5 * BLOCK, 7 * BLOCK);
    ask(&disk, Op::Trim { range, fua: false }).answer().await.outcome.unwrap();
    ask(&disk, Op::Trim { range: ByteRange::between(100 * BLOCK, 200 * BLOCK), fua: false }).answer().await;
    write(&disk, 3000 * BLOCK, noise(3, 2 * BLOCK)).await.unwrap();
    assert_eq!(dirty(&disk, "one").await, [(2, 3), (5, 7), (3000, 3002)], "trimmed holes are no change");
    assert_eq!(dirty(&disk, "two").await, [(5, 7), (3000, 3002)]);
    let names: Vec<String> = disk.bitmaps().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["one", "two"]);
    disk.shutdown().await.unwrap();
    let blocks = |diff: admin::Diff| -> Vec<(u64, u64)> {
        diff.changed.iter().map(|range| (range.offset() / BLOCK, range.end() / BLOCK)).collect()
    };
    let at = at(&store);
    let between = admin::diff(&at, "one", Some("two"), &options()).await.unwrap();
    assert_eq!(between.changed_bytes, BLOCK);
    assert_eq!(blocks(between), [(2, 3)]);
    assert_eq!(blocks(admin::diff(&at, "two", None, &options()).await.unwrap()), [(5, 7), (3000, 3002)]);
    assert!(text(admin::diff(&at, "two", Some("one"), &options()).await).contains("older"));
    admin::resize(&at, 2 * SIZE, admin::Shrink::Refuse, &options()).await.unwrap();
    let grown = blocks(admin::diff(&at, "two", None, &options()).await.unwrap());
    assert_eq!(grown.last(), Some(&(SIZE / BLOCK, 2 * SIZE / BLOCK)), "what the older picture did not have");
}

/// Changed blocks since a snapshot.
async fn dirty(disk: &Disk, since: &str) -> Vec<(u64, u64)> {
    let range = ByteRange::between(0, disk.info().size);
    let op = Op::DirtyStatus { range, req_one: false, bitmap: since.into() };
    let answer = ask(disk, op).answer().await;
    answer.outcome.unwrap();
    let [Piece::Extents(extents)] = &answer.pieces[..] else { panic!("extents, once") };
    assert_eq!(extents.last().unwrap().range.end(), disk.info().size);
    let changed = extents.iter().filter(|extent| extent.kind == nbdgate_api::ExtentKind::Dirty);
    changed.map(|extent| (extent.range.offset() / BLOCK, extent.range.end() / BLOCK)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_bitmap_of_a_removed_snapshot_ends_and_a_new_one_of_its_name_is_new() {
    let (_store, disk) = fresh(SIZE).await;
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    disk.snapshot("one").await.unwrap();
    write(&disk, 0, noise(2, BLOCK)).await.unwrap();
    assert_eq!(dirty(&disk, "one").await, [(0, 1)]);
    disk.remove_snapshot("one").await.unwrap();
    let range = ByteRange::between(0, SIZE);
    let gone = ask(&disk, Op::DirtyStatus { range, req_one: true, bitmap: "one".into() }).answer().await;
    assert_eq!(gone.outcome.unwrap_err().kind(), nbdgate_api::Kind::NotSupported);
    disk.snapshot("one").await.unwrap();
    assert_eq!(dirty(&disk, "one").await, []);
}
