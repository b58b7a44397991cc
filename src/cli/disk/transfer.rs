//! Bringing images into disks and out of them.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

#[cfg(feature = "object-log")]
use super::object;
#[cfg(feature = "rocksdb")]
use super::rocksdb;
use super::{
    access::{Hold, Key},
    place::{Place, usage},
    report::Output,
};
use crate::{cli::Failure, config::Size};

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
  nbdgate disk import vm.qcow2 rocksdb:/srv/vm1
  nbdgate disk import --format qcow2 vm.img dir:/srv/bucket/vm1 --size 40G")]
pub(in crate::cli) struct Import {
    /// The image; holes stay holes
    image: PathBuf,
    /// The disk; created if it does not exist, otherwise it must be empty
    uri: Place,
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
        let Self { image, uri, format, size, key, hold, output } = self;
        uri.check_object_flags(key.given().into_iter().chain(hold.given()))?;
        let format = format.unwrap_or_else(|| Format::of(&image));
        match uri {
            #[cfg(feature = "object-log")]
            Place::Object(url) => output.disk(&match format {
                Format::Raw => object::import(&image, &url, size, &key, &hold)?,
                Format::Qcow2 => object::import_qcow2(&image, &url, size, &key, &hold)?,
            }),
            #[cfg(feature = "rocksdb")]
            Place::RocksDb(path) => output.disk(&match format {
                Format::Raw => rocksdb::import(&image, &path, size)?,
                Format::Qcow2 => rocksdb::import_qcow2(&image, &path, size)?,
            }),
            other => Err(other.refused("import")),
        }
    }
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  nbdgate disk export s3://bucket/disks/vm1 vm.raw
  nbdgate disk export s3://bucket/disks/vm1 vm.qcow2 --snapshot monday")]
pub(in crate::cli) struct Export {
    /// rocksdb:/path, s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk
    uri: Place,
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
        let Self { uri, image, snapshot, format, key, output } = self;
        uri.check_object_flags(key.given())?;
        if image.symlink_metadata().is_ok() {
            let text = format!("{} exists already: move it away, or give another name", image.display());
            return Err(usage(text));
        }
        let (snapshot, format) = (snapshot.as_deref(), format.unwrap_or_else(|| Format::of(&image)));
        match uri {
            #[cfg(feature = "object-log")]
            Place::Object(url) => output.disk(&match format {
                Format::Raw => object::export(&url, snapshot, &image, &key)?,
                Format::Qcow2 => object::export_qcow2(&url, snapshot, &image, &key)?,
            }),
            #[cfg(feature = "rocksdb")]
            Place::RocksDb(path) => output.disk(&match format {
                Format::Raw => rocksdb::export(&path, snapshot, &image)?,
                Format::Qcow2 => rocksdb::export_qcow2(&path, snapshot, &image)?,
            }),
            other => Err(other.refused("export")),
        }
    }
}
