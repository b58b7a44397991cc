//! Changing what opens an encrypted disk and what seals it, without writing its data again.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use nbdgate_api::Kind;
use nbdgate_s3::{OpenOptions, admin};

use crate::{
    ask::{flush, write},
    encryption::World,
    sealed_objects::seal_of,
    setup::{BLOCK, Key, noise, options},
};

/// The data keys that objects whose name has `part` are sealed with.
async fn key_ids(world: &World, part: &str) -> BTreeSet<u32> {
    let objects = world.bucket.objects().await;
    let seals = objects.iter().filter(|(name, _)| name.contains(part)).filter_map(|(_, bytes)| seal_of(bytes));
    seals.map(|seal| u32::from_le_bytes(seal[..4].try_into().unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_rekeyed_disk_opens_with_the_new_key_only_and_costs_one_object() {
    let (world, new) = (World::new().await, Key::new("the new key"));
    world.fill(world.options(), 0..3).await;
    let (before, puts) = (world.bucket.names().await, world.puts());
    admin::rekey(&world.location, &new.source(), &world.options()).await.unwrap();
    assert_eq!(world.puts() - puts, 1);
    let after = world.bucket.names().await;
    let added: Vec<&String> = after.iter().filter(|name| !before.contains(name)).collect();
    assert!(matches!(&added[..], [name] if name.contains("/m/")), "{added:?}");
    let error = world.refused(world.options()).await;
    assert_eq!(error.kind(), Kind::Permission, "{}", error.chain());
    let with_new = OpenOptions { key: Some(new.source()), ..world.options() };
    world.check(with_new.clone(), 0..3).await.unwrap();
    world.fill(with_new.clone(), 3..5).await;
    world.check(with_new, 0..5).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rotated_disk_seals_anew_and_reads_what_is_old() {
    let world = World::new().await;
    world.fill(world.options(), 0..3).await;
    assert_eq!(key_ids(&world, "/l/").await, BTreeSet::from([1]));
    assert_eq!(admin::rotate(&world.location, &world.options()).await.unwrap(), 2);
    world.fill(world.options(), 3..6).await;
    assert_eq!(key_ids(&world, "/l/").await, BTreeSet::from([1, 2]), "old segments stay, new ones have the new key");
    assert_eq!(admin::rotate(&world.location, &world.options()).await.unwrap(), 3);
    world.fill(world.options(), 6..8).await;
    world.check(world.options(), 0..8).await.unwrap();
    // And the keys survive another wrapping.
    let new = Key::new("the new key");
    admin::rekey(&world.location, &new.source(), &world.options()).await.unwrap();
    world.check(OpenOptions { key: Some(new.source()), ..world.options() }, 0..8).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_a_closed_encrypted_disk_with_its_key_is_rekeyed() {
    let (world, new) = (World::new().await, Key::new("the new key"));
    let (wrong, puts) = (OpenOptions { key: Some(new.source()), ..world.options() }, world.puts());
    assert!(admin::rekey(&world.location, &new.source(), &wrong).await.is_err());
    assert!(admin::rotate(&world.location, &wrong).await.is_err());
    assert!(admin::rotate(&world.location, &options()).await.is_err());
    assert_eq!(world.puts(), puts);
    let disk = nbdgate_s3::open(&world.location, world.options()).await.unwrap();
    let puts = world.puts();
    let error = admin::rotate(&world.location, &world.options()).await.unwrap_err();
    assert!(error.chain().contains("is open on host-a"), "{}", error.chain());
    assert!(admin::rekey(&world.location, &new.source(), &world.options()).await.is_err());
    assert_eq!(world.client.counts.puts.load(Ordering::Relaxed), puts);
    write(&disk, 0, noise(0, 8 * BLOCK)).await.unwrap();
    flush(&disk).await.unwrap();
    disk.shutdown().await.unwrap();
    world.check(world.options(), 0..1).await.unwrap();
}
