//! Makes the disks of `tests/fixtures/format-<version>`, which every later version must open (`tests/old_formats.rs`).
//!
//! `cargo run -p nbdgate-s3 --example format_fixture -- DIRECTORY` writes them into a new directory. Run it once for a new
//! format version and never again: a fixture is what an old version wrote.

use std::{error::Error, path::PathBuf, sync::Arc, time::Duration};

use nbdgate_api::{ByteRange, wait};
use nbdgate_s3::{
    CreateOptions, Disk, Location, NoProgress, OpenOptions, Tuning,
    transfer::{RawSource, Source, import},
};

const BLOCK: u64 = 4096;

/// Bytes of each disk.
const SIZE: u64 = 8 << 20;

/// A block of the fixture: text that says which one it is, over and over.
fn block(number: u64, round: u64) -> Vec<u8> {
    let text = format!("block {number} round {round}. ");
    text.bytes().cycle().take(usize::try_from(BLOCK).expect("4096")).collect()
}

fn write(disk: &Disk, first: u64, count: u64, round: u64) -> Result<(), nbdgate_s3::Error> {
    let bytes: Vec<u8> = (first..first + count).flat_map(|number| block(number, round)).collect();
    wait::write(disk, first * BLOCK, bytes)?;
    wait::flush(disk)
}

/// What both written disks hold: blocks 0 to 99 of round 1, of them 10 to 19 of round 2, and 40 to 59 trimmed; 2000 of
/// round 3.
fn fill(disk: &Disk) -> Result<(), nbdgate_s3::Error> {
    write(disk, 0, 100, 1)?;
    write(disk, 10, 10, 2)?;
    let range = ByteRange::between(40 * BLOCK, 60 * BLOCK);
    wait::call(disk, nbdgate_api::Op::Trim { range, fua: true }).outcome?;
    write(disk, 2000, 1, 3)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(std::env::args().nth(1).ok_or("give the directory to make")?);
    std::fs::create_dir(&directory)?;
    let directory = directory.canonicalize()?;
    let root = format!("dir:{}", directory.display());
    let tuning = Tuning { upload_delay: Duration::from_mins(1), ..Tuning::default() };
    let options = OpenOptions { tuning, host: Some("fixture".to_owned()), ..OpenOptions::default() };
    for name in ["clean", "crashed"] {
        let location: Location = format!("{root}/{name}").parse()?;
        nbdgate_s3::create(&location, &CreateOptions { size: SIZE, ..CreateOptions::default() }).await?;
        let disk = nbdgate_s3::open(&location, options.clone()).await?;
        let disk = tokio::task::spawn_blocking(move || fill(&disk).map(|()| disk)).await??;
        if name == "clean" {
            disk.shutdown().await?;
        }
    }
    let image = directory.join("image");
    let bytes: Vec<u8> = (0..2048).flat_map(|n| if n % 512 < 64 { block(n, 4) } else { vec![0; 4096] }).collect();
    std::fs::write(&image, bytes)?;
    let source: Arc<dyn Source> = Arc::new(RawSource::open(&image)?);
    let location: Location = format!("{root}/imported").parse()?;
    import(&source, &location, &CreateOptions::default(), &NoProgress, &options).await?;
    std::fs::remove_file(&image)?;
    Ok(())
}
