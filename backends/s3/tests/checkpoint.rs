//! Checkpoints: random histories written incrementally and read back, and packs damaged in every byte.

#![expect(clippy::cast_possible_truncation, reason = "test data is small")]

use bytes::{Bytes, BytesMut};
use nbdgate_s3::checkpoint::{
    BlobEntry, BlobType, Checkpoint, CheckpointSpec, Deferred, DeferredObject, Loaded, Loader, PackIndex, PackNo,
    Position, Recount, RootState, encode, freeze,
};
use nbdgate_s3::format::{
    BlockRange, CheckpointNo, Epoch, FormatError, Head, Lba, Nonce, PackName, RootLocator, Sealing, SegId,
    SegmentAddress, Seq, VolumeId, Writer, Wseq,
};
use nbdgate_s3::map::{PagedMap, Run, SegmentEntry, SegmentKind, SegmentName, SegmentTable, Span};
use proptest::prelude::*;
use std::collections::HashMap;
use uuid::Uuid;

const VOLUME: VolumeId = VolumeId(Uuid::from_u128(0x77));
const WRITER: Writer = Writer { epoch: Epoch(2), nonce: Nonce(0xfeed) };
const LBLOCKS: u32 = 6000;

/// A volume and the bucket its packs go to.
struct World {
    map: PagedMap,
    segments: SegmentTable,
    root: RootState,
    locator: Option<RootLocator>,
    bucket: HashMap<PackName, Bytes>,
    next_pack: u64,
    next_segment: u64,
    deferred: Vec<Deferred>,
}

impl World {
    fn new(blocks: u64) -> Self {
        Self {
            map: PagedMap::new(blocks),
            segments: SegmentTable::new(),
            root: RootState::empty(),
            locator: None,
            bucket: HashMap::new(),
            next_pack: 0,
            next_segment: 0,
            deferred: Vec::new(),
        }
    }

    fn segment(&mut self) -> SegId {
        self.next_segment += 1;
        let name = SegmentName { kind: SegmentKind::Log, owner: 0, writer: WRITER, number: self.next_segment };
        let birth = CheckpointNo(self.root.checkpoint().0 + 1);
        self.segments.insert(SegmentEntry { name, lblocks: LBLOCKS, live: 0, stored_bytes: 9000, birth })
    }

    fn write(&mut self, start: u64, nblocks: u32) {
        let segment = self.segment();
        let lblk = (start as u32).wrapping_mul(7) % (LBLOCKS - nblocks);
        let run = Run { lba: Lba(start), address: SegmentAddress { segment, lblk }, nblocks };
        let Self { map, segments, .. } = self;
        map.update(run, |old| _ = segments.sub_live(old.address.segment, old.nblocks));
        segments.add_live(segment, nblocks);
    }

    fn zero(&mut self, start: u64, nblocks: u64) {
        let Self { map, segments, .. } = self;
        let range = BlockRange::new(Lba(start), nblocks);
        map.zero(range, |old| _ = segments.sub_live(old.address.segment, old.nblocks));
    }

    fn checkpoint(&mut self) -> Checkpoint {
        let number = CheckpointNo(self.root.checkpoint().0 + 1);
        let frozen = freeze(&self.root, &mut self.map, &mut self.segments);
        let spec = CheckpointSpec {
            volume: VOLUME,
            writer: WRITER,
            first_pack: self.next_pack,
            checkpoint: number,
            position: Position { epoch: WRITER.epoch, seq: Seq(self.next_segment), wseq: Wseq(self.next_segment) },
            deferred: self.deferred.clone(),
            sealing: Sealing::CLEAR,
        };
        let checkpoint = encode(&self.root, &spec, &frozen);
        self.next_pack += checkpoint.packs.len() as u64;
        for pack in &checkpoint.packs {
            let mut bytes = BytesMut::new();
            pack.payload.iter().for_each(|slice| bytes.extend_from_slice(slice));
            assert!(self.bucket.insert(pack.name, bytes.freeze()).is_none(), "a pack is written once");
        }
        self.root = checkpoint.root.clone();
        self.locator = Some(checkpoint.locator);
        checkpoint
    }

    fn load(&self) -> Result<Loaded, FormatError> {
        load(&self.bucket, VOLUME, &[], self.locator.expect("a checkpoint was taken"))
    }

    /// Deletes dead packs the way a collector does.
    fn collect(&mut self) {
        let dead: Vec<_> = self.root.dead_packs().map(|(no, entry)| (no, *entry)).collect();
        for (no, entry) in dead {
            let name = RootState::pack_name(&entry, |_| Some(VOLUME)).expect("every owner is known");
            assert!(self.bucket.remove(&name).is_some());
            self.root.forget_pack(no);
        }
    }
}

fn load(
    bucket: &HashMap<PackName, Bytes>,
    volume: VolumeId,
    lineage: &[VolumeId],
    locator: RootLocator,
) -> Result<Loaded, FormatError> {
    let mut loader = Loader::new(volume, lineage, locator, Sealing::CLEAR)?;
    while !loader.is_done() {
        let fetches = loader.take_fetches();
        assert!(!fetches.is_empty(), "a loader that is not done asks for something");
        for fetch in fetches {
            let object = &bucket[&fetch.pack];
            let end = (fetch.range.end as usize).min(object.len());
            let start = (fetch.range.start as usize).min(end);
            loader.supply(&fetch, &object.slice(start..end))?;
        }
    }
    loader.finish()
}

fn spans(map: &PagedMap) -> Vec<Span> {
    map.lookup(BlockRange::new(Lba(0), map.blocks())).collect()
}

fn entries(segments: &SegmentTable) -> Vec<(SegId, SegmentEntry)> {
    segments.iter().map(|(id, entry)| (id, *entry)).collect()
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Write(u64, u32),
    Zero(u64, u64),
    Checkpoint,
    Collect,
    Reopen,
}

const BLOCKS: u64 = 20 * 1024 + 17;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..BLOCKS, 1_u32..300).prop_map(|(at, n)| Step::Write(at, n.min((BLOCKS - at) as u32))),
        3 => (0..64_u64, 1_u32..3).prop_map(|(at, n)| Step::Write(at * 3, n)),
        1 => (0..BLOCKS, 1_u64..5000).prop_map(|(at, n)| Step::Zero(at, n.min(BLOCKS - at))),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Collect),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_generation_reads_back(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::new(BLOCKS);
        for step in steps.into_iter().chain([Step::Checkpoint]) {
            match step {
                Step::Write(at, n) => world.write(at, n),
                Step::Zero(at, n) => world.zero(at, n),
                Step::Checkpoint => {
                    world.checkpoint();
                    let loaded = world.load().unwrap();
                    prop_assert_eq!(spans(&loaded.map), spans(&world.map));
                    prop_assert_eq!(entries(&loaded.segments), entries(&world.segments));
                    prop_assert_eq!(&loaded.root, &world.root);
                    prop_assert_eq!(loaded.recounts, []);
                    prop_assert_eq!(loaded.map.dirty_count(), 0);
                }
                // The table still names a pack that was collected after the last root; only a new root forgets it.
                Step::Collect if world.locator.is_some() => world.collect(),
                Step::Reopen if world.map.dirty_count() == 0 && world.locator.is_some() => {
                    let loaded = world.load().unwrap();
                    world.map = loaded.map;
                    world.segments = loaded.segments;
                    let forgotten = world.root.clone();
                    world.root = loaded.root;
                    let gone: Vec<_> = world.root.dead_packs().map(|(no, _)| no).collect();
                    for no in gone {
                        if forgotten.packs().all(|(kept, _)| kept != no) {
                            world.root.forget_pack(no);
                        }
                    }
                }
                Step::Collect | Step::Reopen => {}
            }
        }
    }
}

fn small() -> World {
    let mut world = World::new(3000);
    world.write(0, 10);
    world.write(100, 5);
    world.checkpoint();
    world.write(2000, 900);
    world.zero(3, 2);
    world.checkpoint();
    world
}

#[test]
fn every_flipped_byte_is_noticed_or_harmless() {
    let world = small();
    let good = world.load().unwrap();
    let mut noticed = 0;
    let mut total = 0;
    for (name, object) in &world.bucket {
        for at in 0..object.len() {
            let mut bytes = object.to_vec();
            bytes[at] ^= 0x04;
            let mut bucket = world.bucket.clone();
            bucket.insert(*name, bytes.into());
            total += 1;
            match load(&bucket, VOLUME, &[], world.locator.unwrap()) {
                Err(_) => noticed += 1,
                Ok(loaded) => {
                    assert_eq!(spans(&loaded.map), spans(&good.map), "{name:?} byte {at}");
                    assert_eq!(entries(&loaded.segments), entries(&good.segments), "{name:?} byte {at}");
                }
            }
        }
    }
    // Harmless is only what nothing refers to any more.
    assert!(noticed * 2 > total, "{noticed} of {total}");
}

#[test]
fn a_cut_pack_is_refused() {
    let world = small();
    let name = world.locator.unwrap().pack;
    for len in 0..world.bucket[&name].len() {
        let mut bucket = world.bucket.clone();
        bucket.insert(name, bucket[&name].slice(..len));
        assert!(load(&bucket, VOLUME, &[], world.locator.unwrap()).is_err(), "cut to {len}");
    }
}

#[test]
fn an_untouched_page_is_not_written_again() {
    let mut world = World::new(1 << 20);
    for page in 0..1000 {
        for extent in 0..20 {
            world.write(page * 1024 + extent * 50, 1);
        }
    }
    let first: usize = bytes_of(&world.checkpoint());
    world.write(5, 1);
    let second: usize = bytes_of(&world.checkpoint());
    assert!(second * 4 < first, "{second} bytes after {first}");
}

fn bytes_of(checkpoint: &Checkpoint) -> usize {
    checkpoint.packs.iter().flat_map(|pack| &pack.payload).map(Bytes::len).sum()
}

#[test]
fn dead_packs_are_found_and_the_pack_count_stays_bounded() {
    let mut world = World::new(1 << 18);
    for round in 0..300 {
        world.write(round % 200 * 1024, 3);
        world.checkpoint();
        world.collect();
        let packs = world.root.packs().count();
        assert!(packs <= 70, "{packs} packs after round {round}");
        assert!(world.bucket.len() <= 70);
    }
    assert_eq!(spans(&world.load().unwrap().map), spans(&world.map));
}

#[test]
fn a_failed_checkpoint_is_repeated_in_the_next() {
    let mut world = World::new(4096);
    world.write(0, 10);
    let frozen = freeze(&world.root, &mut world.map, &mut world.segments);
    assert_eq!((world.map.dirty_count(), frozen.page_count()), (0, 1));
    frozen.thaw(&mut world.map, &mut world.segments);
    world.checkpoint();
    assert_eq!(spans(&world.load().unwrap().map), spans(&world.map));
}

#[test]
fn a_large_map_spans_the_head_and_reads_back() {
    let mut world = World::new(1 << 22);
    for at in 0..60_000_u64 {
        world.write(at.wrapping_mul(0x9e37_79b9) % (1 << 22), 1);
    }
    world.checkpoint();
    assert!(world.bucket.values().any(|object| object.len() > 256 << 10), "more than one head");
    let loaded = world.load().unwrap();
    assert_eq!(spans(&loaded.map), spans(&world.map));
    assert_eq!(loaded.root, world.root);
}

#[test]
fn a_clone_reads_its_ancestors_root_and_writes_its_own() {
    let mut parent = World::new(4096);
    parent.write(7, 9);
    parent.checkpoint();
    let child = VolumeId(Uuid::from_u128(0x88));
    let mut loaded = load(&parent.bucket, child, &[VOLUME], parent.locator.unwrap()).unwrap();
    assert!(loaded.segments.iter().all(|(_, entry)| entry.name.owner == 1));
    let frozen = freeze(&loaded.root, &mut loaded.map, &mut loaded.segments);
    let spec = CheckpointSpec {
        volume: child,
        writer: WRITER,
        first_pack: 0,
        checkpoint: CheckpointNo(2),
        position: Position::default(),
        deferred: Vec::new(),
        sealing: Sealing::CLEAR,
    };
    let checkpoint = encode(&loaded.root, &spec, &frozen);
    let mut bucket = parent.bucket.clone();
    for pack in &checkpoint.packs {
        bucket.insert(pack.name, pack.payload.concat().into());
    }
    let again = load(&bucket, child, &[VOLUME], checkpoint.locator).unwrap();
    assert_eq!(spans(&again.map), spans(&parent.map));
    assert!(again.segments.iter().all(|(_, entry)| entry.name.owner == 1));
    assert!(load(&bucket, child, &[], parent.locator.unwrap()).is_err(), "no ancestor of that name");
}

#[test]
fn an_empty_volume_has_a_root() {
    let mut world = World::new(1 << 28);
    let checkpoint = world.checkpoint();
    assert_eq!(checkpoint.packs.len(), 1);
    let loaded = world.load().unwrap();
    assert_eq!(loaded.map.blocks(), 1 << 28);
    assert_eq!(spans(&loaded.map).len(), 1);
}

/// The format is a promise to every bucket written so far: a change here is a new format version.
#[test]
fn the_golden_pack_is_read_and_its_blobs_are_written_the_same() {
    let mut world = World::new(3000);
    let segment = world.segment();
    let run = Run { lba: Lba(0), address: SegmentAddress { segment, lblk: 0 }, nblocks: 10 };
    world.map.update(run, |_| ());
    world.segments.add_live(segment, 10);
    let written = world.checkpoint();

    let golden = golden_pack();
    let name = written.locator.pack;
    let index = PackIndex::parse(name, &golden, &Sealing::CLEAR).unwrap();
    let ours = PackIndex::parse(name, &world.bucket[&name], &Sealing::CLEAR).unwrap();
    let root = index.entries().last().unwrap();
    let small = index.entries().len() - 1;
    assert_eq!(index.entries()[..small], ours.entries()[..small], "PAGE, DIR, SEGTAB and PACKTAB are the same");
    let root_range = ours.range(ours.entries().last().unwrap());
    let stored = world.bucket[&name].slice(root_range.start as usize..root_range.end as usize);
    let ours_root = ours.decode(ours.entries().last().unwrap(), &stored).unwrap();
    assert_eq!(ours_root, golden.slice(golden.len() - root.len as usize..), "and so is ROOT, uncompressed");

    let locator = RootLocator { offset: root.offset, len: root.len, crc: root.crc, ..written.locator };
    let loaded = load(&HashMap::from([(name, golden)]), VOLUME, &[], locator).unwrap();
    assert_eq!(spans(&loaded.map), spans(&world.map));
    assert_eq!(loaded.root, world.root);
}

fn golden_pack() -> Bytes {
    let pairs = include_str!("golden/pack.hex").lines().flat_map(|line| line.as_bytes().chunks(2));
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex");
    pairs.map(byte).collect()
}

/// The golden pack with one byte of one blob changed and every crc above it made right again.
fn forge(kind: BlobType, at: usize, value: u8) -> (HashMap<PackName, Bytes>, RootLocator) {
    let name = PackName { volume: VOLUME, writer: WRITER, number: 0 };
    let golden = golden_pack();
    let index = PackIndex::parse(name, &golden, &Sealing::CLEAR).expect("the golden pack is sound");
    let head = Head::parse(&name.object().expected(VOLUME), &golden).expect("the golden pack is sound");
    let mut body = golden.slice(head.prelude.body_offset() as usize..).to_vec();
    let mut meta = head.meta.to_vec();
    let entries = index.entries();
    let range = |entry: &BlobEntry| entry.offset as usize..(entry.offset + entry.len) as usize;
    let changed = entries.iter().position(|entry| entry.kind == kind).expect("one of each kind");
    let blob = &mut body[range(&entries[changed])];
    blob[at % entries[changed].len as usize] = value;
    let crc = crc32c::crc32c(blob);
    let root = entries.last().expect("it has a root");
    if kind != BlobType::Root {
        // The locator in ROOT says the old crc.
        let old = entries[changed].crc.to_le_bytes();
        let blob = &mut body[range(root)];
        for at in 0..blob.len() - 3 {
            if blob[at..at + 4] == old {
                blob[at..at + 4].copy_from_slice(&crc.to_le_bytes());
            }
        }
    }
    let root_crc = crc32c::crc32c(&body[range(root)]);
    let crc_at = |entry: usize| 4 + entry * 28 + 24;
    meta[crc_at(changed)..crc_at(changed) + 4].copy_from_slice(&crc.to_le_bytes());
    let last = entries.len() - 1;
    meta[crc_at(last)..crc_at(last) + 4].copy_from_slice(&root_crc.to_le_bytes());
    let (_, forged) = Head::encode(head.prelude.place, &meta, body.len() as u64);
    let locator =
        RootLocator { pack: name, offset: root.offset, len: root.len, crc: root_crc, checkpoint: CheckpointNo(1) };
    (HashMap::from([(name, [&forged[..], &body[..]].concat().into())]), locator)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Crcs keep out chance, not a writer with a bug: whatever it wrote is refused or is a volume that works.
    #[test]
    fn a_forged_blob_is_refused_or_works(kind in 0_usize..5, at in 0_usize..200, value: u8) {
        let kinds = [BlobType::Page, BlobType::Dir, BlobType::SegTab, BlobType::PackTab, BlobType::Root];
        let (bucket, locator) = forge(kinds[kind], at, value);
        if let Ok(loaded) = load(&bucket, VOLUME, &[], locator) {
            let Loaded { root, map, segments, .. } = loaded;
            let mut world = World { root, map, segments, bucket, next_pack: 1, next_segment: 1 << 60, ..World::new(0) };
            world.zero(0, world.map.blocks());
            world.checkpoint();
            let again = world.load().unwrap();
            prop_assert_eq!(spans(&again.map), spans(&world.map));
        }
    }
}

#[test]
fn deferred_deletes_come_back() {
    let mut world = small();
    let (birth, death) = (CheckpointNo(1), CheckpointNo(3));
    world.deferred = vec![
        Deferred { object: DeferredObject::Segment(SegId(1)), birth, death },
        Deferred { object: DeferredObject::Pack(PackNo(2)), birth, death },
    ];
    world.checkpoint();
    // Packs that died with a checkpoint are added to what was given.
    let deferred = |world: &World| world.load().unwrap().root.deferred().to_vec();
    assert!(deferred(&world).starts_with(&world.deferred));
    let packs = &deferred(&world)[2..];
    assert_eq!(packs.iter().map(|pack| pack.object).collect::<Vec<_>>(), [DeferredObject::Pack(PackNo(1))]);
    world.checkpoint();
    assert!(deferred(&world).starts_with(&world.deferred), "and stay when unchanged");
    world.deferred.clear();
    world.checkpoint();
    assert!(deferred(&world).iter().all(|left| matches!(left.object, DeferredObject::Pack(_))));
}

#[test]
fn a_large_checkpoint_is_split_into_packs() {
    let pages = 70_000_u64;
    let mut world = World::new(pages * 1024);
    let segment = world.segment();
    for page in 0..pages {
        let run = Run { lba: Lba(page * 1024), address: SegmentAddress { segment, lblk: 0 }, nblocks: 1 };
        world.map.update(run, |_| ());
    }
    assert_eq!(world.checkpoint().packs.len(), 2);
    let loaded = world.load().unwrap();
    assert_eq!(spans(&loaded.map), spans(&world.map));
    let recount = Recount { segment, recorded: 0, counted: 70_000 };
    assert_eq!(loaded.recounts, [recount], "the live counter was never raised");
    assert_eq!(loaded.segments.get(segment).unwrap().live, 70_000);
}
