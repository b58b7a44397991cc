//! One round of garbage collection (OBJECT-LOG §9.2): choose segments, read what is live in them, write it anew, and let
//! the map point there where nothing changed meanwhile.
//!
//! Until a checkpoint is published that names the new segments, they exist in the memory of this process only: a
//! crash leaves objects that nothing names, and a map that points to the old ones, which are still there. Nothing is
//! deleted here. Blocks that are dead are never copied, not even small gaps between live ones: their segment would
//! be younger than what overwrote them, and a rebuild from objects alone would bring them back.

mod read;
mod write;

use std::{sync::Arc, time::Duration};

use self::read::Source;
use super::Driver;
use crate::{
    Progress,
    engine::{Collected, Event, Weather},
    format::{BLOCK_SIZE, SegId},
    gc::select::{Ask, Selection, select},
    observer::GcLevels,
};

/// How often the weather is looked at while it is rough.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A segment that could not be read is left alone for so many milliseconds.
const REST: u64 = 3_600_000;

/// A round that the engine asked for.
pub(super) async fn run(driver: Arc<Driver>, ask: Ask) {
    let collected = round(&driver, ask, &crate::NoProgress).await;
    driver.event(Event::Collected(collected));
}

/// One round; says what was done, and whether another may find something.
pub(super) async fn round(driver: &Arc<Driver>, ask: Ask, progress: &dyn Progress) -> Collected {
    let nothing = Collected { active: ask.active, ..Collected::default() };
    let Some(survey) = driver.engine.lock().survey() else { return nothing };
    let now = driver.now();
    let selection = {
        let (bin, rules) = (driver.bin.lock(), &driver.gc);
        let rests = |segment| bin.resting.get(&segment).is_some_and(|&until| now < until);
        select(survey.entries.iter(), survey.checkpoint, bin.garbage.snapshots(), rules, ask, rests)
    };
    let Selection { segments, active, stock } = selection;
    driver.bin.lock().stock = stock;
    driver.tell_collected();
    let nothing = Collected { active, ..nothing };
    if segments.is_empty() {
        return nothing;
    }
    drop(survey.entries);
    let live: u64 = segments.iter().map(|(_, entry)| u64::from(entry.live)).sum();
    progress.total(live * BLOCK_SIZE as u64);
    let mut sources = driver.open_sources(&segments).await;
    for source in &mut sources {
        driver.find_live(source).await;
    }
    let Some(blocks) = driver.read_live(&sources, progress).await else { return nothing };
    let moved_bytes = driver.write_moved(blocks, survey.wseq).await;
    driver.tell_collected();
    // Without progress the next round would choose the same.
    Collected { moved_bytes, more: moved_bytes > 0, active }
}

impl Driver {
    /// Waits until the store is not needed more urgently. `false` if the disk is closing or lost.
    pub(super) async fn calm(&self) -> bool {
        loop {
            match self.engine.lock().weather(self.now()) {
                Weather::Calm if !self.store.is_throttled() => return true,
                Weather::Over => return false,
                Weather::Calm | Weather::Rough => {}
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Leaves a segment alone that could not be read. One that lost its last live block meanwhile may be gone.
    fn rest(&self, source: SegId, error: &nbdgate_api::Error) {
        if self.engine.lock().is_unused(source) {
            return;
        }
        tracing::error!(error = error.chain(), "a segment cannot be collected: what is live in it stays where it is");
        let mut bin = self.bin.lock();
        bin.resting.insert(source, self.now() + REST);
        bin.unreadable += 1;
    }

    /// Tells the observer how garbage stands.
    pub(super) fn tell_collected(&self) {
        let levels = {
            let bin = self.bin.lock();
            let burden = bin.garbage.burden();
            GcLevels {
                stored_blocks: bin.stock.blocks,
                live_blocks: bin.stock.live,
                behind_bytes: bin.stock.behind(self.gc.start_percent) * BLOCK_SIZE as u64,
                pinned_bytes: bin.stock.pinned_bytes,
                waiting_bytes: burden.waiting_bytes,
                deferred_bytes: burden.held_bytes,
                deferred_objects: burden.held_objects,
                moved_bytes: bin.moved_bytes,
                deleted_objects: bin.deleted_objects,
                deleted_bytes: bin.deleted_bytes,
                unreadable: bin.unreadable,
            }
        };
        self.observer.collected(&levels);
    }
}

/// The sources with something to read.
fn worth_reading(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources.iter().filter(|source| !source.live.is_empty())
}
