//! Images in and out.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::atomic::Ordering::Relaxed,
};

use nbdgate_api::Backend;
use nbdgate_rocksdb::{
    CreateOptions, NoProgress, Progress,
    admin::snapshot,
    transfer::{Target, export, import},
};

use super::{MIB, Place, info, names_with, noise, open, read, removal::Counted, write};

/// An image of 16 MiB and a bit, with data in some places; its bytes.
fn image(path: &Path) -> Vec<u8> {
    let file = File::create(path).unwrap();
    let mut model = vec![0; (16 << 20) + 777];
    file.set_len(model.len() as u64).unwrap();
    for (seed, (offset, length)) in (40..).zip([(0, 5000), (3 << 20, 2 << 20), (9 << 20, 4096), ((16 << 20) - 1, 778)])
    {
        let bytes = noise(seed, length);
        let start = usize::try_from(offset).unwrap();
        file.write_all_at(&bytes, offset).unwrap();
        model[start..start + bytes.len()].copy_from_slice(&bytes);
    }
    model
}

fn plain() -> CreateOptions {
    CreateOptions::default()
}

#[test]
fn an_image_goes_in_and_out_byte_for_byte_with_its_holes() {
    let place = Place::new();
    let (path, source, out) = (place.path("vm"), place.path("in.raw"), place.path("out.raw"));
    let model = image(&source);
    let progress = Counted::default();
    let imported = import(&source, &path, &plain(), &progress).unwrap();
    assert_eq!(imported.size, model.len() as u64);
    assert!((2 * MIB..3 * MIB).contains(&imported.data), "{imported:?}");
    assert_eq!((progress.total.load(Relaxed), progress.done.load(Relaxed)), (imported.size, imported.size));
    assert!(read(&path) == model);
    assert!(info(&path).allocated < 3 * MIB);
    let progress = Counted::default();
    let exported = export(&path, None, &out, &progress).unwrap();
    assert!(fs::read(&out).unwrap() == model);
    assert!(fs::metadata(&out).unwrap().blocks() * 512 < 3 * MIB, "holes are holes");
    assert_eq!((exported.size, exported.data), (imported.size, imported.data));
    assert_eq!(progress.done.load(Relaxed), imported.size);
    assert_eq!(place.names(), ["in.raw", "out.raw", "vm"]);
}

#[test]
fn a_disk_that_is_there_takes_an_image_if_it_is_empty_and_large_enough() {
    let place = Place::new();
    let source = place.path("in.raw");
    let model = image(&source);
    let (large, small) = (place.disk("large", 32 * MIB), place.disk("small", MIB));
    let uuid = info(&large).uuid;
    assert_eq!(import(&source, &large, &plain(), &NoProgress).unwrap().size, 32 * MIB);
    assert!(read(&large)[..model.len()] == model && info(&large).uuid == uuid);
    let refused = import(&source, &small, &plain(), &NoProgress).unwrap_err().to_string();
    assert!(refused.contains("1048576 bytes"), "{refused}");
    let refused = import(&source, &large, &plain(), &NoProgress).unwrap_err().to_string();
    assert!(refused.contains("not empty"), "{refused}");
    assert!(read(&large)[..model.len()] == model);
    let used = place.disk("used", 32 * MIB);
    let disk = open(&used);
    assert!(import(&source, &used, &plain(), &NoProgress).unwrap_err().to_string().contains("in use"));
    disk.close().unwrap();
}

#[test]
fn a_new_disk_is_as_large_as_asked_for() {
    let place = Place::new();
    let source = place.path("in.raw");
    image(&source);
    let create = CreateOptions { size: 64 * MIB, extent: 4096, ..plain() };
    assert_eq!(import(&source, &place.path("vm"), &create, &NoProgress).unwrap().size, 64 * MIB);
    assert_eq!(info(&place.path("vm")).extent, 4096);
}

/// Cuts the image short as soon as something was read of it.
#[derive(Debug)]
struct Cut(PathBuf);

impl Progress for Cut {
    fn advance(&self, _bytes: u64) {
        File::options().write(true).open(&self.0).unwrap().set_len(4096).unwrap();
    }
}

#[test]
fn an_import_that_fails_leaves_no_disk_and_an_empty_one_empty() {
    let place = Place::new();
    let source = place.path("in.raw");
    image(&source);
    let failed = import(&source, &place.path("vm"), &plain(), &Cut(source.clone())).unwrap_err().to_string();
    assert!(failed.contains("in.raw"), "{failed}");
    assert_eq!(place.names(), ["in.raw"]);
    image(&source);
    let path = place.disk("vm", 32 * MIB);
    assert!(import(&source, &path, &plain(), &Cut(source.clone())).is_err());
    assert_eq!(info(&path).allocated, 0);
    image(&source);
    import(&source, &path, &plain(), &NoProgress).unwrap();
    assert!(import(&place.path("missing.raw"), &place.path("new"), &plain(), &NoProgress).is_err());
    assert!(!place.path("new").exists());
}

#[test]
fn a_prepared_disk_is_there_when_it_is_committed_and_not_before() {
    let place = Place::new();
    let path = place.path("vm");
    let target = Target::prepare(&path, &CreateOptions { size: MIB, ..plain() }).unwrap();
    write(target.path(), 0, &noise(50, MIB));
    assert!(!path.exists());
    drop(target);
    assert!(place.names().is_empty(), "what is not committed goes");
    let target = Target::prepare(&path, &CreateOptions { size: MIB, ..plain() }).unwrap();
    write(target.path(), 0, &noise(50, MIB));
    target.commit().unwrap();
    assert!(read(&path) == noise(50, MIB));
    assert_eq!(place.names(), ["vm"]);
}

#[test]
fn a_snapshot_is_exported_while_its_disk_is_served_and_the_disk_is_not() {
    let place = Place::new();
    let path = place.disk("vm", 2 * MIB);
    write(&path, 0, &noise(51, MIB));
    snapshot(&path, "monday").unwrap();
    write(&path, 0, &noise(52, MIB));
    let disk = open(&path);
    let out = place.path("out.raw");
    export(&path, Some("monday"), &out, &NoProgress).unwrap();
    assert!(fs::read(&out).unwrap()[..1 << 20] == noise(51, MIB));
    assert!(export(&path, None, &place.path("now.raw"), &NoProgress).is_err());
    let missing = export(&path, Some("sunday"), &place.path("now.raw"), &NoProgress).unwrap_err().to_string();
    assert!(missing.contains("it has monday"), "{missing}");
    disk.close().unwrap();
    assert_eq!(place.names(), ["out.raw", "vm"]);
}

#[test]
fn damaged_data_makes_no_image() {
    let place = Place::new();
    let path = place.disk("vm", 2 * MIB);
    write(&path, 0, &noise(53, 2 * MIB));
    for blob in names_with(&path.join("db"), "blob") {
        let file = File::options().read(true).write(true).open(path.join("db").join(blob)).unwrap();
        let middle = file.metadata().unwrap().len() / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, middle).unwrap();
        file.write_all_at(&[!byte[0]], middle).unwrap();
    }
    assert!(export(&path, None, &place.path("out.raw"), &NoProgress).is_err());
    assert_eq!(place.names(), ["vm"]);
}
