//! What the slots of a log hold.

use bytes::Bytes;
use nbdgate_api::Error;

use super::{Inspect, not_ours};
use crate::{
    format::{
        Fence, FormatError, Head, Kind, Object, ObjectName, Prelude, SegmentMeta, Seq, Writer, object::HEAD_FETCH,
    },
    head::Bad,
    store::StoreError,
};

/// A slot that was looked at.
#[derive(Debug)]
pub(crate) enum Slot {
    Segment(Box<(Head, SegmentMeta)>),
    Fence,
    Empty,
    /// Neither: its bytes fail their check, twice.
    Bad(FormatError),
}

impl Inspect {
    /// The object in a slot of this volume's log.
    pub(crate) fn log_object(&self, writer: Writer, seq: Seq) -> Object {
        Object { volume: self.volume, name: ObjectName::Log { writer, seq } }
    }

    /// Reads the head of a slot.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn slot(&self, writer: Writer, seq: Seq) -> Result<Slot, Error> {
        let object = self.log_object(writer, seq);
        let sealing = self.store.sealing();
        let parse = |head: &Bytes| {
            let prelude = Prelude::parse(&object.name.expected(object.volume), head)?;
            if prelude.place.kind == Kind::Fence {
                return Fence::parse_object(object.name, object.volume, head).map(|_| Slot::Fence);
            }
            let segment = SegmentMeta::parse_object(object.name, object.volume, head, &sealing)?;
            Ok(Slot::Segment(Box::new(segment)))
        };
        match self.heads().examine(object, parse).await {
            Ok(slot) => Ok(slot),
            Err(Bad::Store(StoreError::NotFound(_))) => Ok(Slot::Empty),
            Err(Bad::Bytes(error)) => {
                not_ours(&error, &self.store.name_of(&object.key())).map_or(Ok(Slot::Bad(error)), Err)
            }
            Err(bad @ Bad::Store(_)) => Err(bad.tell(&self.store, object)),
        }
    }

    /// Whether a slot holds a fence, by its first bytes alone; a bad one counts as none.
    pub(crate) async fn is_fence(&self, writer: Writer, seq: Seq) -> Result<bool, Error> {
        Ok(matches!(self.slot(writer, seq).await?, Slot::Fence))
    }
}

/// A fence fits the first fetch of any object.
const _: () = assert!(HEAD_FETCH > 1024);
