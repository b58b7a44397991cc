//! What an observer hears: every request once, and levels that rise and fall.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use nbdgate_api::Op;
use nbdgate_s3::{Cause, Levels, Method, Observer, OpenOptions, Outcome, Request};
use object_store::ObjectStore;

use crate::{
    ask::{ask, flush, read, write},
    setup::{BLOCK, at, create, noise, options},
    sim_store::{Bucket, Faults, SimStore},
};

#[derive(Debug, Default)]
struct Notes {
    requests: Mutex<Vec<Request>>,
    levels: Mutex<Vec<Levels>>,
}

impl Observer for Notes {
    fn request(&self, request: &Request) {
        self.requests.lock().unwrap().push(*request);
    }

    fn levels(&self, levels: &Levels) {
        self.levels.lock().unwrap().push(*levels);
    }
}

impl Notes {
    fn count(&self, method: Method, cause: Cause, outcome: Outcome) -> usize {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|r| (r.method, r.cause, r.outcome) == (method, cause, outcome)).count()
    }

    fn last(&self) -> Levels {
        *self.levels.lock().unwrap().last().expect("levels were told")
    }
}

async fn observed() -> (Arc<SimStore>, Arc<Notes>, nbdgate_s3::Disk) {
    let client = Bucket::new(1).client(Faults::default());
    let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&client);
    create(&at(&store), 1 << 20).await;
    let notes = Arc::new(Notes::default());
    let observer: Arc<dyn Observer> = Arc::<Notes>::clone(&notes);
    let disk = nbdgate_s3::open(&at(&store), OpenOptions { observer, ..options() }).await.unwrap();
    (client, notes, disk)
}

#[tokio::test(start_paused = true)]
async fn requests_are_told_by_method_cause_and_outcome() {
    let (client, notes, disk) = observed().await;
    assert_eq!(notes.count(Method::Put, Cause::Manifest, Outcome::Ok), 2, "CLAIM and OPEN");
    assert!(notes.count(Method::Put, Cause::Probe, Outcome::Exists) > 0);
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    flush(&disk).await.unwrap();
    assert_eq!(notes.count(Method::Put, Cause::Segment, Outcome::Ok), 1);
    let sent = notes.requests.lock().unwrap().last().unwrap().sent;
    assert!(sent > BLOCK, "{sent} bytes were sent for a block of noise");
    client.set_faults(Faults { busy: 500, ..Faults::default() });
    for number in 0..20 {
        write(&disk, 0, noise(number, BLOCK)).await.unwrap();
        flush(&disk).await.unwrap();
    }
    assert!(notes.count(Method::Put, Cause::Segment, Outcome::Failed) > 0);
    assert!(notes.requests.lock().unwrap().iter().any(|request| request.retry));
    assert!(read(&disk, 0, BLOCK).await.unwrap() == noise(19, BLOCK));
    assert!(notes.count(Method::Get, Cause::Data, Outcome::Ok) > 0);
}

#[tokio::test(start_paused = true)]
async fn the_lag_grows_while_the_store_is_silent_and_falls_when_it_is_back() {
    let (client, notes, disk) = observed().await;
    client.set_faults(Faults { lost: 1000, ..Faults::default() });
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    let waiting = ask(&disk, Op::Flush);
    tokio::time::sleep(Duration::from_mins(5)).await;
    let levels = notes.last();
    assert!(levels.dirty_bytes >= BLOCK && levels.uploads == 1, "{levels:?}");
    assert!((298_000..=301_000).contains(&levels.commit_lag_ms), "{levels:?}");
    client.set_faults(Faults::default());
    waiting.answer().await.outcome.unwrap();
    assert_eq!(notes.last(), Levels::default());
}

/// Panics when a segment was put, in the midst of the task that put it.
#[derive(Debug)]
struct Bomb;

impl Observer for Bomb {
    fn request(&self, request: &Request) {
        assert!(request.cause != Cause::Segment, "an observer with a bug");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_ends_what_waits_for_it() {
    let client = Bucket::new(2).client(Faults::default());
    let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&client);
    create(&at(&store), 1 << 20).await;
    let disk = nbdgate_s3::open(&at(&store), OpenOptions { observer: Arc::new(Bomb), ..options() }).await.unwrap();
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    let error = flush(&disk).await.unwrap_err();
    assert!(error.chain().contains("internal failure"), "{}", error.chain());
}
