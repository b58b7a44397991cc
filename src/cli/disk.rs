//! `nbdgate disk`: disks at rest, and everything that is done with them but serving.
//!
//! A verb looks at the storage of its disk and hands over to `file`, `object` or `rocksdb`; what this program was built
//! without is refused there, with a sentence that says so.

#[cfg(any(feature = "object-log", feature = "rocksdb"))]
mod access;
#[cfg(feature = "object-log")]
mod care;
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
mod confirm;
mod cost;
mod file;
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
mod history;
#[cfg(feature = "object-log")]
mod map;
#[cfg(feature = "object-log")]
mod object;
mod place;
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
mod private;
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
mod progress;
mod report;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
mod transfer;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};

use self::{
    place::Place,
    report::{Output, Report},
};
use super::{Failure, log};
use crate::config::Size;
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
use {
    self::{
        access::Key,
        place::{Given, given},
    },
    crate::config::{Compression, FlushMode, Span},
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
    #[cfg(any(feature = "object-log", feature = "rocksdb"))]
    Resize(history::Resize),
    /// Remove a disk with its snapshots
    #[cfg(any(feature = "object-log", feature = "rocksdb"))]
    Rm(history::Remove),
    /// Take, list and remove snapshots
    #[cfg(any(feature = "object-log", feature = "rocksdb"))]
    #[command(subcommand)]
    Snapshot(history::Snapshot),
    /// Make a new disk out of a snapshot, at once and without copying where they can share data
    #[cfg(any(feature = "object-log", feature = "rocksdb"))]
    Clone(history::Clone),
    /// Make a disk again what a snapshot shows
    #[cfg(feature = "object-log")]
    Rollback(history::Rollback),
    /// Tell what changed since a snapshot, or between two
    #[cfg(feature = "object-log")]
    Diff(history::Diff),
    /// Bring an image into a disk, holes kept
    #[cfg(any(feature = "object-log", feature = "rocksdb"))]
    Import(transfer::Import),
    /// Write a disk or a snapshot into an image, holes kept
    #[cfg(any(feature = "object-log", feature = "rocksdb"))]
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
    /// file:/path, rocksdb:/path, s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: Place,

    /// Size of the disk, as in 10G
    #[arg(long)]
    size: Size,

    /// Succeed if a disk of this size, and of what else is given, is there already, and leave it as it is
    #[arg(long)]
    if_missing: bool,

    #[cfg(any(feature = "object-log", feature = "rocksdb"))]
    #[command(flatten)]
    object: CreateObject,

    #[cfg(any(feature = "object-log", feature = "rocksdb"))]
    #[command(flatten)]
    rocksdb: CreateRocksDb,

    #[command(flatten)]
    output: Output,
}

/// What only disks in the object log can be told.
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
#[derive(Args, Debug, Default)]
pub(super) struct CreateObject {
    /// What FLUSH waits for: the bucket, a local journal, or nothing; object if not given
    #[arg(long, value_name = "WHAT")]
    flush: Option<FlushMode>,

    /// How long a gateway may answer reads without a proof that the disk is still its own; 0s for ever, 10s if not given
    #[arg(long, value_name = "DURATION")]
    lease: Option<Span>,

    /// Keep the log in another store, as a faster one: s3://bucket/prefix, ...
    #[arg(long, value_name = "URI")]
    log_store: Option<String>,

    #[command(flatten)]
    key: Key,
}

/// What only disks in RocksDB can be told.
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
#[derive(Args, Debug, Default)]
pub(super) struct CreateRocksDb {
    /// Bytes that are stored as one, for good: a power of two from 4K to 64K; 16K if not given
    #[arg(long, value_name = "SIZE")]
    extent: Option<Size>,

    /// How data is compressed, for good; lz4 if not given
    #[arg(long, value_name = "HOW")]
    compression: Option<Compression>,
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
    /// file:/path, rocksdb:/path, s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: Place,

    #[cfg(any(feature = "object-log", feature = "rocksdb"))]
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
            Self::Create(work) => work.run(),
            Self::List(work) => work.run(),
            Self::Info(work) => work.run(),
            Self::Cost(work) => work.run(),
            #[cfg(any(feature = "object-log", feature = "rocksdb"))]
            Self::Resize(_) | Self::Rm(_) | Self::Snapshot(_) | Self::Clone(_) | Self::Import(_) | Self::Export(_) => {
                self.run_on_either()
            }
            #[cfg(feature = "object-log")]
            Self::Rollback(work) => work.run(),
            #[cfg(feature = "object-log")]
            Self::Diff(work) => work.run(),
            #[cfg(feature = "object-log")]
            _ => self.run_care(),
        }
    }

    /// Looking after disks in the object log.
    #[cfg(feature = "object-log")]
    fn run_care(self) -> Result<(), Failure> {
        match self {
            Self::Scrub(work) => work.run(),
            Self::Gc(work) => work.run(),
            Self::Fsck(work) => work.run(),
            Self::Rebuild(work) => work.run(),
            Self::Probe(work) => work.run(),
            Self::Rekey(work) => work.run(),
            other => unreachable!("the caller runs {other:?}"),
        }
    }

    /// What the object log and RocksDB can both do.
    #[cfg(any(feature = "object-log", feature = "rocksdb"))]
    fn run_on_either(self) -> Result<(), Failure> {
        match self {
            Self::Resize(work) => work.run(),
            Self::Rm(work) => work.run(),
            Self::Snapshot(work) => work.run(),
            Self::Clone(work) => work.run(),
            Self::Import(work) => work.run(),
            Self::Export(work) => work.run(),
            other => unreachable!("the caller runs {other:?}"),
        }
    }
}

impl Create {
    fn run(self) -> Result<(), Failure> {
        let Self { uri, size, output, .. } = &self;
        #[cfg(any(feature = "object-log", feature = "rocksdb"))]
        {
            uri.check_object_flags(self.object.given())?;
            uri.check_rocksdb_flags(self.rocksdb.given())?;
        }
        let found = if self.if_missing { self.existing()? } else { None };
        if let Some(found) = found {
            let (asked, found_bytes) = (size.bytes(), found.number_of("size"));
            if found_bytes == Some(asked) {
                return output.disk(&found);
            }
            let found = found_bytes.map_or_else(|| "unknown".to_owned(), |bytes| format!("{bytes} bytes"));
            return Err(there_already(&uri.to_string(), &format!("its size is {found}, not {asked} bytes")));
        }
        match uri {
            Place::File(path) => output.disk(&file::create(path, *size)?),
            #[cfg(feature = "object-log")]
            Place::Object(url) => output.disk(&object::create(url, *size, &self.object)?),
            #[cfg(feature = "rocksdb")]
            Place::RocksDb(path) => output.disk(&rocksdb::create(path, *size, &self.rocksdb)?),
            #[cfg(not(all(feature = "object-log", feature = "rocksdb")))]
            other => Err(other.refused("create")),
        }
    }

    /// The disk, if one is there. What cannot be looked at, as a damaged one, is left to creating it, which never overwrites
    /// and says more.
    ///
    /// # Errors
    /// It is none that could have been made with the flags that were given, but for its size.
    #[cfg_attr(
        not(any(feature = "object-log", feature = "rocksdb")),
        expect(clippy::unnecessary_wraps, reason = "images have no such flags")
    )]
    fn existing(&self) -> Result<Option<Report>, Failure> {
        match &self.uri {
            Place::File(path) => Ok(file::info(path).ok()),
            #[cfg(feature = "object-log")]
            Place::Object(url) => object::existing(url, &self.object),
            #[cfg(feature = "rocksdb")]
            Place::RocksDb(path) => rocksdb::existing(path, &self.rocksdb),
            #[cfg(not(all(feature = "object-log", feature = "rocksdb")))]
            _ => Ok(None),
        }
    }
}

/// Why `create --if-missing` does not take the disk that it found for the one that was asked for.
fn there_already(uri: &str, difference: &str) -> Failure {
    anyhow!("{uri} is there already and {difference}").into()
}

#[cfg(any(feature = "object-log", feature = "rocksdb"))]
impl CreateObject {
    /// Its flags that were given.
    fn given(&self) -> impl Iterator<Item = Given> {
        let Self { flush, lease, log_store, key } = self;
        let own = [
            given("--flush", flush.as_ref()),
            given("--lease", lease.as_ref()),
            given("--log-store", log_store.as_ref()),
        ];
        own.into_iter().chain(key.given())
    }
}

#[cfg(any(feature = "object-log", feature = "rocksdb"))]
impl CreateRocksDb {
    /// Its flags that were given.
    fn given(&self) -> [Given; 2] {
        [given("--extent", self.extent.as_ref()), given("--compression", self.compression.as_ref())]
    }
}

impl List {
    fn run(self) -> Result<(), Failure> {
        if self.uri.starts_with("rocksdb:") {
            return Err(place::usage(format!(
                "{}: list is for disks in the object log: a RocksDB disk is a directory, ask for info of it",
                self.uri
            )));
        }
        #[cfg(feature = "object-log")]
        return self.output.disks(&object::list(&self.uri)?);
        #[cfg(not(feature = "object-log"))]
        return Err(place::usage(format!("{:?}: this nbdgate was built without the object log", self.uri)));
    }
}

impl Info {
    fn run(self) -> Result<(), Failure> {
        let Self { uri, output, .. } = &self;
        #[cfg(any(feature = "object-log", feature = "rocksdb"))]
        uri.check_object_flags(self.key.given())?;
        match uri {
            Place::File(path) => output.disk(&file::info(path)?),
            #[cfg(feature = "object-log")]
            Place::Object(url) => output.disk(&object::info(url, &self.key)?),
            #[cfg(feature = "rocksdb")]
            Place::RocksDb(path) => output.disk(&rocksdb::info(path)?),
            #[cfg(not(all(feature = "object-log", feature = "rocksdb")))]
            other => Err(other.refused("info")),
        }
    }
}

/// Waits for work on the network.
fn wait<T, E: Into<anyhow::Error>>(work: impl Future<Output = Result<T, E>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("cannot start a runtime")?.block_on(work).map_err(Into::into)
}

#[cfg(test)]
mod tests;
