//! Snapshots, clones, rollback, size and removal of disks in the object log.

use clap::{Args, Subcommand};

use super::{
    access::{Hold, Key},
    confirm::Confirm,
    object,
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
    /// s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: String,
    /// Its name
    name: String,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    hold: Hold,
    #[command(flatten)]
    output: Output,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct SnapshotList {
    /// s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: String,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    output: Output,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct SnapshotRemove {
    /// s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: String,
    /// Its name
    name: String,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    hold: Hold,
}

impl Snapshot {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(SnapshotCreate { uri, name, key, hold, output }) => {
                output.disk(&object::snapshot(&uri, &name, &key, &hold)?)
            }
            Self::List(SnapshotList { uri, key, output }) => output.rows(&object::snapshots(&uri, &key)?),
            Self::Rm(SnapshotRemove { uri, name, confirm, key, hold }) => {
                confirm.ask(&format!("the snapshot {name} of {uri} will be gone"))?;
                object::remove_snapshot(&uri, &name, &key, &hold)
            }
        }
    }
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Clone {
    /// The disk that has the snapshot
    uri: String,
    /// The snapshot
    snapshot: String,
    /// The new disk; in the same place as the first, for it shares its objects
    target: String,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    output: Output,
}

impl Clone {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.output.disk(&object::clone(&self.uri, &self.snapshot, &self.target, &self.key)?)
    }
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Rollback {
    /// s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: String,
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

impl Rollback {
    pub(super) fn run(self) -> Result<(), Failure> {
        let loss = format!("what was written to {} since the snapshot {} will be gone", self.uri, self.snapshot);
        self.confirm.ask(&loss)?;
        self.output.disk(&object::rollback(&self.uri, &self.snapshot, &self.key, &self.hold)?)
    }
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Resize {
    /// s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: String,
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
        self.output.disk(&object::resize(&self.uri, self.size, self.shrink, &self.key, &self.hold)?)
    }
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Remove {
    /// s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: String,
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
        self.confirm.ask(&format!("the disk {} and its snapshots will be gone", self.uri))?;
        self.output.disk(&object::remove(&self.uri, &self.key, &self.hold)?)
    }
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Diff {
    /// s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: String,
    /// The snapshot to compare with
    from: String,
    /// A later snapshot; the disk itself if it is not given
    to: Option<String>,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    output: Output,
}

impl Diff {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.output.rows(&object::diff(&self.uri, &self.from, self.to.as_deref(), &self.key)?)
    }
}
