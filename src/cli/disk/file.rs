//! Raw images and block devices.

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use anyhow::{Context, bail};

use super::report::Report;
use crate::config::Size;

/// Unit of `st_blocks`, in bytes, whatever the file system's block size.
const STAT_BLOCK: u64 = 512;

/// Makes a sparse image that only its owner may read.
pub(super) fn create(path: &Path, size: Size) -> anyhow::Result<Report> {
    let shown = path.display();
    let create = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = create().with_context(|| format!("cannot create {shown}"))?;
    let grow = || {
        file.set_len(size.bytes())?;
        file.sync_all()
    };
    if let Err(error) = grow() {
        // It was made a moment ago, by this process, and it is empty.
        let _ = fs::remove_file(path);
        return Err(error).with_context(|| format!("cannot make {shown} {size} long"));
    }
    info(path)
}

/// What is there.
pub(super) fn info(path: &Path) -> anyhow::Result<Report> {
    let shown = path.display();
    let metadata = fs::metadata(path).with_context(|| format!("cannot look at {shown}"))?;
    let kind = metadata.file_type();
    let mut report = Report::new(&format!("file:{shown}"));
    if kind.is_file() {
        report.text("kind", "raw image");
        report.size("size", metadata.len());
        report.size("allocated", metadata.blocks() * STAT_BLOCK);
    } else if kind.is_block_device() {
        let mut device = File::open(path).with_context(|| format!("cannot open {shown}"))?;
        let size = device.seek(SeekFrom::End(0)).with_context(|| format!("cannot ask for the size of {shown}"))?;
        report.text("kind", "block device");
        report.size("size", size);
    } else {
        bail!("{shown} is no disk: give an image file or a block device");
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_created_image_is_sparse_and_has_its_size() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("disk.img");
        create(&path, Size::from_bytes(10 << 30)).expect("created");
        let metadata = fs::metadata(&path).expect("it is there");
        assert_eq!(metadata.len(), 10 << 30);
        assert!(metadata.blocks() * STAT_BLOCK < 1 << 20, "no space is taken");
        assert_eq!(metadata.mode() & 0o077, 0, "nobody else may read it");
        assert!(info(&path).expect("it is a disk").table().contains("10G (10737418240 bytes)"));
    }

    #[test]
    fn an_existing_file_is_never_changed() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("disk.img");
        fs::write(&path, "precious").expect("written");
        let error = format!("{:#}", create(&path, Size::from_bytes(1 << 20)).expect_err("it exists"));
        assert!(error.contains("disk.img") && error.contains("exists"), "{error}");
        assert_eq!(fs::read(&path).expect("still there"), b"precious");
    }

    #[test]
    fn a_size_the_file_system_refuses_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("disk.img");
        assert!(create(&path, Size::from_bytes(u64::MAX)).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_is_no_disk() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        assert!(info(folder.path()).expect_err("a directory").to_string().contains("is no disk"));
        assert!(info(&folder.path().join("missing")).is_err());
    }
}
