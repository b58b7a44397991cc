//! Names, listings, and prefixes that hold something else.

use nbdgate_api::Kind;
use nbdgate_s3::{CreateOptions, DiskState, Location};
use object_store::{ObjectStoreExt, path::Path};

use crate::setup::{at, create, fresh, memory, open};

#[tokio::test]
async fn a_disk_is_listed_and_described() {
    let store = memory();
    for name in ["b", "a"] {
        create(&Location::in_store(store.clone(), "root", name), 1 << 30).await;
    }
    let listed = nbdgate_s3::list(at(&store).root()).await.unwrap();
    let shown: Vec<_> = listed.iter().map(|disk| (disk.name.as_str(), disk.size, disk.state.clone())).collect();
    assert_eq!(shown, [("a", 1 << 30, DiskState::Closed), ("b", 1 << 30, DiskState::Closed)]);
    let info = nbdgate_s3::info(&Location::in_store(store, "root", "a")).await.unwrap();
    assert_eq!(info, listed[0]);
}

#[tokio::test]
async fn a_name_is_given_once() {
    let store = memory();
    create(&at(&store), 1 << 30).await;
    let options = CreateOptions { size: 1 << 20, ..CreateOptions::default() };
    let error = nbdgate_s3::create(&at(&store), &options).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.chain().contains("already"), "{}", error.chain());
}

#[tokio::test]
async fn impossible_sizes_are_refused() {
    let store = memory();
    for size in [0, 1, 4097, u64::MAX, (256 << 40) + 4096] {
        let options = CreateOptions { size, ..CreateOptions::default() };
        assert_eq!(nbdgate_s3::create(&at(&store), &options).await.unwrap_err().kind(), Kind::Invalid);
    }
}

#[tokio::test]
async fn a_missing_disk_and_a_foreign_prefix_say_what_to_do() {
    let store = memory();
    let error = open(&at(&store)).await.unwrap_err();
    assert!(error.chain().contains("nbdgate disk create"), "{}", error.chain());
    store.put(&Path::from("root/photos/cat.jpg"), "meow".into()).await.unwrap();
    let error = open(&at(&store)).await.unwrap_err();
    assert!(error.chain().contains("photos/cat.jpg"), "{}", error.chain());
    store.put(&Path::from("root/volumes/disk"), "not a uuid".into()).await.unwrap();
    let error = open(&at(&store)).await.unwrap_err();
    assert!(error.chain().contains("volumes/disk does not belong to a disk"), "{}", error.chain());
    let uuid = "01b2dd8c-d5a3-409d-8355-4f9cb0fd172c\n";
    store.put(&Path::from("root/volumes/disk"), uuid.into()).await.unwrap();
    let error = open(&at(&store)).await.unwrap_err();
    assert!(error.chain().contains("desc is missing"), "{}", error.chain());
}

#[tokio::test]
async fn a_disk_of_a_later_format_is_left_alone() {
    let (store, disk) = fresh(1 << 20).await;
    disk.shutdown().await.unwrap();
    let info = nbdgate_s3::info(&at(&store)).await.unwrap();
    let path = Path::from(format!("root/v/{}/desc", info.id));
    let mut bytes = store.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
    bytes[5] = 9;
    let crc = crc32c::crc32c(&bytes[..60]).to_le_bytes();
    bytes[60..64].copy_from_slice(&crc);
    store.put(&path, bytes.into()).await.unwrap();
    let error = open(&at(&store)).await.unwrap_err();
    assert!(error.chain().contains("format version 9"), "{}", error.chain());
    let listed = nbdgate_s3::list(at(&store).root()).await.unwrap();
    assert!(matches!(&listed[0].state, DiskState::Damaged(text) if text.contains("format version 9")));
}

#[tokio::test]
async fn a_missing_bucket_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let location: Location = format!("dir:{}/none/disk", directory.path().display()).parse().unwrap();
    let error = open(&location).await.unwrap_err();
    assert!(error.chain().contains("none"), "{}", error.chain());
    std::fs::write(directory.path().join("file"), "x").unwrap();
    let location: Location = format!("dir:{}/file/disk", directory.path().display()).parse().unwrap();
    let error = open(&location).await.unwrap_err();
    assert!(error.chain().contains("is not a directory"), "{}", error.chain());
}
