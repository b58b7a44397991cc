//! Rolling the logs behind a checkpoint forward, as an open does, and saying where they break.

use futures_util::{StreamExt, stream};
use nbdgate_api::Error;

use super::{Inspect, slots::Slot};
use crate::{
    engine::Committed,
    format::{FormatError, Manifest, Object, Seq, Writer},
    recovery::{fits, install},
};

/// Slots read ahead; of an open log, so many are asked for behind its end.
const AHEAD: usize = 16;

/// The longest log that is followed.
const LONGEST: u64 = 1 << 24;

/// What was found behind a checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tail {
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
    /// The slot behind the open log.
    pub(crate) end: Option<Seq>,
}

/// Where a log does not go on as it must.
#[derive(Debug)]
pub(crate) enum Break {
    Missing(Object),
    Unreadable(Object, FormatError),
    Misfit(Object, String),
}

/// Slots of one log.
#[derive(Clone, Copy, Debug)]
struct Slots {
    writer: Writer,
    first: Seq,
    /// The last one, if the log is closed.
    last: Option<Seq>,
}

impl Inspect {
    /// Applies the closed and the open log of a manifest.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn follow(
        &self,
        committed: &mut Committed,
        manifest: &Manifest,
    ) -> Result<(Tail, Option<Break>), Error> {
        let mut tail = Tail::default();
        let closed =
            manifest.sealed.iter().map(|log| Slots { writer: log.writer, first: log.first, last: Some(log.last) });
        let open = manifest.open.iter().map(|log| Slots { writer: log.writer, first: log.first, last: None });
        for log in closed.chain(open) {
            if let Some(found) = self.follow_one(committed, log, &mut tail).await? {
                return Ok((tail, Some(found)));
            }
        }
        Ok((tail, None))
    }

    async fn follow_one(&self, committed: &mut Committed, log: Slots, tail: &mut Tail) -> Result<Option<Break>, Error> {
        let last = log.last.map_or(log.first.0 + LONGEST, |last| last.0);
        let slots = stream::iter(log.first.0..=last)
            .map(|seq| async move { (Seq(seq), self.slot(log.writer, Seq(seq)).await) });
        let mut slots = slots.buffered(AHEAD);
        let mut prev_crc = None;
        while let Some((seq, slot)) = slots.next().await {
            let object = self.log_object(log.writer, seq);
            let (head, meta) = match slot? {
                Slot::Segment(segment) => *segment,
                Slot::Bad(error) => return Ok(Some(Break::Unreadable(object, error))),
                Slot::Fence | Slot::Empty if log.last.is_none() => {
                    tail.end = Some(seq);
                    return Ok(None);
                }
                Slot::Empty => return Ok(Some(Break::Missing(object))),
                Slot::Fence => {
                    let text = "there is a fence inside a closed log".to_owned();
                    return Ok(Some(Break::Misfit(object, text)));
                }
            };
            if let Err(why) = fits(committed, &meta, prev_crc) {
                return Ok(Some(Break::Misfit(object, why)));
            }
            prev_crc = Some(head.prelude.crc());
            tail.segments += 1;
            tail.bytes += head.prelude.object_len();
            install(committed, log.writer, seq, &head, &meta);
        }
        Ok(None)
    }
}
