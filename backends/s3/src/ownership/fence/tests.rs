use std::{collections::BTreeSet, sync::Arc, time::Duration};

use object_store::memory::InMemory;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    Location, NoObserver, Tuning,
    format::{Epoch, Head, Nonce, Writer, prelude::Place},
};

const VOLUME: VolumeId = VolumeId(Uuid::from_u128(5));
const WINDOW: u32 = 2;

fn writer(epoch: u32) -> Writer {
    Writer { epoch: Epoch(epoch), nonce: Nonce(7) }
}

/// A store with segments in these slots of the log of epoch 1.
async fn store(slots: impl IntoIterator<Item = u64>) -> Arc<Store> {
    let location = Location::in_store(Arc::new(InMemory::new()), "root", "disk");
    let store = Store::of(&location, &Tuning::default(), Arc::new(NoObserver)).expect("a store");
    for slot in slots {
        let place = Place { volume: VOLUME, kind: Kind::Log, epoch: Epoch(1), number: slot };
        put(&store, slot, Head::encode(place, &[], 0).1).await;
    }
    store
}

async fn put(store: &Store, slot: u64, object: Bytes) {
    let key = ObjectName::Log { writer: writer(1), seq: Seq(slot) }.key("", VOLUME);
    let patience = Patience::asking(Duration::from_secs(1));
    store.place(Cause::Segment, &key, &object.into(), patience).await.expect("put");
}

fn old(store: &Store) -> OldLog<'_> {
    let log = OpenLog { writer: writer(1), first: Seq(1) };
    OldLog { store, volume: VOLUME, log, patience: Patience::asking(Duration::from_secs(10)) }
}

fn fence(epoch: u32) -> Fence {
    Fence { by: writer(epoch), host: "host".to_owned() }
}

/// Slots up to 200 that hold a fence.
async fn fences(store: &Store) -> Vec<u64> {
    let mut found = Vec::new();
    for slot in 1..=200 {
        if old(store).look(Seq(slot)).await.expect("a look") == Slot::Fence {
            found.push(slot);
        }
    }
    found
}

#[tokio::test]
async fn a_quiet_log_gets_one_fence_at_its_hole() {
    let store = store([1, 2, 3, 5]).await;
    assert_eq!(old(&store).close(&fence(2), WINDOW, Seq(4)).await.expect("closed"), Seq(4));
    assert_eq!(fences(&store).await, [4], "slot 5 is of a put that nobody was answered for");
}

#[tokio::test]
async fn a_writer_that_goes_on_is_stopped_by_a_far_fence() {
    let store = store(1..=6).await;
    assert_eq!(old(&store).close(&fence(2), WINDOW, Seq(4)).await.expect("closed"), Seq(7));
    assert_eq!(fences(&store).await, [7, 8], "the far one stands two windows behind the slot that was lost");
}

#[tokio::test]
async fn a_writer_that_passed_the_far_slot_is_stopped_further_on() {
    let store = store(1..=40).await;
    assert_eq!(old(&store).close(&fence(2), WINDOW, Seq(1)).await.expect("closed"), Seq(41));
    assert_eq!(*fences(&store).await.first().expect("a fence"), 41);
}

#[tokio::test]
async fn far_fences_of_dead_claimants_are_used_where_the_log_reaches_them_and_inert_before() {
    let store = store(1..=4).await;
    put(&store, 9, fence(2).encode(VOLUME, writer(1), Seq(9))).await;
    // The log did not get there: it ends at its hole.
    assert_eq!(old(&store).close(&fence(3), WINDOW, Seq(5)).await.expect("closed"), Seq(5));
    let store = self::store(1..=8).await;
    put(&store, 9, fence(2).encode(VOLUME, writer(1), Seq(9))).await;
    // The zombie filled everything up to it.
    assert_eq!(old(&store).end(WINDOW).await.expect("an end"), Seq(9));
    assert_eq!(old(&store).close(&fence(3), WINDOW, Seq(9)).await.expect("closed"), Seq(9));
    assert_eq!(fences(&store).await, [9], "no second one");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Against the naive walk, for logs as writers leave them: a run, a hole, and strays within the window.
    #[test]
    fn the_search_finds_the_end_that_a_walk_finds(
        length in prop_oneof![0_u64..100, 0_u64..1200],
        window in 1_u32..9,
        strays in prop::collection::vec(any::<bool>(), 8),
        far in prop::option::of(10_u64..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let mut slots: BTreeSet<u64> = (1..=length).collect();
        let within = u64::from(window).saturating_sub(1);
        slots.extend((0..within).zip(&strays).filter(|(_, stray)| **stray).map(|(at, _)| length + 2 + at));
        let found = runtime.block_on(async {
            let store = store(slots).await;
            if let Some(far) = far {
                put(&store, length + far, fence(2).encode(VOLUME, writer(1), Seq(length + far))).await;
            }
            old(&store).end(window).await.expect("an end")
        });
        prop_assert_eq!(found, Seq(length + 1));
    }
}
