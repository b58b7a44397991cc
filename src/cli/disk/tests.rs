use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    disk: Disk,
}

/// Runs a command that is to be wrong usage; what it says.
fn refused(command: &str) -> String {
    let words = ["nbdgate"].into_iter().chain(command.split_whitespace());
    match Cli::try_parse_from(words).map(|cli| cli.disk.run()) {
        Err(error) => error.to_string(),
        Ok(Err(Failure::Usage(error))) => format!("{error:#}"),
        Ok(other) => panic!("{command}: {other:?}"),
    }
}

#[test]
fn flags_are_refused_where_they_mean_nothing() {
    for (command, reason) in [
        ("create file:/x.img --size 1G --extent 4K", "--extent is for disks in RocksDB"),
        ("create s3://bucket/disk --size 1G --compression zstd", "--compression is for disks in RocksDB"),
        ("create rocksdb:/srv/vm --size 1G --flush none", "--flush is for disks in the object log"),
        ("create rocksdb:/srv/vm --size 1G --key-file /k", "--key-file is for disks in the object log"),
        ("create rocksdb:/srv/vm --size 1G --compression best", "none, lz4, zstd"),
        ("info rocksdb:/srv/vm --key-command x", "--key-command is for disks in the object log"),
        ("resize rocksdb:/srv/vm 2G --steal", "--steal is for disks in the object log"),
        ("rm rocksdb:/srv/vm --yes --fencing require", "--fencing is for disks in the object log"),
        ("snapshot create rocksdb:/srv/vm a --journal /j", "--journal is for disks in the object log"),
        ("snapshot list rocksdb:/srv/vm --passphrase-file /p", "--passphrase-file is for disks in the object log"),
        ("snapshot rm rocksdb:/srv/vm a --abandon-journal", "--abandon-journal is for disks in the object log"),
        ("clone rocksdb:/srv/vm a rocksdb:/srv/copy --key-file /k", "--key-file is for disks in the object log"),
        ("import x.raw rocksdb:/srv/vm --on-unclean serve", "--on-unclean is for disks in the object log"),
        ("export rocksdb:/srv/vm x.raw --key-file /k", "--key-file is for disks in the object log"),
    ] {
        if cfg!(any(feature = "object-log", feature = "rocksdb")) {
            let told = refused(command);
            assert!(told.contains(reason), "{command}: {told}");
        }
    }
}

/// Runs a command to its end.
fn run(command: &str) -> Result<(), String> {
    let words = ["nbdgate"].into_iter().chain(command.split_whitespace());
    let cli = Cli::try_parse_from(words).expect("right usage");
    cli.disk.run().map_err(|failure| failure.to_string())
}

#[test]
fn a_disk_that_is_there_is_left_alone_if_asked_for_and_never_taken_for_another() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let at = |scheme: &str, name: &str| format!("{scheme}:{}", folder.path().join(name).display());
    let mut places = vec![at("file", "vm.img")];
    if cfg!(feature = "object-log") {
        places.push(at("dir", "bucket/vm"));
    }
    if cfg!(feature = "rocksdb") {
        places.push(at("rocksdb", "vm"));
    }
    for place in places {
        run(&format!("create {place} --size 8M --if-missing")).expect("created");
        run(&format!("create {place} --size 8M --if-missing")).expect("left alone");
        let taken = run(&format!("create {place} --size 8M")).expect_err("it is there");
        assert!(!taken.contains("8388608"), "{taken}");
        let other = run(&format!("create {place} --size 9M --if-missing")).expect_err("of another size");
        assert!(other.contains("its size is 8388608 bytes, not 9437184 bytes"), "{other}");
    }
}

#[test]
#[cfg(feature = "object-log")]
fn a_disk_in_the_object_log_that_is_not_as_asked_for_is_no_such_disk() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| folder.path().join(name).display().to_string();
    for (file, byte) in [("key", 7), ("other", 9)] {
        std::fs::write(at(file), [byte; 32]).expect("a key");
    }
    let (clear, sealed) = (format!("dir:{}", at("bucket/clear")), format!("dir:{}", at("bucket/sealed")));
    let (key, other) = (format!("--key-file {}", at("key")), format!("--key-file {}", at("other")));
    run(&format!("create {clear} --size 8M --flush journal")).expect("created");
    run(&format!("create {sealed} --size 8M --flush none {key}")).expect("created");
    let again = |disk: &str, flags: &str| run(&format!("create {disk} --size 8M --if-missing {flags}"));
    again(&clear, "--flush journal").expect("as asked for");
    again(&sealed, "").expect("nothing else was asked for");
    again(&sealed, &format!("--flush none {key}")).expect("as asked for");
    let asked = [
        (&clear, key.clone(), "is there already and is not encrypted"),
        (&clear, "--flush object".to_owned(), "waits for the journal, not for the bucket"),
        (&sealed, format!("--flush journal {key}"), "waits for nothing, not for the journal"),
        (&sealed, "--flush none".to_owned(), "what only its key tells"),
        (&sealed, other, "sealed"),
    ];
    for (disk, flags, reason) in asked {
        let refused = again(disk, &flags).expect_err(reason);
        assert!(refused.contains(reason), "{flags}: {refused}");
    }
}

#[test]
#[cfg(feature = "object-log")]
fn a_damaged_disk_is_not_taken_for_the_one_asked_for() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let disk = format!("dir:{}", folder.path().join("bucket/vm").display());
    run(&format!("create {disk} --size 8M")).expect("created");
    std::fs::remove_dir_all(folder.path().join("bucket/v")).expect("its objects");
    let refused = run(&format!("create {disk} --size 8M --if-missing")).expect_err("damaged");
    assert!(refused.contains("there is a disk"), "{refused}");
}

#[test]
#[cfg(feature = "rocksdb")]
fn a_disk_in_rocksdb_that_is_not_as_asked_for_is_no_such_disk() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let disk = format!("rocksdb:{}", folder.path().join("vm").display());
    run(&format!("create {disk} --size 8M --extent 4K --compression zstd")).expect("created");
    let again = |flags: &str| run(&format!("create {disk} --size 8M --if-missing {flags}"));
    again("").expect("nothing else was asked for");
    again("--extent 4K --compression zstd").expect("as asked for");
    let extent = again("--extent 16K").expect_err("of other extents");
    assert!(extent.contains("is there already and its extents have 4096 bytes, not 16384"), "{extent}");
    let compression = again("--compression lz4").expect_err("otherwise compressed");
    assert!(compression.contains("its compression is zstd, not lz4"), "{compression}");
    std::fs::write(folder.path().join("vm/db/CURRENT"), "nothing").expect("damaged");
    again("").expect_err("a damaged disk");
}

#[test]
fn a_verb_says_which_disks_it_is_for() {
    for (command, reason) in [
        ("list rocksdb:/srv", "ask for info of it"),
        ("info mem:1G", "until it is served"),
        ("info rocksdb:/srv/vm?size=1G", "what follows the ? is for exports"),
        ("info nbd:/srv/vm", "unknown scheme"),
    ] {
        let told = refused(command);
        assert!(told.contains(reason), "{command}: {told}");
    }
}

#[test]
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
fn a_file_has_no_snapshots_and_a_clone_no_other_storage() {
    for (command, reason) in [
        ("resize file:/x.img 2G", "resize is for disks in the object log and in RocksDB"),
        ("rm file:/x.img", "rm is for disks in the object log and in RocksDB"),
        ("snapshot create file:/x.img a", "snapshot create is for disks"),
        ("snapshot list file:/x.img", "snapshot list is for disks"),
        ("snapshot rm file:/x.img a", "snapshot rm is for disks"),
        ("clone file:/x.img a file:/y.img", "clone is for disks"),
        ("clone rocksdb:/srv/vm a dir:/srv/bucket/vm", "in another storage"),
        ("import /x.raw file:/x.img", "import is for disks"),
        ("export file:/x.img /nonexistent/x.raw", "export is for disks"),
    ] {
        let told = refused(command);
        assert!(told.contains(reason), "{command}: {told}");
    }
}

#[test]
#[cfg(feature = "object-log")]
fn what_only_the_object_log_can_do_says_so_of_a_disk_in_rocksdb() {
    for (command, instead) in [
        ("rollback rocksdb:/srv/vm a", "clone the snapshot"),
        ("diff rocksdb:/srv/vm a", "keeps no record"),
        ("scrub rocksdb:/srv/vm", "checks what it reads"),
        ("gc rocksdb:/srv/vm", "compacts by itself"),
        ("fsck rocksdb:/srv/vm", "checks what it reads"),
        ("rebuild rocksdb:/srv/vm --dry-run", "restored"),
        ("probe rocksdb:/srv/vm", "no store"),
        ("rekey rocksdb:/srv/vm --rotate", "not encrypted"),
    ] {
        let told = refused(command);
        assert!(told.contains("is for disks in the object log") && told.contains(instead), "{command}: {told}");
    }
}

#[test]
#[cfg(not(feature = "rocksdb"))]
fn a_build_without_rocksdb_says_so() {
    let mut commands = vec!["create rocksdb:/srv/vm --size 1G", "info rocksdb:/srv/vm"];
    if cfg!(feature = "object-log") {
        commands.extend([
            "resize rocksdb:/srv/vm 2G",
            "rm rocksdb:/srv/vm",
            "snapshot create rocksdb:/srv/vm a",
            "snapshot list rocksdb:/srv/vm",
            "snapshot rm rocksdb:/srv/vm a",
            "clone rocksdb:/srv/vm a rocksdb:/srv/copy",
            "import /x.raw rocksdb:/srv/vm",
            "export rocksdb:/srv/vm /nonexistent/x.raw",
        ]);
    }
    for command in commands {
        let told = refused(command);
        assert!(told.contains("built without RocksDB"), "{command}: {told}");
    }
}

#[test]
#[cfg(not(feature = "object-log"))]
fn a_build_without_the_object_log_says_so() {
    let mut commands = vec!["create dir:/srv/b/vm --size 1G", "info s3://bucket/disk", "list s3://bucket"];
    if cfg!(feature = "rocksdb") {
        commands.extend([
            "resize dir:/srv/b/vm 2G",
            "rm dir:/srv/b/vm",
            "snapshot create dir:/srv/b/vm a",
            "snapshot list dir:/srv/b/vm",
            "snapshot rm dir:/srv/b/vm a",
            "clone dir:/srv/b/vm a dir:/srv/b/copy",
            "import /x.raw dir:/srv/b/vm",
            "export dir:/srv/b/vm /nonexistent/x.raw",
        ]);
    }
    for command in commands {
        let told = refused(command);
        assert!(told.contains("built without the object log"), "{command}: {told}");
    }
}
