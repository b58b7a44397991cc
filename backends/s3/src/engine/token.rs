//! A read's reply, shared by everything that still owes it bytes.
//!
//! Pieces are delivered outside the engine's lock and from several threads; the request must end after the last
//! of them. So it ends when the last holder lets go: well, if every byte was delivered.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use nbdgate_api::{ByteRange, Error, Kind, Reply};

/// The reply of a READ. Never dropped under the engine's lock: the end may submit another request.
#[derive(Debug)]
pub(crate) struct ReadToken {
    reply: Option<Reply>,
    owed: AtomicU64,
}

/// A part of a read's answer.
#[derive(Debug)]
pub(crate) enum Part {
    /// Bytes at an offset of the disk.
    Data(u64, Bytes),
    /// Zeros.
    Hole(ByteRange),
    /// Bytes that could not be had.
    Failed(ByteRange, Error),
}

impl ReadToken {
    pub(crate) fn new(reply: Reply, bytes: u64) -> Self {
        Self { reply: Some(reply), owed: AtomicU64::new(bytes) }
    }

    pub(crate) fn deliver(&self, part: Part) {
        let reply = self.reply.as_ref().expect("it is there until the drop");
        let bytes = match part {
            Part::Data(offset, bytes) => {
                let length = bytes.len() as u64;
                reply.data(offset, bytes);
                length
            }
            Part::Hole(range) => {
                reply.hole(range);
                range.length()
            }
            Part::Failed(range, error) => {
                reply.fail(range, error);
                range.length()
            }
        };
        let before = self.owed.fetch_sub(bytes, Ordering::AcqRel);
        assert!(before >= bytes, "a read was given more than it asked for");
    }
}

impl Drop for ReadToken {
    fn drop(&mut self) {
        let Some(reply) = self.reply.take() else { return };
        let owed = *self.owed.get_mut();
        reply.end(if owed == 0 {
            Ok(())
        } else {
            Err(Error::new(Kind::Shutdown, "the disk was closed before the read ended"))
        });
    }
}
