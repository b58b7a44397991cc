use std::time::Duration;

use object_store::memory::InMemory;
use uuid::Uuid;

use super::*;
use crate::{
    Location, NoObserver, Tuning,
    format::{
        Epoch, Nonce, Writer,
        manifest::{Options, Owner},
    },
};

const VOLUME: VolumeId = VolumeId(Uuid::from_u128(5));

fn patience() -> Patience {
    Patience::asking(Duration::from_secs(5))
}

fn manifest(state: State, epoch: u32) -> Manifest {
    let writer = Writer { epoch: Epoch(epoch), nonce: Nonce(u64::from(epoch)) };
    Manifest {
        prev: [0; 32],
        state,
        owner: Owner { writer, host: format!("host-{epoch}"), journal: None, journal_dirty: false },
        blocks: 16,
        root: None,
        sealed: Vec::new(),
        open: None,
        window: 8,
        snapshots: Vec::new(),
        lineage: Vec::new(),
        keys: Vec::new(),
        options: Options::default(),
        log_root: None,
        copied: Vec::new(),
    }
}

async fn founded() -> Chain {
    let location = Location::in_store(Arc::new(InMemory::new()), "root", "disk");
    let store = Store::of(&location, &Tuning::default(), Arc::new(NoObserver)).expect("a store");
    found(&store, VOLUME, &manifest(State::Closed, 0), patience()).await.expect("founded");
    Chain::newest(&store, VOLUME, patience()).await.expect("a chain")
}

fn unavailable() -> StoreError {
    StoreError::Unavailable { key: "m".to_owned(), why: "no answer".to_owned() }
}

#[tokio::test]
async fn behind_a_manifest_of_unclear_outcome_that_stands_the_next_is_published() {
    let mut chain = founded().await;
    let mut doubtful = chain.clone();
    let first = manifest(State::Open, 1);
    chain.publish(first.clone(), patience()).await.expect("published");
    // What `doubtful` has, had its list failed for good.
    let standing = chain.manifest.encode(VOLUME, chain.no(), None);
    drop(doubtful.failed(standing, first, unavailable()));
    let second = Manifest { blocks: 32, ..manifest(State::Open, 1) };
    doubtful.publish(second, patience()).await.expect("nobody else came");
    assert_eq!(doubtful.no(), ManifestNo(3));
    let newest = Chain::newest(&doubtful.store, VOLUME, patience()).await.expect("a chain");
    assert_eq!((newest.no(), newest.manifest.blocks), (ManifestNo(3), 32));
}

#[tokio::test]
async fn a_manifest_of_unclear_outcome_that_does_not_stand_is_forgotten() {
    let mut chain = founded().await;
    let lost = manifest(State::Open, 1);
    drop(chain.failed(lost.encode(VOLUME, ManifestNo(2), None), lost, unavailable()));
    chain.publish(Manifest { blocks: 32, ..manifest(State::Open, 1) }, patience()).await.expect("published");
    assert_eq!(chain.no(), ManifestNo(2));
    assert!(chain.unclear.is_empty());
}

#[tokio::test]
async fn somebody_elses_manifest_is_a_loss_whatever_is_unclear() {
    let mut chain = founded().await;
    let mut other = chain.clone();
    other.publish(manifest(State::Claim, 9), patience()).await.expect("published");
    let lost = manifest(State::Open, 1);
    drop(chain.failed(lost.encode(VOLUME, ManifestNo(2), None), lost.clone(), unavailable()));
    let error = chain.publish(lost, patience()).await.expect_err("host-9 has it").into_error("publishing");
    assert!(error.chain().contains("host-9"), "{}", error.chain());
}

#[tokio::test]
async fn only_a_closed_disk_may_be_claimed_behind_ones_back() {
    for (state, fine) in [(State::Closed, true), (State::Open, false)] {
        let mut chain = founded().await;
        let mut ours = chain.clone();
        // Ours stands, and the successor's behind it, before we look.
        ours.publish(manifest(state, 1), patience()).await.expect("published");
        ours.publish(manifest(State::Claim, 2), patience()).await.expect("claimed");
        let published = chain.publish(manifest(state, 1), patience()).await;
        assert_eq!(published.is_ok(), fine, "{state:?}: {published:?}");
    }
}

#[tokio::test]
async fn a_closed_manifest_that_others_passed_by_is_no_hand_over() {
    let mut chain = founded().await;
    let mut ours = chain.clone();
    let mut theirs = manifest(State::Claim, 2);
    theirs.prev = [7; 32];
    ours.publish(manifest(State::Closed, 1), patience()).await.expect("published");
    let key = ObjectName::Manifest(ManifestNo(3)).key("", VOLUME);
    let object = theirs.encode(VOLUME, ManifestNo(3), None);
    chain.store.place(Cause::Manifest, &key, &object.into(), patience()).await.expect("put");
    assert!(chain.publish(manifest(State::Closed, 1), patience()).await.is_err(), "it was not built on ours");
}
