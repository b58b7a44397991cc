//! Bringing images into the object log and out of it.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{
    access::{Hold, Key},
    object, private,
    report::Output,
};
use crate::{
    cli::Failure,
    config::{Invalid, Size},
};

/// How an image is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Byte for byte.
    Raw,
    /// QEMU's; qemu-img does the work.
    Qcow2,
}

impl Format {
    fn of(path: &Path) -> Self {
        match path.extension() {
            Some(extension) if extension == "qcow2" => Self::Qcow2,
            _ => Self::Raw,
        }
    }
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  nbdgate disk import vm.raw s3://bucket/disks/vm1
  nbdgate disk import --format qcow2 vm.img dir:/srv/bucket/vm1 --size 40G")]
pub(in crate::cli) struct Import {
    /// The image; holes stay holes
    image: PathBuf,
    /// The disk; created if it does not exist, otherwise it must be empty
    uri: String,
    /// The image's format; told by the name's end if not given
    #[arg(long)]
    format: Option<Format>,
    /// Size of a disk that is created, if it is to be larger than the image
    #[arg(long)]
    size: Option<Size>,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    hold: Hold,
    #[command(flatten)]
    output: Output,
}

impl Import {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.format.unwrap_or_else(|| Format::of(&self.image)) {
            Format::Raw => {
                let size = self.size.map(Size::bytes);
                self.output.disk(&object::import(&self.image, &self.uri, size, &self.key, &self.hold)?)
            }
            Format::Qcow2 => {
                let size = private::image_size(&self.image)?.max(self.size.map_or(0, Size::bytes));
                object::ensure(&self.uri, size, &self.key)?;
                private::copy_in(&self.image, &self.uri, &self.key, &self.hold)?;
                self.output.disk(&object::info(&self.uri, &self.key)?)
            }
        }
    }
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  nbdgate disk export s3://bucket/disks/vm1 vm.raw
  nbdgate disk export s3://bucket/disks/vm1 vm.qcow2 --snapshot monday")]
pub(in crate::cli) struct Export {
    /// s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: String,
    /// The image, which must not exist; holes stay holes
    image: PathBuf,
    /// Export this snapshot
    #[arg(long, value_name = "NAME")]
    snapshot: Option<String>,
    /// The image's format; told by the name's end if not given
    #[arg(long)]
    format: Option<Format>,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    output: Output,
}

impl Export {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.image.symlink_metadata().is_ok() {
            let text = format!("{} exists already: move it away, or give another name", self.image.display());
            return Err(Failure::Usage(Invalid::new(text).into()));
        }
        let snapshot = self.snapshot.as_deref();
        match self.format.unwrap_or_else(|| Format::of(&self.image)) {
            Format::Raw => self.output.disk(&object::export(&self.uri, snapshot, &self.image, &self.key)?),
            Format::Qcow2 => {
                private::copy_out(&self.uri, snapshot, &self.image, &self.key)?;
                self.output.disk(&super::file::info(&self.image)?)
            }
        }
    }
}
