//! `nbdgate disk`: disks at rest.

mod file;
#[cfg(feature = "object-log")]
mod object;
mod report;

use clap::{Args, Subcommand};

use self::report::Output;
use super::{Failure, log};
use crate::config::{ExportUri, Invalid, Size};

#[derive(Debug, Subcommand)]
pub(super) enum Disk {
    /// Create an empty disk; nothing that exists is changed
    Create(Create),
    /// List the disks of a bucket, or of a prefix in it
    List(List),
    /// Tell what a disk is
    Info(Info),
}

#[derive(Args, Debug)]
pub(super) struct Create {
    /// file:/path, s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: ExportUri,

    /// Size of the disk, as in 10G
    #[arg(long)]
    size: Size,

    #[command(flatten)]
    output: Output,
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

    #[command(flatten)]
    output: Output,
}

/// What is logged unless the environment asks for more: these commands tell their result on standard output.
const LOG: &str = "warn";

impl Disk {
    pub(super) fn run(self) -> Result<(), Failure> {
        log::start(&log::from_environment().unwrap_or_else(|| LOG.to_owned()));
        match self {
            Self::Create(Create { uri, size, output }) => match uri {
                ExportUri::File { path, .. } => output.disk(&file::create(&path, size)?),
                ExportUri::Object(url) => output.disk(&object::create(&url, size)?),
                ExportUri::Memory { .. } => Err(no_disk_at_rest(&uri)),
            },
            Self::List(List { uri, output }) => output.disks(&object::list(&uri)?),
            Self::Info(Info { uri, output }) => match uri {
                ExportUri::File { path, .. } => output.disk(&file::info(&path)?),
                ExportUri::Object(url) => output.disk(&object::info(&url)?),
                ExportUri::Memory { .. } => Err(no_disk_at_rest(&uri)),
            },
        }
    }
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

    fn refused(uri: &str) -> Failure {
        Failure::Usage(Invalid::new(format!("{uri:?}: this nbdgate was built without the object log")).into())
    }
}
