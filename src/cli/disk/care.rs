//! Looking after disks in the object log: fsck, rebuild, scrub, garbage collection, probe.

use clap::Args;

use super::{
    access::{Hold, Key},
    confirm::Confirm,
    object,
    place::Place,
    report::Output,
};
use crate::{cli::Failure, config::Size};

#[derive(Args, Debug)]
pub(in crate::cli) struct Fsck {
    /// s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: Place,
    /// Read and verify all data too
    #[arg(long)]
    data: bool,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    output: Output,
}

impl Fsck {
    /// Fails if something is damaged, so that scripts see it.
    pub(super) fn run(self) -> Result<(), Failure> {
        let url = self.uri.in_object_log("fsck", "RocksDB checks what it reads, and `disk info` opens the database")?;
        let (report, sound) = object::fsck(url, self.data, &self.key)?;
        self.output.disk(&report)?;
        sound.map_err(Failure::Failed)
    }
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "flags, each by itself")]
pub(in crate::cli) struct Rebuild {
    /// s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: Place,
    /// Tell what would be found, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Rebuild a disk that opens
    #[arg(long)]
    force: bool,
    /// Write a state that may lack something, or hold what was overwritten
    #[arg(long)]
    accept_loss: bool,
    /// Take no checkpoint for granted: replay the log from its start
    #[arg(long)]
    from_log: bool,
    /// The size of the disk, where nothing tells it any more
    #[arg(long)]
    size: Option<Size>,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    hold: Hold,
    #[command(flatten)]
    output: Output,
}

impl Rebuild {
    pub(super) fn run(self) -> Result<(), Failure> {
        let instead = "a damaged RocksDB disk is restored from a snapshot or a backup";
        let url = self.uri.in_object_log("rebuild", instead)?;
        if !self.dry_run {
            self.confirm.ask(&format!("the newest state of {url} becomes what its objects tell"))?;
        }
        let options = nbdgate_s3::rebuild::RebuildOptions {
            dry_run: self.dry_run,
            force: self.force,
            accept_loss: self.accept_loss,
            from_log: self.from_log,
            size: self.size.map(Size::bytes),
        };
        self.output.disk(&object::rebuild(url, options, &self.key, &self.hold)?)
    }
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Scrub {
    /// s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: Place,
    /// Bytes read in a second at most, as in 50M
    #[arg(long, value_name = "SIZE")]
    rate: Option<Size>,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    output: Output,
}

impl Scrub {
    /// Fails if something was lost, so that scripts see it.
    pub(super) fn run(self) -> Result<(), Failure> {
        let url =
            self.uri.in_object_log("scrub", "RocksDB checks what it reads, and `disk export` reads everything")?;
        let (report, sound) = object::scrub(url, self.rate.map(Size::bytes), &self.key)?;
        self.output.disk(&report)?;
        sound.map_err(Failure::Failed)
    }
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Gc {
    /// s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: Place,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    hold: Hold,
    #[command(flatten)]
    output: Output,
}

impl Gc {
    pub(super) fn run(self) -> Result<(), Failure> {
        let url = self.uri.in_object_log("gc", "RocksDB compacts by itself")?;
        self.output.disk(&object::gc(url, &self.key, &self.hold)?)
    }
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Probe {
    /// s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk; the disk need not exist
    uri: Place,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    output: Output,
}

impl Probe {
    pub(super) fn run(self) -> Result<(), Failure> {
        let url = self.uri.in_object_log("probe", "there is no store behind a RocksDB disk")?;
        self.output.disk(&object::probe(url, &self.key)?)
    }
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Rekey {
    /// s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: Place,
    /// The new key is in this file
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<std::path::PathBuf>,
    /// The new passphrase is the first line of this file
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<std::path::PathBuf>,
    /// This program writes the new key to its standard output
    #[arg(long, value_name = "COMMAND")]
    new_key_command: Option<String>,
    /// Encrypt new data with a new data key, too; old data keeps its own until it is moved
    #[arg(long)]
    rotate: bool,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    hold: Hold,
    #[command(flatten)]
    output: Output,
}

impl Rekey {
    pub(super) fn run(self) -> Result<(), Failure> {
        let url = self.uri.in_object_log("rekey", "RocksDB disks are not encrypted")?;
        let given = (self.new_key_file, self.new_passphrase_file, self.new_key_command);
        let new = crate::config::KeySource::new(given.0, given.1, given.2);
        let new = new.map_err(|invalid| Failure::Usage(invalid.into()))?;
        if new.is_none() && !self.rotate {
            let text = "nothing to do: give a new key, or --rotate";
            return Err(Failure::Usage(crate::config::Invalid::new(text).into()));
        }
        self.output.disk(&object::rekey(url, new.as_ref(), self.rotate, &self.key, &self.hold)?)
    }
}
