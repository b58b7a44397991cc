//! Import and export of raw images.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use nbdgate_s3::{
    CreateOptions, Location,
    transfer::{self, ExportOptions, RawSink, RawSource, Sink, Source},
};

use super::{parse, reading, writing};
use crate::{
    cli::{
        Failure,
        disk::{
            access::{Hold, Key},
            private,
            progress::Bar,
            report::Report,
            wait,
        },
    },
    config::Size,
};

/// Brings a raw image into a disk.
pub(in crate::cli::disk) fn import(
    image: &Path,
    uri: &str,
    size: Option<Size>,
    key: &Key,
    hold: &Hold,
) -> Result<Report, Failure> {
    let location: Location = parse(uri)?;
    let source = RawSource::open(image).with_context(|| format!("cannot read {}", image.display()))?;
    let source: Arc<dyn Source> = Arc::new(source);
    let create = creation(size.map_or(0, Size::bytes), key)?;
    let bar = Bar::new("importing");
    let imported = wait(transfer::import(&source, &location, &create, &bar, &writing(key, hold)?));
    bar.end();
    let imported = imported?;
    let mut report = Report::new(&location.to_string());
    report.size("size", imported.size);
    report.size("data", imported.data);
    report.size("stored", imported.stored);
    report.number("segments", imported.segments);
    report.size("padded", imported.padded);
    Ok(report)
}

/// Writes a disk or a snapshot into a raw image, which is removed again if that fails.
pub(in crate::cli::disk) fn export(
    uri: &str,
    snapshot: Option<&str>,
    image: &Path,
    key: &Key,
) -> Result<Report, Failure> {
    let location: Location = parse(uri)?;
    let options = reading(key)?;
    let sink = RawSink::create(image).with_context(|| format!("cannot create {}", image.display()))?;
    let sink: Arc<dyn Sink> = Arc::new(sink);
    let bar = Bar::new("exporting");
    let what = ExportOptions { snapshot: snapshot.map(str::to_owned) };
    let exported = wait(transfer::export(&location, &what, &sink, &bar, &options));
    bar.end();
    if exported.is_err() {
        let _what_is_of_no_use = std::fs::remove_file(image);
    }
    let exported = exported?;
    let mut report = Report::new(&location.to_string());
    report.text("image", &image.display().to_string());
    report.size("size", exported.size);
    report.size("data", exported.data);
    Ok(report)
}

/// Has qemu-img bring an image into a disk.
pub(in crate::cli::disk) fn import_qcow2(
    image: &Path,
    uri: &str,
    size: Option<Size>,
    key: &Key,
    hold: &Hold,
) -> Result<Report, Failure> {
    let least = size.map_or(0, Size::bytes);
    ensure(uri, private::image_size(image)?.max(least), key)?;
    private::copy_in(image, uri, &[key.options()?, hold.options()].concat())?;
    super::info(uri, key)
}

/// Has qemu-img write a disk or a snapshot into a new image.
pub(in crate::cli::disk) fn export_qcow2(
    uri: &str,
    snapshot: Option<&str>,
    image: &Path,
    key: &Key,
) -> Result<Report, Failure> {
    private::copy_out(uri, snapshot, image, &key.options()?)
}

/// Makes a disk of `size` bytes, unless it is there; then it must be large enough.
fn ensure(uri: &str, size: u64, key: &Key) -> Result<(), Failure> {
    let location: Location = parse(uri)?;
    let size = size.next_multiple_of(4096);
    match wait(nbdgate_s3::info(&location)) {
        Ok(info) if info.size >= size => Ok(()),
        Ok(info) => Err(Failure::Failed(anyhow::anyhow!("{location} has {} bytes, the image {size}", info.size))),
        Err(_) => Ok(wait(nbdgate_s3::create(&location, &creation(size, key)?)).map(drop)?),
    }
}

fn creation(size: u64, key: &Key) -> Result<CreateOptions, Failure> {
    Ok(CreateOptions { size, key: key.source()?.map(Into::into), ..CreateOptions::default() })
}
