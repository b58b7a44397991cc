//! The memory of the map, by pattern.

use clap::{Args, ValueEnum};
use nbdgate_s3::{
    format::{CheckpointNo, Epoch, Lba, Nonce, SegmentAddress, Writer},
    map::{PagedMap, Run, SegmentEntry, SegmentKind, SegmentName, SegmentTable},
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};

/// Blocks of 4 KiB in a GiB.
const GIB: u64 = 1 << 18;

/// Blocks of a segment of 8 MiB.
const SEGMENT: u32 = 2048;

/// Fills a map of so many GiB.
#[derive(Debug, Args)]
pub(crate) struct Map {
    /// How the disk was written.
    #[arg(long, value_enum)]
    pattern: Pattern,
    /// Size of the disk.
    #[arg(long, default_value_t = 128)]
    gib: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Pattern {
    /// As many writes of 64 KiB as fit the disk, each at a random place: some places twice, some never.
    #[value(name = "random-64k")]
    Random64k,
    /// Every 4 KiB once, in random order within 64 GiB: no two neighbours belong together.
    #[value(name = "random-4k")]
    Random4k,
}

/// Memory that this process holds, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10
}

impl Map {
    pub(crate) fn run(&self) -> Value {
        let piece: u32 = match self.pattern {
            Pattern::Random64k => 16,
            Pattern::Random4k => 1,
        };
        let blocks = self.gib * GIB;
        let mut random = StdRng::seed_from_u64(blocks);
        // Shuffled in windows of 64 GiB, to keep the order itself small.
        let window = 64 * GIB / u64::from(piece);
        let mut order: Vec<u64> = (0..window.min(blocks / u64::from(piece))).collect();
        order.shrink_to_fit();
        let before = resident();
        let (mut map, mut segments) = (PagedMap::new(blocks), SegmentTable::new());
        let mut log = Log { segment: None, used: SEGMENT, count: 0 };
        for first in (0..blocks / u64::from(piece)).step_by(order.len()) {
            order.shuffle(&mut random);
            for &at in &order {
                let at =
                    if self.pattern == Pattern::Random64k { random.random_range(0..order.len() as u64) } else { at };
                let lba = Lba((first + at) * u64::from(piece));
                let address = log.place(&mut segments, piece);
                let mut gone = Vec::new();
                map.update(Run { lba, address, nblocks: piece }, |old| gone.push((old.address.segment, old.nblocks)));
                for (segment, nblocks) in gone {
                    segments.sub_live(segment, nblocks);
                }
                segments.add_live(address.segment, piece);
            }
        }
        let held = resident().saturating_sub(before);
        let per_tib = |bytes: u64| bytes * 1024 / self.gib;
        json!({
            "writes": blocks / u64::from(piece),
            "map_bytes_per_tib": per_tib(map.bytes() as u64),
            "resident_bytes_per_tib": per_tib(held),
        })
    }
}

/// Where the next blocks of the log go.
struct Log {
    segment: Option<nbdgate_s3::format::SegId>,
    used: u32,
    count: u64,
}

impl Log {
    fn place(&mut self, segments: &mut SegmentTable, nblocks: u32) -> SegmentAddress {
        if self.used + nblocks > SEGMENT {
            self.count += 1;
            let writer = Writer { epoch: Epoch(1), nonce: Nonce(1) };
            let name = SegmentName { kind: SegmentKind::Log, owner: 0, writer, number: self.count };
            let entry =
                SegmentEntry { name, lblocks: SEGMENT, live: 0, stored_bytes: SEGMENT << 12, birth: CheckpointNo(1) };
            self.segment = Some(segments.insert(entry));
            self.used = 0;
        }
        let segment = self.segment.expect("the first block opens a segment");
        let lblk = self.used;
        self.used += nblocks;
        SegmentAddress { segment, lblk }
    }
}
