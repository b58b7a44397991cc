//! Executes what the engine wants of the journal's medium.
//!
//! The medium answers from its own threads; the engine takes its next step right there, so a FLUSH costs one hand-over
//! to the writer and one back.

use std::sync::Arc;

use nbdgate_api::{Error, Kind, Piece, Reply, Sink};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Driver;
use crate::{
    checked::Checked,
    engine::{BuildJob, Content, Event, JournalDone, JournalOrder, Part, Run, Wanted, WantedFor},
    format::{BLOCK_SIZE, BlockRange, Manifest},
    journal::{Keeper, Link, Medium, RecordJob, encode_pad, encode_record, io},
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
        JournalOrder::Read(wanted) => read(driver, &*medium, wanted),
    }
}

/// What to do when the medium answers: the failure of any operation is one of the medium.
fn answer<T: 'static>(
    driver: &Arc<Driver>,
    tried: &'static str,
    done: impl FnOnce(T) -> Option<JournalDone> + Send + 'static,
) -> Box<dyn FnOnce(std::io::Result<T>) + Send> {
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
    if let Some((offset, blocks)) = job.pad {
        let pad = encode_pad(&link, blocks);
        link = Link { lsn: link.lsn + 1, prev_crc: pad.header_crc, unsynced: link.unsynced.saturating_add(1), ..link };
        medium.write(offset, pad.slices, answer(driver, "writing to the journal", |()| None));
    }
    let record = encode_record(&link, job);
    let crc = record.header_crc;
    medium.write(
        job.offset,
        record.slices,
        answer(driver, "writing to the journal", move |()| Some(JournalDone::Written(crc))),
    );
}

fn read(driver: &Arc<Driver>, medium: &dyn Medium, wanted: Wanted) {
    let Wanted { number, range, held, target } = wanted;
    let driver = Arc::clone(driver);
    let done = Box::new(move |outcome: std::io::Result<bytes::Bytes>| {
        let restored = outcome.map_err(|error| driver.journal_error(error, "reading the journal")).and_then(|bytes| {
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
    });
    medium.read(range, done);
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

    fn journal_error(&self, error: std::io::Error, tried: &str) -> Error {
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
        let place = self.engine.lock().journal_range(held);
        let medium = self.medium.as_ref().expect("only a journal lets memory go");
        let bytes = io::read(&**medium, place).await;
        segment_builder::Content::Data(match bytes {
            Ok(bytes) => held.restored(bytes),
            Err(error) => {
                let error = self.journal_error(error, "reading the journal");
                self.journal_event(JournalDone::Failed(error));
                Checked::suspect(vec![0; held.nblocks() * BLOCK_SIZE].into())
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
