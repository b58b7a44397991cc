//! Closing and opening again: clean, unclean, read-only.

use nbdgate_api::{Backend, Kind, Op};
use nbdgate_s3::{DiskState, OnUnclean, OpenOptions};

use crate::{
    ask::{ask, flush, read, write},
    setup::{BLOCK, at, create, fresh, memory, noise, open, options},
    sim_store::{Bucket, Faults},
};

#[tokio::test(start_paused = true)]
async fn everything_answered_is_there_after_a_clean_close() {
    let (store, disk) = fresh(64 << 20).await;
    for number in 0..40 {
        write(&disk, number * (1 << 20), noise(number, 3 * BLOCK)).await.unwrap();
    }
    disk.shutdown().await.unwrap();
    assert_eq!(nbdgate_s3::info(&at(&store)).await.unwrap().state, DiskState::Closed);
    let disk = open(&at(&store)).await.unwrap();
    for number in 0..40 {
        assert_eq!(read(&disk, number * (1 << 20), 3 * BLOCK).await.unwrap(), noise(number, 3 * BLOCK));
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_clean_close_no_segment_is_replayed() {
    let bucket = Bucket::new(1);
    let store: std::sync::Arc<dyn object_store::ObjectStore> = bucket.client(Faults::default());
    create(&at(&store), 64 << 20).await;
    let disk = open(&at(&store)).await.unwrap();
    for number in 0..50 {
        write(&disk, number * BLOCK, noise(number, BLOCK)).await.unwrap();
        flush(&disk).await.unwrap();
    }
    disk.shutdown().await.unwrap();
    let client = bucket.client(Faults::default());
    let store: std::sync::Arc<dyn object_store::ObjectStore> =
        std::sync::Arc::<crate::sim_store::SimStore>::clone(&client);
    let disk = open(&at(&store)).await.unwrap();
    let gets = client.counts.gets.load(std::sync::atomic::Ordering::Relaxed);
    assert!(gets < 20, "opening took {gets} gets, 50 segments are under the checkpoint");
    assert_eq!(read(&disk, 7 * BLOCK, BLOCK).await.unwrap(), noise(7, BLOCK));
}

#[tokio::test(start_paused = true)]
async fn an_unclean_disk_stays_down_until_someone_confirms() {
    let (store, disk) = fresh(1 << 20).await;
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    flush(&disk).await.unwrap();
    write(&disk, 0, noise(2, BLOCK)).await.unwrap();
    drop(disk);
    let error = open(&at(&store)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Permission);
    assert!(error.chain().contains("on-unclean=serve"), "{}", error.chain());
    let disk = nbdgate_s3::open(&at(&store), OpenOptions { on_unclean: OnUnclean::Serve, ..options() }).await.unwrap();
    assert_eq!(read(&disk, 0, BLOCK).await.unwrap(), noise(1, BLOCK));
    disk.shutdown().await.unwrap();
    open(&at(&store)).await.expect("closed cleanly since");
}

#[tokio::test(start_paused = true)]
async fn a_disk_held_by_another_host_is_refused_by_name() {
    let (store, disk) = fresh(1 << 20).await;
    let other = OpenOptions { host: Some("host-b".to_owned()), ..options() };
    let error = nbdgate_s3::open(&at(&store), other.clone()).await.unwrap_err();
    assert!(error.chain().contains("host-a") && error.chain().contains("steal"), "{}", error.chain());
    nbdgate_s3::open(&at(&store), OpenOptions { steal: true, ..other }).await.unwrap();
    let error = ask(&disk, Op::Write { offset: 0, payload: noise(1, BLOCK).into(), fua: true }).answer().await.outcome;
    assert!(error.unwrap_err().chain().contains("host-b"), "the fenced one is told by whom");
    let error = read(&disk, 0, BLOCK).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn a_read_only_disk_is_a_fixed_view_and_claims_nothing() {
    let (store, disk) = fresh(1 << 20).await;
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    flush(&disk).await.unwrap();
    let view = nbdgate_s3::open(&at(&store), OpenOptions { read_only: true, ..options() }).await.unwrap();
    assert!(view.info().read_only);
    write(&disk, 0, noise(2, BLOCK)).await.unwrap();
    flush(&disk).await.unwrap();
    assert_eq!(read(&view, 0, BLOCK).await.unwrap(), noise(1, BLOCK));
    assert_eq!(read(&disk, 0, BLOCK).await.unwrap(), noise(2, BLOCK));
    view.shutdown().await.unwrap();
    disk.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_read_only_view_never_wants_a_checkpoint_and_closes_at_once() {
    let (store, disk) = fresh(1 << 20).await;
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    flush(&disk).await.unwrap();
    let view = nbdgate_s3::open(&at(&store), OpenOptions { read_only: true, ..options() }).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_hours(1)).await;
    ask(&view, Op::Flush).answer().await.outcome.unwrap();
    let start = tokio::time::Instant::now();
    view.shutdown().await.unwrap();
    assert!(start.elapsed() < std::time::Duration::from_secs(1), "a view has nothing to wait for");
}

/// Drops its disk in the end of a request, where the disk is in the midst of what follows from it.
struct Dropper(std::sync::Mutex<Option<nbdgate_s3::Disk>>);

impl nbdgate_api::Sink for Dropper {
    fn piece(&self, _tag: u64, _piece: nbdgate_api::Piece) {}

    fn end(&self, _tag: u64, _outcome: Result<(), nbdgate_api::Error>) {
        let disk = self.0.lock().unwrap().take();
        drop(disk);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_disk_sends_nothing_more() {
    let client = Bucket::new(2).client(Faults::default());
    let store: std::sync::Arc<dyn object_store::ObjectStore> =
        std::sync::Arc::<crate::sim_store::SimStore>::clone(&client);
    create(&at(&store), 64 << 20).await;
    let mut options = options();
    options.tuning.window = 1;
    let disk = nbdgate_s3::open(&at(&store), options).await.unwrap();
    let opened = client.counts.total();
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    let sink = std::sync::Arc::new(Dropper(std::sync::Mutex::new(None)));
    let listening: std::sync::Arc<dyn nbdgate_api::Sink> = std::sync::Arc::<Dropper>::clone(&sink);
    disk.submit(nbdgate_api::Io { op: Op::Flush, reply: nbdgate_api::Reply::new(listening, 0) });
    // The next segment waits for the window, so it goes with the end of the flush before it.
    write(&disk, BLOCK, noise(2, 12 << 20)).await.unwrap();
    *sink.0.lock().unwrap() = Some(disk);
    let mut turns = 0;
    while sink.0.lock().unwrap().is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        turns += 1;
        assert!(turns < 100_000, "the flush never ends");
    }
    tokio::time::sleep(std::time::Duration::from_mins(10)).await;
    assert_eq!(client.counts.total(), opened + 1, "a dropped disk still asks the store");
}

#[tokio::test(start_paused = true)]
async fn after_close_every_request_ends_with_shutdown() {
    let (_store, disk) = fresh(1 << 20).await;
    disk.shutdown().await.unwrap();
    for op in [Op::Flush, Op::Read(nbdgate_api::ByteRange::between(0, 4096))] {
        let answer = ask(&disk, op).answer().await;
        assert_eq!(answer.outcome.unwrap_err().kind(), Kind::Shutdown);
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_happens_while_the_disk_is_written() {
    let store = memory();
    create(&at(&store), 64 << 20).await;
    let mut options = options();
    options.tuning.checkpoint.segments = 5;
    let disk = nbdgate_s3::open(&at(&store), options).await.unwrap();
    for number in 0..40 {
        write(&disk, number * BLOCK, noise(number, BLOCK)).await.unwrap();
        flush(&disk).await.unwrap();
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let info = nbdgate_s3::info(&at(&store)).await.unwrap();
    assert!(info.checkpoint >= 4, "only {} checkpoints in 40 segments", info.checkpoint);
    drop(disk);
    let options = OpenOptions { on_unclean: OnUnclean::Serve, ..crate::setup::options() };
    let disk = nbdgate_s3::open(&at(&store), options).await.unwrap();
    for number in 0..40 {
        assert_eq!(read(&disk, number * BLOCK, BLOCK).await.unwrap(), noise(number, BLOCK));
    }
}

#[test]
fn a_disk_in_a_directory_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let location: nbdgate_s3::Location = format!("dir:{}/bucket/disk", directory.path().display()).parse().unwrap();
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let first = runtime();
    first.block_on(create(&location, 10 << 30));
    let disk = first.block_on(open(&location)).unwrap();
    nbdgate_api::wait::write(&disk, 5 << 30, noise(1, 1 << 20)).unwrap();
    nbdgate_api::wait::flush(&disk).unwrap();
    nbdgate_api::wait::write(&disk, 6 << 30, noise(2, 12_345)).unwrap();
    disk.close().unwrap();
    drop((disk, first));
    let second = runtime();
    let disk = second.block_on(open(&location)).unwrap();
    let range = |offset, length| nbdgate_api::ByteRange::new(offset, length).unwrap();
    assert_eq!(nbdgate_api::wait::read(&disk, range(5 << 30, 1 << 20)).unwrap(), noise(1, 1 << 20));
    assert_eq!(nbdgate_api::wait::read(&disk, range(6 << 30, 12_345)).unwrap(), noise(2, 12_345));
    disk.close().unwrap();
}
