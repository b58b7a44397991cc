//! `nbdgate disk`: disks at rest.

mod file;
mod report;

use clap::{Args, Subcommand};

use self::report::Output;
use super::Failure;
use crate::config::{ExportUri, Invalid, Size};

#[derive(Debug, Subcommand)]
pub(super) enum Disk {
    /// Create an empty disk; nothing that exists is changed
    Create(Create),
    /// Tell what a disk is
    Info(Info),
}

#[derive(Args, Debug)]
pub(super) struct Create {
    /// file:/path
    uri: ExportUri,

    /// Size of the disk, as in 10G
    #[arg(long)]
    size: Size,

    #[command(flatten)]
    output: Output,
}

#[derive(Args, Debug)]
pub(super) struct Info {
    /// file:/path
    uri: ExportUri,

    #[command(flatten)]
    output: Output,
}

impl Disk {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(create) => match create.uri {
                ExportUri::File { path, .. } => create.output.disk(&file::create(&path, create.size)?),
                other => Err(elsewhere(&other)),
            },
            Self::Info(info) => match info.uri {
                ExportUri::File { path, .. } => info.output.disk(&file::info(&path)?),
                other => Err(elsewhere(&other)),
            },
        }
    }
}

/// There is no disk at rest behind this URI.
fn elsewhere(uri: &ExportUri) -> Failure {
    let sentence = match uri {
        ExportUri::Memory { .. } => format!("{uri} has no disk until it is served: give a file: or object store URI"),
        ExportUri::File { .. } | ExportUri::Object(_) => {
            format!("{uri} is in an object store, and this nbdgate was built without the object log")
        }
    };
    Failure::Usage(Invalid::new(sentence).into())
}
