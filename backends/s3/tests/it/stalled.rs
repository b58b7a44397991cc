//! A store that is down or asked too much: told once, survived, and told when it is over.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use nbdgate_api::Op;
use nbdgate_s3::{Capability, Observer, OpenOptions, Phase, ProbeReport, UploadLevels};
use object_store::ObjectStore;

use crate::{
    ask::{ask, flush, write},
    setup::{BLOCK, at, create, noise, options},
    sim_store::{Bucket, Faults, SimStore},
};

#[derive(Debug, Default)]
struct Notes {
    phases: Mutex<Vec<Phase>>,
    uploads: Mutex<Vec<UploadLevels>>,
    probes: Mutex<Vec<ProbeReport>>,
}

impl Observer for Notes {
    fn phase(&self, phase: Phase) {
        self.phases.lock().unwrap().push(phase);
    }

    fn uploads(&self, levels: &UploadLevels) {
        self.uploads.lock().unwrap().push(*levels);
    }

    fn probed(&self, report: &ProbeReport) {
        self.probes.lock().unwrap().push(*report);
    }
}

async fn noted(seed: u64) -> (Arc<SimStore>, Arc<Notes>, nbdgate_s3::Disk) {
    let client = Bucket::new(seed).client(Faults::default());
    let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&client);
    create(&at(&store), 64 << 20).await;
    let notes = Arc::new(Notes::default());
    let observer: Arc<dyn Observer> = Arc::<Notes>::clone(&notes);
    let disk = nbdgate_s3::open(&at(&store), OpenOptions { observer, ..options() }).await.unwrap();
    (client, notes, disk)
}

async fn stalls_and_recovers(faults: Faults) {
    let (client, notes, disk) = noted(1).await;
    let opened = notes.phases.lock().unwrap().len();
    client.set_faults(faults);
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    let mut waiting = ask(&disk, Op::Flush);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(notes.phases.lock().unwrap().len(), opened, "five seconds are no stall");
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(notes.phases.lock().unwrap()[opened..], [Phase::Stalled], "told once");
    assert!(waiting.try_answer().is_none());
    client.set_faults(Faults::default());
    waiting.answer().await.outcome.unwrap();
    assert_eq!(notes.phases.lock().unwrap()[opened..], [Phase::Stalled, Phase::Open], "and when it is over");
    disk.shutdown().await.unwrap();
    assert_eq!(notes.phases.lock().unwrap()[opened + 2..], [Phase::Draining, Phase::Closed]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_stalls_the_disk_until_it_is_back() {
    stalls_and_recovers(Faults { lost: 1000, ..Faults::default() }).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_denies_everything_stalls_the_disk_until_it_does_not() {
    stalls_and_recovers(Faults { denied: 1000, ..Faults::default() }).await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_day_is_no_stall() {
    let (client, notes, disk) = noted(2).await;
    client.set_faults(Faults::storm());
    for number in 0..200 {
        write(&disk, number * BLOCK, noise(number, BLOCK)).await.unwrap();
        flush(&disk).await.unwrap();
    }
    let stalls = notes.phases.lock().unwrap().iter().filter(|&&phase| phase == Phase::Stalled).count();
    assert!(stalls <= 2, "stalled {stalls} times by a store that answers most of the time");
}

#[tokio::test(start_paused = true)]
async fn uploads_are_fewer_after_refusals_and_grow_again() {
    let (client, notes, disk) = noted(3).await;
    let upload = async |number: u64| {
        write(&disk, 0, noise(number, BLOCK)).await.unwrap();
        flush(&disk).await.unwrap();
        *notes.uploads.lock().unwrap().last().unwrap()
    };
    let most = upload(0).await;
    assert_eq!(most.refusals, 0);
    client.set_faults(Faults { busy: 500, ..Faults::default() });
    for number in 0..30 {
        upload(number).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    client.set_faults(Faults::default());
    let least = upload(31).await;
    assert!(disk.is_throttled());
    assert!(least.limit < most.limit / 2 && least.refusals > 0, "{least:?}");
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert!(!disk.is_throttled());
    let later = upload(32).await;
    assert!(later.limit >= least.limit + 25, "{later:?} five minutes later");
}

#[tokio::test(start_paused = true)]
async fn a_probe_tells_what_it_found() {
    let (_, notes, _disk) = noted(4).await;
    let report = notes.probes.lock().unwrap()[0];
    assert_eq!(report.capability, Capability::Safe);
    assert!(report.clock_offset_ms.is_some_and(|offset| offset.abs() < 60_000), "{report:?}");
    let (round_trip, longest) = (report.round_trip, report.put.max(report.get));
    assert!(Duration::ZERO < round_trip && round_trip <= longest, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_is_probed_without_a_disk_and_without_opening_one() {
    let bucket = Bucket::new(5);
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    let report = nbdgate_s3::admin::probe(&at(&store), &options()).await.unwrap();
    assert_eq!(report.capability, Capability::Safe);
    assert!(bucket.names().await.is_empty(), "the probe left something behind");
    create(&at(&store), 1 << 20).await;
    let before = bucket.names().await;
    let notes = Arc::new(Notes::default());
    let observer: Arc<dyn Observer> = Arc::<Notes>::clone(&notes);
    nbdgate_s3::admin::probe(&at(&store), &OpenOptions { observer, ..options() }).await.unwrap();
    assert_eq!(bucket.names().await, before);
    assert_eq!(notes.probes.lock().unwrap().len(), 1);
}
