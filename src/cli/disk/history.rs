//! Snapshots, clones, rollback, size and removal of disks.

use clap::{Args, Subcommand};

#[cfg(feature = "object-log")]
use super::object;
#[cfg(feature = "rocksdb")]
use super::rocksdb;
use super::{
    access::{Hold, Key},
    confirm::Confirm,
    place::Place,
    report::Output,
};
use crate::{cli::Failure, config::Size};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Snapshot {
    /// Take a snapshot of a disk that no gateway serves
    Create(SnapshotCreate),
    /// List the snapshots of a disk, oldest first, with what each of them pins
    List(SnapshotList),
    /// Remove a snapshot; what only it needed is deleted
    Rm(SnapshotRemove),
}

#[derive(Args, Debug)]
pub(in crate::cli) struct SnapshotCreate {
    /// rocksdb:/path, s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: Place,
    /// Its name
    name: String,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    hold: Hold,
    #[command(flatten)]
    output: Output,
}

impl SnapshotCreate {
    fn run(self) -> Result<(), Failure> {
        let Self { uri, name, key, hold, output } = self;
        uri.check_object_flags(key.given().into_iter().chain(hold.given()))?;
        match uri {
            #[cfg(feature = "object-log")]
            Place::Object(url) => output.disk(&object::snapshot(&url, &name, &key, &hold)?),
            #[cfg(feature = "rocksdb")]
            Place::RocksDb(path) => output.disk(&rocksdb::snapshot(&path, &name)?),
            other => Err(other.refused("snapshot create")),
        }
    }
}

#[derive(Args, Debug)]
pub(in crate::cli) struct SnapshotList {
    /// rocksdb:/path, s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: Place,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    output: Output,
}

impl SnapshotList {
    fn run(self) -> Result<(), Failure> {
        let Self { uri, key, output } = self;
        uri.check_object_flags(key.given())?;
        match uri {
            #[cfg(feature = "object-log")]
            Place::Object(url) => output.rows(&object::snapshots(&url, &key)?),
            #[cfg(feature = "rocksdb")]
            Place::RocksDb(path) => output.rows(&rocksdb::snapshots(&path)?),
            other => Err(other.refused("snapshot list")),
        }
    }
}

#[derive(Args, Debug)]
pub(in crate::cli) struct SnapshotRemove {
    /// rocksdb:/path, s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: Place,
    /// Its name
    name: String,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    hold: Hold,
}

impl SnapshotRemove {
    fn run(self) -> Result<(), Failure> {
        let Self { uri, name, confirm, key, hold } = self;
        uri.check_object_flags(key.given().into_iter().chain(hold.given()))?;
        uri.check_verb("snapshot rm")?;
        confirm.ask(&format!("the snapshot {name} of {uri} will be gone"))?;
        match uri {
            #[cfg(feature = "object-log")]
            Place::Object(url) => object::remove_snapshot(&url, &name, &key, &hold),
            #[cfg(feature = "rocksdb")]
            Place::RocksDb(path) => rocksdb::remove_snapshot(&path, &name),
            other => Err(other.refused("snapshot rm")),
        }
    }
}

impl Snapshot {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(),
            Self::List(list) => list.run(),
            Self::Rm(remove) => remove.run(),
        }
    }
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Clone {
    /// The disk that has the snapshot
    uri: Place,
    /// The snapshot
    snapshot: String,
    /// The new disk; in the same bucket as the first, whose data it shares, or best on the same file system
    target: Place,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    output: Output,
}

impl Clone {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { uri, snapshot, target, key, output } = self;
        uri.check_object_flags(key.given())?;
        match (uri, target) {
            #[cfg(feature = "object-log")]
            (Place::Object(url), Place::Object(target)) => output.disk(&object::clone(&url, &snapshot, &target, &key)?),
            #[cfg(feature = "rocksdb")]
            (Place::RocksDb(path), Place::RocksDb(target)) => output.disk(&rocksdb::clone(&path, &snapshot, &target)?),
            (uri, target) if uri.is_like(&target) => Err(uri.refused("clone")),
            (uri, target) => Err(super::place::usage(format!(
                "a clone shares the data of its disk, and {target} is in another storage than {uri}"
            ))),
        }
    }
}

#[cfg(feature = "object-log")]
#[derive(Args, Debug)]
pub(in crate::cli) struct Rollback {
    /// s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: Place,
    /// The snapshot to go back to; it stays
    snapshot: String,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    hold: Hold,
    #[command(flatten)]
    output: Output,
}

#[cfg(feature = "object-log")]
impl Rollback {
    pub(super) fn run(self) -> Result<(), Failure> {
        let url = self.uri.in_object_log("rollback", "of a RocksDB disk, clone the snapshot and serve the clone")?;
        let loss = format!("what was written to {url} since the snapshot {} will be gone", self.snapshot);
        self.confirm.ask(&loss)?;
        self.output.disk(&object::rollback(url, &self.snapshot, &self.key, &self.hold)?)
    }
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Resize {
    /// rocksdb:/path, s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: Place,
    /// The new size, as in 20G
    size: Size,
    /// Make it smaller; what lies beyond the new end is gone
    #[arg(long)]
    shrink: bool,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    hold: Hold,
    #[command(flatten)]
    output: Output,
}

impl Resize {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { uri, size, shrink, key, hold, output } = self;
        uri.check_object_flags(key.given().into_iter().chain(hold.given()))?;
        match uri {
            #[cfg(feature = "object-log")]
            Place::Object(url) => output.disk(&object::resize(&url, size, shrink, &key, &hold)?),
            #[cfg(feature = "rocksdb")]
            Place::RocksDb(path) => output.disk(&rocksdb::resize(&path, size, shrink)?),
            other => Err(other.refused("resize")),
        }
    }
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Remove {
    /// rocksdb:/path, s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: Place,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    hold: Hold,
    #[command(flatten)]
    output: Output,
}

impl Remove {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { uri, confirm, key, hold, output } = self;
        uri.check_object_flags(key.given().into_iter().chain(hold.given()))?;
        uri.check_verb("rm")?;
        confirm.ask(&format!("the disk {uri} and its snapshots will be gone"))?;
        match uri {
            #[cfg(feature = "object-log")]
            Place::Object(url) => output.disk(&object::remove(&url, &key, &hold)?),
            #[cfg(feature = "rocksdb")]
            Place::RocksDb(path) => output.disk(&rocksdb::remove(&path)?),
            other => Err(other.refused("rm")),
        }
    }
}

#[cfg(feature = "object-log")]
#[derive(Args, Debug)]
pub(in crate::cli) struct Diff {
    /// s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: Place,
    /// The snapshot to compare with
    from: String,
    /// A later snapshot; the disk itself if it is not given
    to: Option<String>,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    output: Output,
}

#[cfg(feature = "object-log")]
impl Diff {
    pub(super) fn run(self) -> Result<(), Failure> {
        let url = self.uri.in_object_log("diff", "a RocksDB disk keeps no record of what changed since a snapshot")?;
        self.output.rows(&object::diff(url, &self.from, self.to.as_deref(), &self.key)?)
    }
}
