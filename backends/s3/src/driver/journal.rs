//! Executes what the engine wants of the journal's medium.
//!
//! The medium answers from its own threads; the engine takes its next step right there, so a FLUSH costs one hand-over
//! to the writer and one back.

use std::{io, sync::Arc};

use bytes::Bytes;
use nbdgate_api::{Error, Kind, Piece, Reply, Sink};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Driver;
use crate::{
    checked::Checked,
    engine::{BuildJob, Content, Event, JournalDone, JournalOrder, Part, Run, Wanted, WantedFor},
    format::{BLOCK_SIZE, BlockRange, FormatError, Manifest},
    journal::{Keeper, Link, Medium, RecordJob, SealedExtent, Spot, encode_pad, encode_record, io as medium},
    segment_builder::{self, PendingExtent},
    store::Patience,
};

pub(super) fn execute(driver: &Arc<Driver>, order: JournalOrder) {
    let Some(medium) = driver.medium.clone() else { return };
    match order {
        JournalOrder::Write(job) => write(driver, &*medium, &job),
        JournalOrder::Superblock(superblock) => {
            let done = answer(driver, "writing the superblock of the journal", |()| None);
            medium.write(superblock.offset(), vec![superblock.encode()], done);
        }
        JournalOrder::Sync => {
            medium.sync(answer(driver, "syncing the journal", |()| Some(JournalDone::Synced)));
        }
        JournalOrder::Read(wanted) => read(driver, &medium, wanted),
    }
}

/// What to do when the medium answers: the failure of any operation is one of the medium.
fn answer<T: 'static>(
    driver: &Arc<Driver>,
    tried: &'static str,
    done: impl FnOnce(T) -> Option<JournalDone> + Send + 'static,
) -> Box<dyn FnOnce(io::Result<T>) + Send> {
    let driver = Arc::clone(driver);
    Box::new(move |outcome| {
        let done = match outcome {
            Ok(value) => done(value),
            Err(error) => Some(JournalDone::Failed(driver.journal_error(error, tried))),
        };
        if let Some(done) = done {
            driver.journal_event(done);
        }
    })
}

fn write(driver: &Arc<Driver>, medium: &dyn Medium, job: &RecordJob) {
    let mut link = job.link;
    let key = driver.seals.current(link.journal, link.generation);
    if let Some((offset, blocks)) = job.pad {
        let pad = encode_pad(&link, blocks, key.as_deref());
        link = Link { lsn: link.lsn + 1, prev_crc: pad.header_crc, unsynced: link.unsynced.saturating_add(1), ..link };
        medium.write(offset, pad.slices, answer(driver, "writing to the journal", |()| None));
    }
    let record = encode_record(&link, job, key.as_deref());
    let crc = record.header_crc;
    medium.write(
        job.offset,
        record.slices,
        answer(driver, "writing to the journal", move |()| Some(JournalDone::Written(crc))),
    );
}

fn read(driver: &Arc<Driver>, medium: &Arc<dyn Medium>, wanted: Wanted) {
    let spot = wanted.spot;
    if !driver.seals.is_sealed() {
        let driver = Arc::clone(driver);
        medium.read(spot.range(), Box::new(move |outcome| serve(&driver, wanted, driver.was_read(outcome))));
        return;
    }
    let (driver, again) = (Arc::clone(driver), Arc::clone(medium));
    let header = move |outcome: io::Result<Bytes>| {
        let sealed = driver.was_read(outcome).and_then(|block| driver.sealed_extent(&spot, &block));
        let sealed = match sealed {
            Ok(sealed) => sealed,
            Err(error) => return serve(&driver, wanted, Err(error)),
        };
        let whole = spot.extent..spot.extent + sealed.len();
        let payload = move |outcome| {
            let stored = driver.was_read(outcome);
            let plain = stored.and_then(|stored| sealed.open(&spot, stored).map_err(|error| driver.damage(error)));
            serve(&driver, wanted, plain);
        };
        again.read(whole, Box::new(payload));
    };
    medium.read(spot.header(), Box::new(header));
}

/// Gives what was read of the journal to whom it is for, if it is what came in.
fn serve(driver: &Arc<Driver>, wanted: Wanted, plain: Result<Bytes, Error>) {
    let Wanted { number, held, target, .. } = wanted;
    let restored = plain.and_then(|bytes| {
        let restored = held.restored(bytes);
        if restored.sound() == restored.nblocks() { Ok(restored) } else { Err(driver.journal_damage()) }
    });
    let done = match target {
        WantedFor::Client { token, bytes, skip } => {
            let at = |offset: u64| usize::try_from(offset).expect("data in memory");
            token.deliver(match restored {
                Ok(data) => Part::Data(bytes.offset(), data.bytes().slice(at(skip)..at(skip + bytes.length()))),
                Err(error) => Part::Failed(bytes, error),
            });
            JournalDone::Read(number)
        }
        WantedFor::Edge(edge) => JournalDone::Edge(number, edge, restored.map(|data| data.bytes().clone())),
    };
    driver.journal_event(done);
}

/// Tells the end of one request.
struct Once(Mutex<Option<oneshot::Sender<Result<(), Error>>>>);

impl Sink for Once {
    fn piece(&self, _tag: u64, _piece: Piece) {}

    fn end(&self, _tag: u64, outcome: Result<(), Error>) {
        if let Some(tell) = self.0.lock().take() {
            // Who asked may be gone.
            let _ = tell.send(outcome);
        }
    }
}

impl Driver {
    fn journal_event(self: &Arc<Self>, done: JournalDone) {
        // The threads of a medium know no runtime, and timers belong to one.
        let _runtime = self.runtime.enter();
        if let JournalDone::Failed(error) = &done {
            tracing::error!(
                error = error.chain(),
                "the journal failed: what is in memory goes to the bucket, then the disk is read-only"
            );
        }
        self.event(Event::Journal(done));
    }

    fn was_read<T>(&self, outcome: io::Result<T>) -> Result<T, Error> {
        outcome.map_err(|error| self.journal_error(error, "reading the journal"))
    }

    fn damage(&self, error: FormatError) -> Error {
        self.journal_damage().with_source(error)
    }

    fn sealed_extent(&self, spot: &Spot, block: &[u8]) -> Result<SealedExtent, Error> {
        self.seals.extent(spot, block).map_err(|error| self.damage(error))
    }

    /// Blocks of the journal that are not in memory any more. The outer error is one of the medium.
    async fn read_back(&self, spot: &Spot) -> io::Result<Result<Bytes, Error>> {
        let medium = &**self.medium.as_ref().expect("only a journal lets memory go");
        if !self.seals.is_sealed() {
            return medium::read(medium, spot.range()).await.map(Ok);
        }
        let block = medium::read(medium, spot.header()).await?;
        let sealed = match self.sealed_extent(spot, &block) {
            Ok(sealed) => sealed,
            Err(error) => return Ok(Err(error)),
        };
        let stored = medium::read(medium, spot.extent..spot.extent + sealed.len()).await?;
        Ok(sealed.open(spot, stored).map_err(|error| self.damage(error)))
    }

    fn journal_error(&self, error: io::Error, tried: &str) -> Error {
        Error::new(Kind::Io, format!("{tried} {} failed, which is final", self.medium_name())).with_source(error)
    }

    fn journal_damage(&self) -> Error {
        Error::new(Kind::Io, format!("the journal {} does not hold what was written to it", self.medium_name()))
    }

    fn medium_name(&self) -> String {
        self.medium.as_ref().map(|medium| medium.name()).unwrap_or_default()
    }

    /// Everything that was journaled is in the bucket, and nothing more comes: says so in the journal.
    pub(super) async fn spend_journal(&self) -> Result<(), Error> {
        let Some(medium) = &self.medium else { return Ok(()) };
        let state = self.engine.lock().journal_head();
        let Some((head, superblock)) = state else { return Ok(()) };
        let mut keeper = Keeper { medium: Arc::clone(medium), superblock };
        keeper.spend(head).await
    }

    /// The extents of a batch, with what was let go of read back from the journal.
    ///
    /// A block that cannot be read back keeps the crc that it had when it came in: its segment is built, and reads of it fail.
    pub(super) async fn extents(self: &Arc<Self>, job: &BuildJob) -> Vec<PendingExtent> {
        let mut extents = Vec::new();
        for (range, run) in job.batch.content.iter() {
            extents.push(PendingExtent { lba: range.start, content: self.content(range, run).await });
        }
        extents
    }

    async fn content(self: &Arc<Self>, range: BlockRange, run: &Run) -> segment_builder::Content {
        let held = match &run.content {
            Content::Zero => return segment_builder::Content::Zero(range.nblocks),
            Content::Data(held) => held,
        };
        if let Some(data) = held.data() {
            return segment_builder::Content::Data(data);
        }
        let spot = self.engine.lock().journal_spot(held);
        let nothing = || Checked::suspect(vec![0; held.nblocks() * BLOCK_SIZE].into());
        segment_builder::Content::Data(match self.read_back(&spot).await {
            Ok(Ok(bytes)) => held.restored(bytes),
            Ok(Err(error)) => {
                tracing::error!(error = error.chain(), "blocks are lost; reads of them will fail");
                nothing()
            }
            Err(error) => {
                let error = self.journal_error(error, "reading the journal");
                self.journal_event(JournalDone::Failed(error));
                nothing()
            }
        })
    }

    /// Waits until everything that was taken over from a journal is in the bucket, and gives the journal up.
    pub(crate) async fn leave_journal(self: &Arc<Self>) -> Result<(), Error> {
        let Some(medium) = &self.medium else { return Ok(()) };
        self.settled().await?;
        self.spend_journal().await?;
        self.engine.lock().detach_journal();
        medium.close();
        if let Some(ownership) = self.ownership.lock().await.as_mut() {
            let chain = &mut ownership.chain;
            let manifest = chain.manifest.clone();
            let next = Manifest { owner: manifest.owner.without_journal(), ..manifest };
            let published = chain.publish(next, Patience::endless()).await;
            published.map_err(|error| error.into_error("leaving the journal"))?;
        }
        Ok(())
    }

    /// Waits until everything that came in is in the bucket.
    async fn settled(self: &Arc<Self>) -> Result<(), Error> {
        let (tell, told) = oneshot::channel();
        let reply = Reply::new(Arc::new(Once(Mutex::new(Some(tell)))), 0);
        self.event(Event::Settle(reply));
        told.await
            .unwrap_or_else(|_| Err(Error::new(Kind::Shutdown, "the disk was stopped while its journal was replayed")))
    }
}
