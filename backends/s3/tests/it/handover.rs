//! How a disk passes from gateway to gateway: in how many round trips, and without a false alarm.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use nbdgate_s3::{Cause, CreateOptions, Observer, OnUnclean, OpenOptions, Request};
use object_store::ObjectStore;
use tokio::time::Instant;

use crate::{
    ask::{flush, read, write},
    setup::{BLOCK, at, memory, noise, options},
    slow_store::Slow,
};

/// One round trip.
const TRIP: Duration = Duration::from_millis(100);

fn slow(inner: &Arc<dyn ObjectStore>, request: Duration, list: Duration) -> Arc<dyn ObjectStore> {
    Arc::new(Slow { inner: Arc::clone(inner), request, list })
}

fn stealing(host: &str) -> OpenOptions {
    OpenOptions { host: Some(host.to_owned()), steal: true, on_unclean: OnUnclean::Serve, ..options() }
}

async fn create(store: &Arc<dyn ObjectStore>) {
    let options = CreateOptions { size: 1 << 20, lease: Duration::ZERO, ..CreateOptions::default() };
    nbdgate_s3::create(&at(store), &options).await.unwrap();
}

/// When requests for the map and for segments began and ended.
#[derive(Debug, Default)]
struct Loads(Mutex<Vec<(Instant, Instant)>>);

impl Observer for Loads {
    fn request(&self, request: &Request) {
        if request.cause == Cause::Recovery {
            let now = Instant::now();
            self.0.lock().unwrap().push((now.checked_sub(request.duration).unwrap(), now));
        }
    }
}

impl Loads {
    /// The time in which at least one was under way.
    fn time(&self) -> Duration {
        let mut loads = self.0.lock().unwrap().clone();
        loads.sort_unstable();
        let mut total = Duration::ZERO;
        let mut until: Option<Instant> = None;
        for (start, end) in loads {
            let start = until.map_or(start, |until| start.max(until));
            total += end.saturating_duration_since(start);
            until = Some(until.map_or(end, |until| until.max(end)));
        }
        total
    }
}

#[tokio::test(start_paused = true)]
async fn a_takeover_after_a_crash_takes_ten_round_trips_and_the_load_of_the_map() {
    let store = memory();
    create(&store).await;
    for (host, segments) in [("host-a", 5), ("host-b", 40), ("host-c", 700)] {
        let disk = nbdgate_s3::open(&at(&store), stealing(host)).await.unwrap();
        for number in 0..segments {
            write(&disk, number % 200 * BLOCK, noise(number, BLOCK)).await.unwrap();
            flush(&disk).await.unwrap();
        }
        drop(disk);
        let loads = Arc::new(Loads::default());
        let observer: Arc<dyn Observer> = Arc::<Loads>::clone(&loads);
        let start = Instant::now();
        // The default probe, not that of the tests.
        let mut options = OpenOptions { observer, ..stealing("host-z") };
        options.tuning.probe = nbdgate_s3::Tuning::default().probe;
        let disk = nbdgate_s3::open(&at(&slow(&store, TRIP, TRIP)), options).await.unwrap();
        let took = start.elapsed().saturating_sub(loads.time());
        // A log of hundreds of segments is searched in two more.
        let trips = if segments > 64 { 12 } else { 10 };
        assert!(took <= trips * TRIP, "{segments} segments: a takeover took {took:?} at {TRIP:?} a round trip");
        assert!(loads.time() > Duration::ZERO, "segments were read");
        assert_eq!(read(&disk, BLOCK, BLOCK).await.unwrap(), noise(if segments > 200 { 601 } else { 1 }, BLOCK));
        disk.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_claimed_while_it_closes_was_closed_all_the_same() {
    let store = memory();
    create(&store).await;
    // CLOSED is put at once; the look behind it takes a second, in which the successor claims.
    let (fast, second) = (Duration::from_millis(1), Duration::from_secs(1));
    let old = nbdgate_s3::open(&at(&slow(&store, fast, second)), stealing("host-a")).await.unwrap();
    write(&old, 0, noise(1, BLOCK)).await.unwrap();
    let successor = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let options = OpenOptions { host: Some("host-b".to_owned()), ..options() };
        nbdgate_s3::open(&at(&slow(&store, fast, fast)), options).await
    };
    let (closed, new) = tokio::join!(old.shutdown(), successor);
    let new = new.unwrap_or_else(|error| panic!("the disk was closed: {}", error.chain()));
    closed.unwrap_or_else(|error| panic!("everything is stored: {}", error.chain()));
    assert_eq!(read(&new, 0, BLOCK).await.unwrap(), noise(1, BLOCK));
}
