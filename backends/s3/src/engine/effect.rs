//! The vocabulary between the engine and its driver.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use nbdgate_api::{Error, Extent, Io, Reply};

use super::{
    collect::Collected,
    committed::Arrival,
    journal,
    log::{BuildJob, Built},
    token::{Part, ReadToken},
};
use crate::{
    changes::Picture,
    format::{Frame, Object, SegmentIndex, Seq, Writer},
    gc::select::Ask,
    observer::{Cause, JournalLevels, LeaseLevels, Levels, ReadLevels},
};

/// Milliseconds of a clock that never runs backwards.
pub(crate) type Millis = u64;

/// What a timer is for. Each is armed once at a time, and its time only ever moves back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The open batch grows old.
    Seal,
    /// What is not under a checkpoint grows old.
    Checkpoint,
    /// The levels of a dirty disk are told although nothing happens: a store that is down makes no events.
    Levels,
    /// The manifest is to be read again.
    Watch,
    /// A round of garbage collection has earned its bytes.
    Collect,
    /// Ownership is to be proved again.
    Lease,
    /// A write that was held back may come in.
    Admit,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// The disk is open.
    Begin,
    /// Ends well when everything that came in so far is in the bucket, whatever FLUSH waits for.
    Settle(Reply),
    /// A request of a client.
    Request(Io),
    /// A batch became the bytes of a segment.
    Built(Box<Built>),
    /// A segment is in its slot, ours beyond doubt.
    Stored(Seq),
    /// The disk belongs to another writer, or a slot holds what cannot be.
    Lost(Error),
    /// The index of a segment was loaded, or could not be.
    Index(Object, Result<Arc<SegmentIndex>, Error>),
    /// The frames of a fetch, each by itself.
    Fetched(u64, Vec<(u32, Result<Bytes, Error>)>),
    /// The medium of the journal answered.
    Journal(journal::Done),
    /// The time asked for by [`Effect::Timer`] has come.
    Tick(Timer),
    /// The look asked for found no newer owner.
    Watched,
    /// The picture that a dirty bitmap is compared with was loaded, or could not be.
    Base(Arc<str>, Result<Picture, Error>),
    /// The snapshot behind a dirty bitmap was removed.
    BaseGone(Arc<str>),
    /// End the reply when everything answered so far is committed.
    Cut(Reply),
    /// The look asked for by [`Effect::Prove`], begun at this time, proved that the disk is this writer's.
    Proved(Millis),
    /// It proved nothing.
    Unproved,
    /// The checkpoint asked for is published.
    Checkpointed,
    /// The checkpoint asked for did not happen; the disk goes on.
    CheckpointFailed,
    /// The disk is open: look whether there is anything to do.
    Awake,
    /// A part of a segment of moved data is in the store.
    Arrived(Box<Arrival>),
    /// The round of garbage collection ended.
    Collected(Collected),
    /// There is room in the memory of the process, or too little.
    Memory,
    /// Finish what is inside and take nothing new.
    Drain,
    /// Stop at once.
    Abandon,
}

/// What is to be done. Executed in order, without the engine's lock.
#[derive(Debug)]
pub(crate) enum Effect {
    /// End a request.
    End(Reply, Result<(), Error>),
    /// Answer BLOCK_STATUS and end it.
    Extents(Reply, Vec<Extent>),
    /// Deliver parts of a read; it ends when the last holder of the token lets go.
    Deliver(Arc<ReadToken>, Vec<Part>),
    /// Compress a batch; answer with [`Event::Built`].
    Build(BuildJob),
    /// Put a segment into its slot until it is there; answer with [`Event::Stored`] or [`Event::Lost`].
    Put(Seq, Object, Arc<Built>),
    /// Load the picture of a snapshot; answer with [`Event::Base`].
    LoadBase(Arc<str>),
    /// Answer a read that is one piece of memory, and end it.
    Data(Reply, u64, Bytes),
    /// Load the index of a segment; answer with [`Event::Index`].
    LoadIndex(IndexJob),
    /// Load, verify and unpack frames.
    Fetch(FetchJob),
    /// Call back with [`Event::Tick`] after so many milliseconds.
    Timer(Timer, Millis),
    /// Write a checkpoint of the committed state.
    Checkpoint,
    /// Look for garbage that is worth collecting, and collect it; answer with [`Event::Collected`].
    Collect(Ask),
    /// Read the manifest and hold its owner against this writer; answer with [`Event::Watched`] or [`Event::Lost`].
    Watch(Writer),
    /// Look at the manifest chain; answer with [`Event::Proved`], [`Event::Unproved`] or [`Event::Lost`].
    Prove(Writer),
    /// Where the serving lease stands.
    Lease(LeaseLevels),
    /// Everything that ended well is durable, and nothing more will come.
    Drained,
    /// Where the write path stands.
    Levels(Levels),
    /// Something for the medium of the journal; answered by [`Event::Journal`].
    Journal(journal::Order),
    /// Where the journal stands.
    JournalLevels(JournalLevels),
    /// Where the read path stands.
    Reads(ReadLevels),
}

/// The index of a segment, to be loaded.
#[derive(Debug)]
pub(crate) struct IndexJob {
    /// Of which.
    pub(crate) object: Object,
    /// When to give up.
    pub(crate) deadline: Millis,
    /// What for.
    pub(crate) cause: Cause,
}

/// One GET and what to make of it.
#[derive(Debug)]
pub(crate) struct FetchJob {
    /// Which fetch.
    pub(crate) number: u64,
    /// Its segment.
    pub(crate) index: Arc<SegmentIndex>,
    /// The bytes of the object to ask for.
    pub(crate) range: Range<u64>,
    /// The frames wanted of them.
    pub(crate) frames: Vec<FrameSpec>,
    /// When to give up.
    pub(crate) deadline: Millis,
    /// What for.
    pub(crate) cause: Cause,
}

/// A frame of a fetch.
pub(crate) type FrameSpec = Frame;
