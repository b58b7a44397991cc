//! One state of the world: the store, the network, the writers, and what was promised.

use std::collections::{BTreeMap, BTreeSet};

/// What a data slot holds: who wrote it, as which epoch, where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The writer.
    pub writer: u8,
    /// Its epoch.
    pub epoch: u8,
    /// The slot.
    pub slot: u8,
}

/// The name of a log object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) epoch: u8,
    pub(crate) slot: u8,
}

impl Name {
    pub(crate) const fn next(self) -> Self {
        Self { slot: self.slot + 1, ..self }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Object {
    Data(Token),
    /// By whom.
    Fence(u8),
}

/// A closed log: its slots from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sealed {
    pub(crate) epoch: u8,
    pub(crate) first: u8,
    pub(crate) last: u8,
}

/// A slot that a checkpoint covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Covered {
    pub(crate) token: Token,
    /// Its data is no longer read from the log.
    pub(crate) moved: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Manifest {
    pub(crate) owner: u8,
    pub(crate) claim: bool,
    pub(crate) epoch: u8,
    pub(crate) covered: Vec<Covered>,
    pub(crate) sealed: Vec<Sealed>,
    pub(crate) open: Name,
}

/// A put-if-absent on its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Message {
    Manifest { from: u8, no: u8, body: Manifest },
    Log { from: u8, name: Name, object: Object },
}

/// Where a writer stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Step {
    Idle,
    /// Waits for its CLAIM of this number.
    Claim(u8),
    /// Lists behind it.
    ClaimList(u8),
    /// Looks at a slot of the old log.
    Close(Name),
    /// Waits for its far fence; the hole is here.
    FarFence(Name),
    /// Waits for its fence.
    Fence(Name),
    /// Publishes OPEN; the old log ends before this slot.
    Open(u8),
    OpenList(u8),
    Run,
    Checkpoint(u8),
    CheckpointList(u8),
    Delete {
        log: Vec<Name>,
        manifests: Vec<u8>,
    },
    Stopped,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Writer {
    pub(crate) step: Step,
    pub(crate) epoch: u8,
    /// The number of the newest manifest it knows, and what that says.
    pub(crate) no: u8,
    pub(crate) manifest: Option<Manifest>,
    /// The first slot of its log.
    pub(crate) first: u8,
    /// For each slot sent, whether it is known to be stored.
    pub(crate) stored: Vec<bool>,
    pub(crate) answered: u8,
    pub(crate) repeats: u8,
    pub(crate) checkpoints: u8,
    pub(crate) far_fenced: bool,
}

impl Writer {
    const IDLE: Self = Self {
        step: Step::Idle,
        epoch: 0,
        no: 0,
        manifest: None,
        first: 0,
        stored: Vec::new(),
        answered: 0,
        repeats: 0,
        checkpoints: 0,
        far_fenced: false,
    };

    /// The slots stored without a gap.
    pub(crate) fn committed(&self) -> u8 {
        let run = self.stored.iter().take_while(|stored| **stored).count();
        u8::try_from(run).expect("a writer sends a few slots")
    }

    /// The slots sent.
    pub(crate) fn sent(&self) -> u8 {
        u8::try_from(self.stored.len()).expect("a writer sends a few slots")
    }

    /// What it believes the newest manifest to be.
    pub(crate) fn known(&self) -> &Manifest {
        self.manifest.as_ref().expect("a writer that has claimed knows a manifest")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct State {
    pub(crate) manifests: BTreeMap<u8, Manifest>,
    pub(crate) log: BTreeMap<Name, Object>,
    pub(crate) network: BTreeSet<Message>,
    pub(crate) writers: Vec<Writer>,
    pub(crate) answered: BTreeSet<Token>,
}

impl State {
    /// The first writer has the disk open, and nothing was written.
    pub(crate) fn start(writers: u8) -> Self {
        let open = Name { epoch: 1, slot: 1 };
        let manifest = Manifest { owner: 0, claim: false, epoch: 1, covered: Vec::new(), sealed: Vec::new(), open };
        let mut all = vec![Writer::IDLE; usize::from(writers)];
        all[0] =
            Writer { step: Step::Run, epoch: 1, no: 1, manifest: Some(manifest.clone()), first: 1, ..Writer::IDLE };
        Self {
            manifests: BTreeMap::from([(1, manifest)]),
            log: BTreeMap::new(),
            network: BTreeSet::new(),
            writers: all,
            answered: BTreeSet::new(),
        }
    }

    /// The manifest with the highest number.
    pub(crate) fn newest(&self) -> (u8, &Manifest) {
        let (no, manifest) = self.manifests.last_key_value().expect("the newest manifest is never deleted");
        (*no, manifest)
    }

    pub(crate) fn writer(&self, id: u8) -> &Writer {
        &self.writers[usize::from(id)]
    }

    pub(crate) fn writer_mut(&mut self, id: u8) -> &mut Writer {
        &mut self.writers[usize::from(id)]
    }
}
