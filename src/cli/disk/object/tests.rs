use super::*;

#[test]
fn a_disk_in_a_directory_is_created_told_and_listed() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let root = format!("dir:{}", folder.path().display());
    let uri = format!("{root}/vm1");
    let created = create(&uri, Size::from_bytes(10 << 30)).expect("created");
    assert_eq!(info(&uri).expect("it is there").table(), created.table());
    assert!(created.table().contains("10G (10737418240 bytes)"), "{}", created.table());
    let listed = list(&root).expect("the directory is a bucket");
    assert_eq!(listed.iter().map(Report::table).collect::<Vec<_>>(), [created.table()]);
}

#[test]
fn a_disk_is_created_once_and_a_missing_one_is_named() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let uri = format!("dir:{}/vm1", folder.path().display());
    let missing = info(&uri).expect_err("nothing there").to_string();
    assert!(missing.contains("vm1"), "{missing}");
    create(&uri, Size::from_bytes(1 << 20)).expect("created");
    assert!(create(&uri, Size::from_bytes(1 << 20)).is_err(), "the name is taken");
}

#[test]
fn a_wrong_location_is_wrong_usage() {
    for wrong in ["dir:relative/disk", "s3://user:key@bucket/disk", "s3://bucket"] {
        assert!(matches!(info(wrong), Err(Failure::Usage(_))), "{wrong}");
    }
}

#[test]
fn times_are_told_in_utc() {
    assert_eq!(time(1_767_225_600_000), "2026-01-01T00:00:00Z");
    assert_eq!((time(0), time(u64::MAX)), (String::new(), String::new()));
}
