//! Random requests against a byte array, on every kind of thread, buffered and direct, sparse and full.

use bytes::Bytes;
use nbdgate_api::{Backend, ByteRange, Extent, Kind, Op, Payload, Zeroes, wait};
use nbdgate_file::{FileDisk, OpenOptions};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::support::{Place, Placed, Submitter, submitters};

const SIZE: usize = 1 << 20;

/// What a disk should hold.
struct Model {
    bytes: Vec<u8>,
    block: u64,
    random: StdRng,
}

impl Model {
    fn new(bytes: Vec<u8>, block: u32, seed: u64) -> Self {
        println!("seed {seed}");
        Self { bytes, block: u64::from(block), random: StdRng::seed_from_u64(seed) }
    }

    fn range(&mut self, longest: u64) -> ByteRange {
        let blocks = self.bytes.len() as u64 / self.block;
        let start = self.random.random_range(0..blocks);
        let length = self.random.random_range(1..=(longest / self.block).max(1).min(blocks - start));
        ByteRange::new(start * self.block, length * self.block).unwrap()
    }

    fn slice(&mut self, range: ByteRange) -> &mut [u8] {
        &mut self.bytes[usize::try_from(range.offset()).unwrap()..usize::try_from(range.end()).unwrap()]
    }

    fn write(&mut self, disk: &dyn Backend) {
        let (range, fua) = (self.range(200_000), self.random.random_ratio(1, 8));
        let byte = self.random.random_range(1..=255);
        self.slice(range).fill(byte);
        let bytes = Bytes::from(self.slice(range).to_vec());
        let cut = self.random.random_range(0..=bytes.len());
        let mut payload = Payload::from(bytes.slice(..cut));
        payload.push(bytes.slice(cut..));
        wait::call(disk, Op::Write { offset: range.offset(), payload, fua }).outcome.unwrap();
    }

    fn zero(&mut self, disk: &dyn Backend) {
        let (range, fua) = (self.range(SIZE as u64), self.random.random_ratio(1, 8));
        let zeroes = Zeroes { no_hole: self.random.random(), fast: self.random.random_ratio(1, 4) };
        let trim = self.random.random_ratio(1, 2) && disk.info().capabilities.trim;
        let op = if trim { Op::Trim { range, fua } } else { Op::WriteZeroes { range, zeroes, fua } };
        match wait::call(disk, op).outcome {
            Ok(()) => self.slice(range).fill(0),
            Err(error) => assert!(zeroes.fast && !trim && error.kind() == Kind::NotSupported, "{}", error.chain()),
        }
    }

    fn check(&mut self, disk: &dyn Backend) {
        let range = self.range(300_000);
        let read = wait::read(disk, range).unwrap();
        assert!(read == self.slice(range), "content of {range}");
    }

    fn check_extents(&mut self, disk: &dyn Backend) {
        let range = self.range(SIZE as u64);
        let extents = wait::extents(disk, range).unwrap();
        for Extent { range, kind } in extents {
            assert!(!kind.reads_zero() || self.slice(range).iter().all(|byte| *byte == 0), "{kind:?} at {range}");
        }
    }

    fn run(&mut self, disk: &dyn Backend, steps: u32) {
        for _ in 0..steps {
            match self.random.random_range(0..10) {
                0..4 => self.write(disk),
                4..6 => self.zero(disk),
                6..8 => self.check(disk),
                8 => self.check_extents(disk),
                _ => wait::flush(disk).unwrap(),
            }
        }
    }
}

fn on_every_thread(content: &[u8], options: OpenOptions, sparse: bool) {
    for (seed, submitter) in submitters().into_iter().enumerate() {
        println!("{submitter:?}, {options:?}");
        let place = Place::new();
        let path = if sparse { place.sparse(content.len() as u64) } else { place.full(content.len(), content[0]) };
        let disk = Placed::new(FileDisk::open(&path, options).unwrap(), submitter);
        let mut model = Model::new(content.to_vec(), disk.info().block.minimum, seed as u64);
        model.run(&disk, 300);
        disk.close().unwrap();
        drop(disk);
        assert!(std::fs::read(&path).unwrap() == model.bytes, "the file holds what was written");
        // A second life of the same image has a cache that knows nothing.
        let disk = Placed::new(FileDisk::open(&path, options).unwrap(), submitter);
        model.run(&disk, 100);
        disk.close().unwrap();
    }
}

#[test]
fn a_sparse_image_holds_what_was_written() {
    on_every_thread(&vec![0; SIZE], OpenOptions::default(), true);
}

#[test]
fn a_full_image_holds_what_was_written() {
    on_every_thread(&vec![0x5A; SIZE], OpenOptions::default(), false);
}

#[test]
fn a_sparse_image_holds_what_was_written_past_the_page_cache() {
    on_every_thread(&vec![0; SIZE], OpenOptions { direct: true, ..OpenOptions::default() }, true);
}

#[test]
fn a_full_image_holds_what_was_written_past_the_page_cache() {
    on_every_thread(&vec![0x5A; SIZE], OpenOptions { direct: true, ..OpenOptions::default() }, false);
}

#[test]
fn sizes_need_not_be_multiples_of_anything() {
    for size in [1, 511, 513, 4097, 100_001] {
        on_every_thread(&vec![0; size], OpenOptions::default(), true);
        on_every_thread(&vec![7; size], OpenOptions::default(), false);
    }
}

/// Each thread owns every fourth block of 4 KiB and checks it while its neighbours change theirs.
#[test]
fn neighbours_do_not_disturb_each_other() {
    const THREADS: u64 = 4;
    const BLOCK: usize = 4096;
    for submitter in submitters() {
        let place = Place::new();
        let disk = Placed::new(FileDisk::open(place.sparse(64 << 20), OpenOptions::default()).unwrap(), submitter);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let disk = &disk;
                scope.spawn(move || {
                    println!("seed {thread}");
                    let mut random = StdRng::seed_from_u64(thread);
                    for _ in 0..400 {
                        let block = random.random_range(0..(64 << 20) / BLOCK as u64 / THREADS) * THREADS + thread;
                        let range = ByteRange::new(block * BLOCK as u64, BLOCK as u64).unwrap();
                        let byte = random.random_range(0..=255_u8);
                        if byte < 100 {
                            wait::call(disk, Op::Trim { range, fua: false }).outcome.unwrap();
                            assert!(wait::read(disk, range).unwrap() == [0; BLOCK]);
                        } else {
                            wait::write(disk, range.offset(), vec![byte; BLOCK]).unwrap();
                            assert!(wait::read(disk, range).unwrap() == [byte; BLOCK]);
                        }
                    }
                });
            }
        });
        disk.close().unwrap();
    }
}

#[test]
fn many_requests_in_flight_all_end() {
    for submitter in submitters() {
        let place = Place::new();
        let disk = Placed::new(FileDisk::open(place.full(SIZE, 3), OpenOptions::default()).unwrap(), submitter);
        let pending: Vec<_> = (0..1000_u64)
            .map(|number| match number % 4 {
                0 => Op::Flush,
                1 => Op::Cache(ByteRange::new(0, SIZE as u64).unwrap()),
                2 => Op::BlockStatus { range: ByteRange::new(0, SIZE as u64).unwrap(), req_one: false },
                _ => Op::Read(ByteRange::new(number * 512, 70_000).unwrap()),
            })
            .map(|op| wait::submit(&disk, op))
            .collect();
        for request in pending {
            request.wait().outcome.unwrap();
        }
        disk.close().unwrap();
        assert_eq!(wait::flush(&disk).unwrap_err().kind(), Kind::Shutdown);
    }
    assert!(submitters().contains(&Submitter::Plain));
}
