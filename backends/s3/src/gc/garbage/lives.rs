//! Lives of a disk by seed: writes, checkpoints, snapshots that come and go, crashes before and after a publish,
//! deletions and sweeps, on real tables and packs. After every step each published root must find all that it refers to;
//! in the end nothing may be left over. Two mutants show that the oracle sees: one deletes before it publishes, one forgets
//! the snapshots.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    checkpoint::{CheckpointSpec, Loader, Position, encode, freeze},
    format::{Epoch, FormatError, Lba, Nonce, PackName, RootLocator, Sealing, SegmentAddress, Seq, Writer},
    map::{PAGE_BLOCKS, PagedMap, Run, SegmentKind, SegmentName},
};

const VOLUME: VolumeId = VolumeId(uuid::Uuid::from_u128(7));
const BLOCKS: u64 = 4 * PAGE_BLOCKS as u64;
const SEGMENT: u32 = 700;
const DELAY: Millis = 30;

#[derive(Clone, Copy, PartialEq)]
enum Mutant {
    None,
    DeletesBeforeItPublishes,
    ForgetsSnapshots,
}

struct Life {
    mutant: Mutant,
    random: StdRng,
    now: Millis,
    map: PagedMap,
    segments: SegmentTable,
    root: RootState,
    garbage: Garbage,
    locator: Option<RootLocator>,
    snapshots: BTreeMap<CheckpointNo, RootLocator>,
    bucket: BTreeMap<ObjectName, Bytes>,
    epoch: u32,
    next: u64,
}

impl Life {
    fn new(seed: u64, mutant: Mutant) -> Self {
        Self {
            mutant,
            random: StdRng::seed_from_u64(seed),
            now: 0,
            map: PagedMap::new(BLOCKS),
            segments: SegmentTable::new(),
            root: RootState::empty(),
            garbage: Garbage::new(VOLUME),
            locator: None,
            snapshots: BTreeMap::new(),
            bucket: BTreeMap::new(),
            epoch: 1,
            next: 0,
        }
    }

    fn writer(&self) -> Writer {
        Writer { epoch: Epoch(self.epoch), nonce: Nonce(9) }
    }

    fn write(&mut self) {
        self.next += 1;
        let name = SegmentName { kind: SegmentKind::Log, owner: 0, writer: self.writer(), number: self.next };
        self.bucket.insert(name.object(), Bytes::new());
        let birth = CheckpointNo(self.root.checkpoint().0 + 1);
        let entry = SegmentEntry { name, lblocks: SEGMENT, live: 0, stored_bytes: 1000, birth };
        let segment = self.segments.insert(entry);
        let lba = Lba(self.random.random_range(0..BLOCKS - u64::from(SEGMENT)));
        let Self { map, segments, .. } = self;
        let run = Run { lba, address: SegmentAddress { segment, lblk: 0 }, nblocks: SEGMENT };
        map.update(run, |old| _ = segments.sub_live(old.address.segment, old.nblocks));
        segments.add_live(segment, SEGMENT);
    }

    fn checkpoint(&mut self, publish: bool) -> Result<(), FormatError> {
        for key in self.garbage.to_drop() {
            match key {
                DeferredObject::Segment(id) => _ = self.segments.remove(id),
                DeferredObject::Pack(no) => self.root.forget_pack(no),
            }
            self.garbage.dropped(key);
        }
        let checkpoint = CheckpointNo(self.root.checkpoint().0 + 1);
        let corpses = self.garbage.corpses(&self.segments, None, checkpoint);
        let frozen = freeze(&self.root, &mut self.map, &mut self.segments);
        self.next += 1;
        let spec = CheckpointSpec {
            volume: VOLUME,
            writer: self.writer(),
            first_pack: self.next,
            checkpoint,
            position: Position { epoch: Epoch(self.epoch), seq: Seq(self.next), ..Position::default() },
            deferred: self.garbage.deferred(&corpses),
            sealing: Sealing::CLEAR,
        };
        let written = encode(&self.root, &spec, &frozen);
        for pack in written.packs {
            let mut bytes = BytesMut::new();
            pack.payload.iter().for_each(|slice| bytes.extend_from_slice(slice));
            self.bucket.insert(pack.name.object(), bytes.freeze());
        }
        if self.mutant == Mutant::DeletesBeforeItPublishes {
            for corpse in &corpses {
                self.bucket.remove(&corpse.object.name);
            }
        }
        if !publish {
            return self.restart();
        }
        self.root = written.root;
        self.locator = Some(written.locator);
        self.garbage.published(self.now, &corpses, &self.root);
        self.tell_snapshots();
        Ok(())
    }

    fn tell_snapshots(&mut self) {
        self.garbage.reconsider(self.now, self.pins());
    }

    fn pins(&self) -> Snapshots {
        let known = self.mutant != Mutant::ForgetsSnapshots;
        Snapshots::new(self.snapshots.keys().copied().filter(|_| known))
    }

    fn load(&self, locator: RootLocator, tables: bool) -> Result<Loader, FormatError> {
        let mut loader = if tables {
            Loader::tables(VOLUME, &[], locator, Sealing::CLEAR)?
        } else {
            Loader::new(VOLUME, &[], locator, Sealing::CLEAR)?
        };
        while !loader.is_done() {
            for fetch in loader.take_fetches() {
                let missing = || FormatError::corrupt("is missing").in_object(fetch.pack.object());
                let pack = self.bucket.get(&fetch.pack.object()).ok_or_else(missing)?;
                let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(pack.len());
                loader.supply(&fetch, &pack.slice(at(fetch.range.start)..at(fetch.range.end)))?;
            }
        }
        Ok(loader)
    }

    /// A new gateway: everything from the last published root, and what nothing names is swept.
    fn restart(&mut self) -> Result<(), FormatError> {
        self.epoch += 1;
        self.now = 0;
        let fresh = Self::new(0, self.mutant);
        (self.map, self.segments, self.root) = (fresh.map, fresh.segments, fresh.root);
        self.garbage = Garbage::new(VOLUME);
        let mut named = BTreeSet::new();
        if let Some(locator) = self.locator {
            let loaded = self.load(locator, false)?.finish()?;
            (self.map, self.segments, self.root) = (loaded.map, loaded.segments, loaded.root);
            self.garbage = Garbage::recovered(VOLUME, &self.root, &self.segments, self.pins());
            name_all(&mut named, &self.root, &self.segments);
        }
        self.garbage.set_delay(DELAY);
        for &locator in self.snapshots.values() {
            let (root, segments) = self.load(locator, true)?.finish_tables();
            name_all(&mut named, &root, &segments);
        }
        self.bucket.retain(|name, _| named.contains(name));
        Ok(())
    }

    fn delete(&mut self) {
        for (key, object, _) in self.garbage.due(self.now) {
            self.bucket.remove(&object.name);
            self.garbage.gone(key);
        }
    }

    /// Whether everything that a published root refers to is there.
    fn audit(&self) -> Result<(), FormatError> {
        for &locator in self.locator.iter().chain(self.snapshots.values()) {
            let loaded = self.load(locator, false)?.finish()?;
            for (_, entry) in loaded.segments.iter().filter(|(_, entry)| entry.live > 0) {
                if !self.bucket.contains_key(&entry.name.object()) {
                    return Err(FormatError::corrupt("is missing").in_object(entry.name.object()));
                }
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), FormatError> {
        self.now += self.random.random_range(0..20);
        match self.random.random_range(0..100) {
            0..55 => self.write(),
            55..80 => self.checkpoint(true)?,
            80..84 => self.checkpoint(false)?,
            84..87 => self.restart()?,
            87..94 => {
                if let Some(locator) = self.locator {
                    self.snapshots.insert(locator.checkpoint, locator);
                    self.tell_snapshots();
                }
            }
            _ => {
                let at = self.random.random_range(0..self.snapshots.len().max(1));
                if let Some(&gone) = self.snapshots.keys().nth(at) {
                    self.snapshots.remove(&gone);
                    self.tell_snapshots();
                }
            }
        }
        self.delete();
        self.audit()
    }

    fn live(seed: u64, mutant: Mutant) -> Result<(), FormatError> {
        let mut life = Self::new(seed, mutant);
        life.garbage.set_delay(DELAY);
        for _ in 0..60 {
            life.step()?;
        }
        // All snapshots go, and what they held back.
        life.snapshots.clear();
        for _ in 0..4 {
            life.checkpoint(true)?;
            life.now += DELAY;
            life.delete();
            life.audit()?;
        }
        let mut in_use: BTreeSet<ObjectName> =
            life.segments.iter().filter(|(_, entry)| entry.live > 0).map(|(_, entry)| entry.name.object()).collect();
        let packs = life.root.packs().filter(|(no, _)| life.root.dead_packs().all(|(dead, _)| dead != *no));
        in_use.extend(packs.map(|(_, pack)| pack_of(pack).object()));
        // The list of the dead is itself in a pack: what died by its writing is noted by the next checkpoint.
        let left: Vec<_> = life.bucket.keys().filter(|name| !in_use.contains(name)).collect();
        assert!(left.len() <= 2 && left.iter().all(|name| matches!(name, ObjectName::Pack { .. })), "{seed}: {left:?}");
        Ok(())
    }
}

fn pack_of(entry: &PackEntry) -> PackName {
    PackName { volume: VOLUME, writer: entry.writer, number: entry.number }
}

fn name_all(named: &mut BTreeSet<ObjectName>, root: &RootState, segments: &SegmentTable) {
    named.extend(root.packs().map(|(_, pack)| pack_of(pack).object()));
    named.extend(segments.iter().map(|(_, entry)| entry.name.object()));
}

#[test]
fn whatever_happens_every_root_finds_what_it_refers_to_and_nothing_is_left_over() {
    for seed in 0..60 {
        Life::live(seed, Mutant::None).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn deleting_before_the_publish_is_seen_by_the_oracle() {
    let caught = (0..20).filter(|&seed| Life::live(seed, Mutant::DeletesBeforeItPublishes).is_err()).count();
    assert!(caught > 5, "{caught} of 20");
}

#[test]
fn deleting_what_a_snapshot_needs_is_seen_by_the_oracle() {
    let caught = (0..20).filter(|&seed| Life::live(seed, Mutant::ForgetsSnapshots).is_err()).count();
    assert!(caught > 5, "{caught} of 20");
}
