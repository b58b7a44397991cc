//! Import and export of images.

use std::path::Path;

use nbdgate_rocksdb::{
    CreateOptions,
    transfer::{self, Target},
};

use super::{creation, failed, uri};
use crate::{
    cli::{
        Failure,
        disk::{CreateRocksDb, private, progress::Bar, report::Report},
    },
    config::Size,
};

/// Brings a raw image into a disk.
pub(in crate::cli::disk) fn import(image: &Path, path: &Path, size: Option<Size>) -> Result<Report, Failure> {
    let bar = Bar::new("importing");
    let imported = transfer::import(image, path, &of_size(size.map_or(0, Size::bytes)), &bar);
    bar.end();
    let imported = imported.map_err(failed)?;
    let mut report = Report::new(&uri(path));
    report.size("size", imported.size);
    report.size("data", imported.data);
    report.size("stored", imported.stored);
    Ok(report)
}

/// Has qemu-img bring an image into a disk.
pub(in crate::cli::disk) fn import_qcow2(image: &Path, path: &Path, size: Option<Size>) -> Result<Report, Failure> {
    let size = private::image_size(image)?.max(size.map_or(0, Size::bytes));
    let target = Target::prepare(path, &of_size(size)).map_err(failed)?;
    private::copy_in(image, &uri(target.path()), &[])?;
    target.commit().map_err(failed)?;
    super::info(path)
}

/// Writes a disk or a snapshot into a raw image.
pub(in crate::cli::disk) fn export(path: &Path, snapshot: Option<&str>, image: &Path) -> Result<Report, Failure> {
    let bar = Bar::new("exporting");
    let exported = transfer::export(path, snapshot, image, &bar);
    bar.end();
    let exported = exported.map_err(failed)?;
    let mut report = Report::new(&uri(path));
    report.text("image", &image.display().to_string());
    report.size("size", exported.size);
    report.size("data", exported.data);
    Ok(report)
}

/// Has qemu-img write a disk or a snapshot into a new image.
pub(in crate::cli::disk) fn export_qcow2(path: &Path, snapshot: Option<&str>, image: &Path) -> Result<Report, Failure> {
    private::copy_out(&uri(path), snapshot, image, &[])
}

fn of_size(size: u64) -> CreateOptions {
    creation(size, &CreateRocksDb::default())
}
