//! `nbdgate disk`: disks at rest, and everything that is done with them but serving.

#[cfg(feature = "object-log")]
mod access;
#[cfg(feature = "object-log")]
mod care;
#[cfg(feature = "object-log")]
mod confirm;
mod cost;
mod file;
#[cfg(feature = "object-log")]
mod history;
#[cfg(feature = "object-log")]
mod map;
#[cfg(feature = "object-log")]
mod object;
#[cfg(feature = "object-log")]
mod private;
#[cfg(feature = "object-log")]
mod progress;
mod report;
#[cfg(feature = "object-log")]
mod transfer;

use anyhow::Context;
use clap::{Args, Subcommand};

use self::report::Output;
use super::{Failure, log};
use crate::config::{ExportUri, Invalid, Size};
#[cfg(feature = "object-log")]
use {
    self::access::Key,
    crate::config::{FlushMode, Span},
};

#[derive(Debug, Subcommand)]
pub(super) enum Disk {
    /// Create an empty disk; nothing that exists is changed
    Create(Create),
    /// List the disks of a bucket, or of a prefix in it
    List(List),
    /// Tell what a disk is
    Info(Info),
    /// Change the size of a disk
    #[cfg(feature = "object-log")]
    Resize(history::Resize),
    /// Remove a disk with its snapshots
    #[cfg(feature = "object-log")]
    Rm(history::Remove),
    /// Take, list and remove snapshots
    #[cfg(feature = "object-log")]
    #[command(subcommand)]
    Snapshot(history::Snapshot),
    /// Make a new disk out of a snapshot, at once and without copying
    #[cfg(feature = "object-log")]
    Clone(history::Clone),
    /// Make a disk again what a snapshot shows
    #[cfg(feature = "object-log")]
    Rollback(history::Rollback),
    /// Tell what changed since a snapshot, or between two
    #[cfg(feature = "object-log")]
    Diff(history::Diff),
    /// Bring an image into a disk, holes kept
    #[cfg(feature = "object-log")]
    Import(transfer::Import),
    /// Write a disk or a snapshot into an image, holes kept
    #[cfg(feature = "object-log")]
    Export(transfer::Export),
    /// Read and verify everything that a disk needs, and tell what is lost
    #[cfg(feature = "object-log")]
    Scrub(care::Scrub),
    /// Collect the garbage of a disk now, and delete what nothing names
    #[cfg(feature = "object-log")]
    Gc(care::Gc),
    /// Check a disk without changing it
    #[cfg(feature = "object-log")]
    Fsck(care::Fsck),
    /// Rebuild a disk whose manifest or map is lost, from its other objects
    #[cfg(feature = "object-log")]
    Rebuild(care::Rebuild),
    /// Find out what a store can do and how fast it is
    #[cfg(feature = "object-log")]
    Probe(care::Probe),
    /// Change the key of an encrypted disk, without rewriting it
    #[cfg(feature = "object-log")]
    Rekey(care::Rekey),
    /// Tell what a disk costs in a month
    Cost(cost::Cost),
}

#[derive(Args, Debug)]
pub(super) struct Create {
    /// file:/path, s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: ExportUri,

    /// Size of the disk, as in 10G
    #[arg(long)]
    size: Size,

    #[cfg(feature = "object-log")]
    #[command(flatten)]
    object: CreateObject,

    #[command(flatten)]
    output: Output,
}

/// What only disks in object stores can be told.
#[cfg(feature = "object-log")]
#[derive(Args, Debug)]
pub(super) struct CreateObject {
    /// What FLUSH waits for: the bucket, a local journal, or nothing
    #[arg(long, value_name = "WHAT", default_value = "object")]
    flush: FlushMode,

    /// How long a gateway may answer reads without a proof that the disk is still its own; 0s for ever
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    lease: Span,

    /// Keep the log in another store, as a faster one: s3://bucket/prefix, ...
    #[arg(long, value_name = "URI")]
    log_store: Option<String>,

    #[command(flatten)]
    key: Key,
}

#[derive(Args, Debug)]
pub(super) struct List {
    /// s3://bucket/prefix, gs://..., az://... or dir:/path
    uri: String,

    #[command(flatten)]
    output: Output,
}

#[derive(Args, Debug)]
pub(super) struct Info {
    /// file:/path, s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: ExportUri,

    #[cfg(feature = "object-log")]
    #[command(flatten)]
    key: Key,

    #[command(flatten)]
    output: Output,
}

/// What is logged unless the environment asks for more: these commands tell their result on standard output.
const LOG: &str = "warn";

impl Disk {
    pub(super) fn run(self) -> Result<(), Failure> {
        log::start(&log::from_environment().unwrap_or_else(|| LOG.to_owned()));
        match self {
            Self::Create(create) => create.run(),
            Self::List(List { uri, output }) => output.disks(&object::list(&uri)?),
            Self::Info(info) => info.run(),
            Self::Cost(cost) => cost.run(),
            #[cfg(feature = "object-log")]
            work => work.run_on_object(),
        }
    }

    #[cfg(feature = "object-log")]
    fn run_on_object(self) -> Result<(), Failure> {
        match self {
            Self::Resize(work) => work.run(),
            Self::Rm(work) => work.run(),
            Self::Snapshot(work) => work.run(),
            Self::Clone(work) => work.run(),
            Self::Rollback(work) => work.run(),
            Self::Diff(work) => work.run(),
            Self::Import(work) => work.run(),
            Self::Export(work) => work.run(),
            Self::Scrub(work) => work.run(),
            Self::Gc(work) => work.run(),
            Self::Fsck(work) => work.run(),
            Self::Rebuild(work) => work.run(),
            Self::Probe(work) => work.run(),
            Self::Rekey(work) => work.run(),
            Self::Create(_) | Self::List(_) | Self::Info(_) | Self::Cost(_) => unreachable!("the caller runs these"),
        }
    }
}

impl Create {
    fn run(self) -> Result<(), Failure> {
        let Self { uri, size, output, .. } = &self;
        match uri {
            ExportUri::File { path, .. } => output.disk(&file::create(path, *size)?),
            #[cfg(feature = "object-log")]
            ExportUri::Object(url) => output.disk(&object::create(url, *size, &self.object)?),
            #[cfg(not(feature = "object-log"))]
            ExportUri::Object(url) => output.disk(&object::create(url, *size)?),
            ExportUri::Memory { .. } => Err(no_disk_at_rest(uri)),
        }
    }
}

impl Info {
    fn run(self) -> Result<(), Failure> {
        let Self { uri, output, .. } = &self;
        match uri {
            ExportUri::File { path, .. } => output.disk(&file::info(path)?),
            #[cfg(feature = "object-log")]
            ExportUri::Object(url) => output.disk(&object::info(url, &self.key)?),
            #[cfg(not(feature = "object-log"))]
            ExportUri::Object(url) => output.disk(&object::info(url)?),
            ExportUri::Memory { .. } => Err(no_disk_at_rest(uri)),
        }
    }
}

/// Waits for work on the network.
fn wait<T, E: Into<anyhow::Error>>(work: impl Future<Output = Result<T, E>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("cannot start a runtime")?.block_on(work).map_err(Into::into)
}

fn no_disk_at_rest(uri: &ExportUri) -> Failure {
    let sentence = format!("{uri} has no disk until it is served: give a file: or an object store's URI");
    Failure::Usage(Invalid::new(sentence).into())
}

/// What a program without the object log says of disks in it.
#[cfg(not(feature = "object-log"))]
mod object {
    use super::report::Report;
    use crate::{
        cli::Failure,
        config::{Invalid, Size},
    };

    pub(super) fn create(uri: &str, _: Size) -> Result<Report, Failure> {
        Err(refused(uri))
    }

    pub(super) fn info(uri: &str) -> Result<Report, Failure> {
        Err(refused(uri))
    }

    pub(super) fn list(uri: &str) -> Result<Vec<Report>, Failure> {
        Err(refused(uri))
    }

    pub(super) fn stored_bytes(uri: &str) -> Result<f64, Failure> {
        Err(refused(uri))
    }

    fn refused(uri: &str) -> Failure {
        Failure::Usage(Invalid::new(format!("{uri:?}: this nbdgate was built without the object log")).into())
    }
}
