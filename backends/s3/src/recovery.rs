//! Rebuilding the committed state from the store (OBJECT-LOG §7): the newest checkpoint, then the segments that
//! are not under it, in the order of their logs.
//!
//! Every step is checked: epoch and nonce by name, the chain of preludes, the continuity of mutations, the bounds
//! of the disk. What does not fit stops the open with the object's name; nothing is ever guessed.

use futures_util::{StreamExt, stream};
use nbdgate_api::{Error, Kind};

use crate::{
    engine::{Committed, SegmentUse, log_segment},
    format::{BlockRange, Head, ObjectName, SegmentMeta, Seq, VolumeId, manifest::ClosedLog},
    head::Heads,
    observer::Cause,
    store::{Patience, Store},
};

/// Heads of segments read at once.
const PARALLEL: usize = 64;

/// Applies closed logs to a state.
#[derive(Debug)]
pub(crate) struct Replay<'a> {
    pub(crate) store: &'a Store,
    pub(crate) volume: VolumeId,
    pub(crate) patience: Patience,
}

impl Replay<'_> {
    /// Applies the logs in order.
    pub(crate) async fn logs(&self, committed: &mut Committed, logs: &[ClosedLog]) -> Result<(), Error> {
        for log in logs {
            self.log(committed, log).await?;
        }
        Ok(())
    }

    async fn log(&self, committed: &mut Committed, log: &ClosedLog) -> Result<(), Error> {
        let heads = Heads { store: self.store, volume: self.volume, cause: Cause::Recovery, patience: self.patience };
        let slots = stream::iter(log.first.0..=log.last.0).map(|slot| {
            let name = ObjectName::Log { writer: log.writer, seq: Seq(slot) };
            async move { (Seq(slot), heads.read(name, |head| SegmentMeta::parse_object(name, self.volume, head)).await) }
        });
        let mut slots = slots.buffered(PARALLEL);
        // The predecessor of the first slot may be under the checkpoint and is not read.
        let mut prev_crc = None;
        while let Some((seq, segment)) = slots.next().await {
            let (head, meta) = segment?;
            let fits = fits(committed, &meta, prev_crc);
            fits.map_err(|why| self.misfit(log, seq, &why))?;
            prev_crc = Some(head.prelude.crc());
            install(committed, log, seq, &head, &meta);
        }
        Ok(())
    }

    fn misfit(&self, log: &ClosedLog, seq: Seq, why: &str) -> Error {
        let name = ObjectName::Log { writer: log.writer, seq };
        let object = self.store.name_of(&name.key("", self.volume));
        Error::new(Kind::Io, format!("the segment {object} does not continue the log: {why}"))
    }
}

/// Whether a segment continues the state.
fn fits(committed: &Committed, meta: &SegmentMeta, prev_crc: Option<u32>) -> Result<(), String> {
    if let Some(crc) = prev_crc
        && crc != meta.prev_prelude_crc
    {
        return Err(format!("it follows {:08x}, the segment before it is {crc:08x}", meta.prev_prelude_crc));
    }
    let last = committed.position().wseq;
    if meta.first_wseq.0 != last.0 + 1 {
        return Err(format!("it begins with mutation {}, the one before ended with {}", meta.first_wseq.0, last.0));
    }
    let blocks = committed.map.blocks();
    let ends = meta.data.iter().map(|record| record.range().end()).chain(meta.zero.iter().map(|record| record.range().end()));
    if let Some(end) = ends.max().filter(|end| end.0 > blocks) {
        return Err(format!("it reaches to block {} of a disk of {blocks}", end.0));
    }
    Ok(())
}

fn install(committed: &mut Committed, log: &ClosedLog, seq: Seq, head: &Head, meta: &SegmentMeta) {
    let zeros: Vec<BlockRange> = meta.zero.iter().map(|record| record.range()).collect();
    committed.install(0, &SegmentUse {
        name: log_segment(log.writer, seq),
        lblocks: meta.lblocks(),
        object_len: head.prelude.object_len(),
        meta_len: u64::from(head.prelude.meta_len),
        last_wseq: meta.last_wseq,
        layout: &meta.layout(),
        zeros: &zeros,
    });
}
