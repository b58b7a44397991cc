use super::*;

fn make(uri: &str, size: u64) -> Result<Report, Failure> {
    create(uri, Size::from_bytes(size), &CreateObject::default())
}

#[test]
fn a_disk_in_a_directory_is_created_told_and_listed() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let root = format!("dir:{}", folder.path().display());
    let uri = format!("{root}/vm1");
    let created = make(&uri, 10 << 30).expect("created");
    let told = info(&uri, &Key::default()).expect("it is there").table();
    for line in created.table().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(told.lines().any(|told| told.split_whitespace().eq(words.iter().copied())), "{line} is not in {told}");
    }
    assert!(told.contains("garbage") && told.contains("each character is"), "what it takes is told, too: {told}");
    assert!(created.table().contains("10G (10737418240 bytes)"), "{}", created.table());
    let listed = list(&root).expect("the directory is a bucket");
    assert_eq!(listed.iter().map(Report::table).collect::<Vec<_>>(), [created.table()]);
}

#[test]
fn a_disk_is_created_once_and_a_missing_one_is_named() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let uri = format!("dir:{}/vm1", folder.path().display());
    let missing = info(&uri, &Key::default()).expect_err("nothing there").to_string();
    assert!(missing.contains("vm1"), "{missing}");
    make(&uri, 1 << 20).expect("created");
    assert!(make(&uri, 1 << 20).is_err(), "the name is taken");
}

#[test]
fn a_wrong_location_is_wrong_usage() {
    for wrong in ["dir:relative/disk", "s3://user:key@bucket/disk", "s3://bucket"] {
        assert!(matches!(info(wrong, &Key::default()), Err(Failure::Usage(_))), "{wrong}");
    }
}

fn root() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let root = format!("dir:{}", folder.path().display());
    (folder, root)
}

#[test]
fn a_disk_goes_in_and_out_through_snapshot_and_clone() {
    let (folder, root) = root();
    let (key, hold) = (Key::default(), Hold::default());
    let image = folder.path().join("in.raw");
    let mut bytes = vec![0_u8; 3 << 20];
    bytes[5000..9000].fill(7);
    std::fs::write(&image, &bytes).expect("an image");
    let (disk, copy) = (format!("{root}/bucket/vm1"), format!("{root}/bucket/vm2"));
    import(&image, &disk, None, &key, &hold).expect("imported");
    snapshot(&disk, "monday", &key, &hold).expect("taken");
    assert!(snapshot(&disk, "monday", &key, &hold).is_err(), "the name is taken");
    clone(&disk, "monday", &copy, &key).expect("cloned");
    let out = folder.path().join("out.raw");
    export(&copy, None, &out, &key).expect("exported");
    assert!(std::fs::read(&out).expect("an image") == bytes, "byte for byte");
    assert!(export(&copy, None, &out, &key).is_err(), "an image that exists is not touched");
    assert!(std::fs::read(&out).expect("an image") == bytes);
    assert!(diff(&disk, "monday", None, &key).expect("compared").is_empty(), "nothing was written since");
    assert_eq!(snapshots(&disk, &key).expect("listed").len(), 1);
    assert!(remove_snapshot(&disk, "monday", &key, &hold).is_err(), "it has a clone");
    remove(&copy, &key, &hold).expect("removed");
    remove_snapshot(&disk, "monday", &key, &hold).expect("nobody holds on to it");
    let (report, sound) = fsck(&disk, true, &key).expect("checked");
    assert!(sound.is_ok(), "{}", report.table());
}

#[test]
fn sizes_change_and_what_would_be_lost_is_asked_for_by_name() {
    let (_folder, root) = root();
    let (disk, key, hold) = (format!("{root}/vm1"), Key::default(), Hold::default());
    make(&disk, 8 << 20).expect("created");
    resize(&disk, Size::from_bytes(16 << 20), false, &key, &hold).expect("grown");
    assert!(resize(&disk, Size::from_bytes(8 << 20), false, &key, &hold).is_err(), "smaller only with --shrink");
    let told = resize(&disk, Size::from_bytes(8 << 20), true, &key, &hold).expect("shrunk");
    assert!(told.table().contains("8M (8388608 bytes)"), "{}", told.table());
    let probed = probe(&disk, &key).expect("probed").table();
    assert!(probed.contains("safe"), "{probed}");
    gc(&disk, &key, &hold).expect("collected");
    let (_, sound) = scrub(&disk, None, &key).expect("scrubbed");
    assert!(sound.is_ok());
    assert!(rollback(&disk, "none", &key, &hold).is_err(), "there is no such snapshot");
}
