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
