//! Import and export: byte for byte, holes kept both ways, and nothing half done.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    sync::{Arc, Mutex},
};

use nbdgate_api::{Backend, ByteRange};
use nbdgate_s3::{
    CreateOptions, Location, NoProgress, OpenOptions, Progress,
    transfer::{ExportOptions, ImportReport, RawSink, RawSource, Sink, Source, export, import},
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    ask::{flush, read, write},
    history::seeds,
    setup::{BLOCK, at, create, memory, noise, open, options},
    sim_store::{Bucket, Faults},
};

const MIB: u64 = 1 << 20;

/// A raw image with data and holes by seed.
fn image(path: &Path, size: u64, seed: u64) -> Vec<u8> {
    let file = File::create_new(path).unwrap();
    file.set_len(size).unwrap();
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..12 {
        let length = random.random_range(1..400_000).min(size);
        let offset = random.random_range(0..=size - length);
        let bytes =
            if random.random_bool(0.2) { vec![0; usize::try_from(length).unwrap()] } else { noise(seed, length) };
        file.write_all_at(&bytes, offset).unwrap();
    }
    std::fs::read(path).unwrap()
}

async fn bring_in(path: &Path, location: &Location) -> Result<ImportReport, nbdgate_s3::Error> {
    let source: Arc<dyn Source> = Arc::new(RawSource::open(path).unwrap());
    import(&source, location, &CreateOptions::default(), &NoProgress, &options()).await
}

async fn take_out(location: &Location, path: &Path) -> Result<(), nbdgate_s3::Error> {
    let sink: Arc<dyn Sink> = Arc::new(RawSink::create(path).unwrap());
    export(location, &ExportOptions::default(), &sink, &NoProgress, &options()).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_imported_is_exported_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    for (round, seed) in seeds(6).enumerate() {
        let size = [3 * MIB, 9 * MIB + 512, 4096, 1, 20 * MIB, 5 * MIB - 1][round % 6];
        let (raw, out) = (directory.path().join(format!("in{round}")), directory.path().join(format!("out{round}")));
        let mut expected = image(&raw, size, seed);
        let location = at(&memory());
        let report = bring_in(&raw, &location).await.unwrap();
        assert_eq!((report.size, report.padded), (size.next_multiple_of(BLOCK), size.next_multiple_of(BLOCK) - size));
        take_out(&location, &out).await.unwrap();
        expected.resize(usize::try_from(report.size).unwrap(), 0);
        assert!(std::fs::read(&out).unwrap() == expected, "seed {seed}: other bytes");
        let data = nbdgate_s3::FsckOptions { data: true };
        let checked = nbdgate_s3::fsck(&location, &data, &NoProgress, &options()).await.unwrap();
        assert!(checked.problems.is_empty(), "seed {seed}: {checked:?}");
        let disk = open(&location).await.unwrap();
        write(&disk, 0, noise(seed, BLOCK.min(report.size))).await.unwrap();
        flush(&disk).await.unwrap();
        disk.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holes_stay_holes_both_ways() {
    let directory = tempfile::tempdir().unwrap();
    let (raw, out) = (directory.path().join("in"), directory.path().join("out"));
    let file = File::create_new(&raw).unwrap();
    file.set_len(1 << 30).unwrap();
    file.write_all_at(&noise(1, 64 << 10), 512 << 20).unwrap();
    // Zeros that take space in the source take none in the disk.
    file.write_all_at(&vec![0; 8 << 20], 700 << 20).unwrap();
    file.write_all_at(&noise(2, 4096), (1 << 30) - 4096).unwrap();
    let location = at(&memory());
    let report = bring_in(&raw, &location).await.unwrap();
    assert_eq!((report.data, report.segments), ((64 << 10) + 4096, 1));
    take_out(&location, &out).await.unwrap();
    let meta = std::fs::metadata(&out).unwrap();
    assert_eq!(meta.len(), 1 << 30);
    assert!(meta.blocks() * 512 < MIB, "{} bytes are allocated", meta.blocks() * 512);
    let copy = File::open(&out).unwrap();
    let mut bytes = vec![0; 64 << 10];
    copy.read_exact_at(&mut bytes, 512 << 20).unwrap();
    assert!(bytes == noise(1, 64 << 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_was_written_takes_no_import() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("in");
    image(&raw, MIB, 1);
    let location = at(&memory());
    create(&location, 2 * MIB).await;
    bring_in(&raw, &location).await.unwrap();
    let error = bring_in(&raw, &location).await.unwrap_err();
    assert!(error.chain().contains("was written before"), "{}", error.chain());
    let small = Location::in_store(memory(), "root", "small");
    create(&small, MIB / 2).await;
    let error = bring_in(&raw, &small).await.unwrap_err();
    assert!(error.chain().contains("has 524288 bytes"), "{}", error.chain());
}

/// Fails at its n-th read.
#[derive(Debug)]
struct Failing(Vec<u8>, Mutex<u32>);

impl Source for Failing {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<ByteRange>> {
        Ok((offset < self.size()).then(|| ByteRange::between(offset, self.size())))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut left = self.1.lock().unwrap();
        if *left == 0 {
            return Err(io::Error::other("the source is gone"));
        }
        *left -= 1;
        let offset = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.0[offset..offset + buffer.len()]);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_fails_leaves_an_empty_disk_and_can_be_repeated() {
    let content = noise(3, 40 * MIB);
    let location = at(&memory());
    let failing: Arc<dyn Source> = Arc::new(Failing(content.clone(), Mutex::new(9)));
    let error = import(&failing, &location, &CreateOptions::default(), &NoProgress, &options()).await.unwrap_err();
    assert!(error.chain().contains("the source is gone"), "{}", error.chain());
    let read_only = OpenOptions { read_only: true, ..options() };
    let disk = nbdgate_s3::open(&location, read_only).await.unwrap();
    assert!(read(&disk, 0, 4 * MIB).await.unwrap().iter().all(|&byte| byte == 0));
    drop(disk);
    let sound: Arc<dyn Source> = Arc::new(Failing(content.clone(), Mutex::new(u32::MAX)));
    let told = Arc::new(Told::default());
    import(&sound, &location, &CreateOptions::default(), told.as_ref(), &options()).await.unwrap();
    assert_eq!(*told.0.lock().unwrap(), (40 * MIB, 40 * MIB));
    let disk = open(&location).await.unwrap();
    assert_eq!(disk.info().size, 40 * MIB);
    for offset in [0, 33 * MIB, 39 * MIB] {
        let at = usize::try_from(offset).unwrap();
        assert!(read(&disk, offset, MIB).await.unwrap() == content[at..at + (1 << 20)]);
    }
    disk.shutdown().await.unwrap();
}

/// Bytes to do and done.
#[derive(Debug, Default)]
struct Told(Mutex<(u64, u64)>);

impl Progress for Told {
    fn total(&self, bytes: u64) {
        self.0.lock().unwrap().0 = bytes;
    }

    fn advance(&self, bytes: u64) {
        self.0.lock().unwrap().1 += bytes;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_of_damaged_data_fails_and_says_where() {
    let bucket = Bucket::new(1);
    let location = at(&(bucket.client(Faults::default()) as Arc<dyn object_store::ObjectStore>));
    let directory = tempfile::tempdir().unwrap();
    let (raw, out) = (directory.path().join("in"), directory.path().join("out"));
    std::fs::write(&raw, noise(4, MIB)).unwrap();
    bring_in(&raw, &location).await.unwrap();
    let name = bucket.names().await.into_iter().find(|name| name.contains("/g/")).unwrap();
    bucket.damage(&name, |bytes| *bytes.last_mut().unwrap() ^= 1).await;
    let error = take_out(&location, &out).await.unwrap_err();
    assert!(error.chain().contains("/g/"), "{}", error.chain());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_not_there_is_not_the_disk() {
    let location = at(&memory());
    create(&location, MIB).await;
    let directory = tempfile::tempdir().unwrap();
    let sink: Arc<dyn Sink> = Arc::new(RawSink::create(&directory.path().join("out")).unwrap());
    let wanted = ExportOptions { snapshot: Some("monday".to_owned()) };
    let error = export(&location, &wanted, &sink, &NoProgress, &options()).await.unwrap_err();
    assert!(error.chain().contains("no snapshot monday"), "{}", error.chain());
}
