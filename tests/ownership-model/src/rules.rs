//! What is checked: how many writers, how long they run, and what is wrong with them.

/// Manifests that a checkpoint leaves behind the newest; the fewer, the harder for the protocol.
pub(crate) const MANIFESTS_KEPT: u8 = 1;

/// Puts that a writer repeats while it waits for the first one, per claim.
pub(crate) const REPEATS: u8 = 1;

/// A protocol and the bounds of its writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Writers; the first has the disk open at the start.
    pub writers: u8,
    /// Slots that a writer may have sent and not yet seen stored.
    pub window: u8,
    /// Slots that a writer sends per epoch.
    pub slots: u8,
    /// Checkpoints of each writer. The first writer's move all data, as garbage collection does.
    pub checkpoints: u8,
    /// Whether a claimant puts a fence far ahead before it fences the first hole.
    pub far_fence: bool,
    /// The mistake in the protocol.
    pub bug: Option<Bug>,
}

/// Mistakes that the check must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A claimant takes the end of the log as it finds it.
    NoFence,
    /// A FLUSH is answered for each stored slot, not for the run of slots without a gap.
    AnswerOutOfOrder,
    /// Fences are garbage like everything else behind a checkpoint.
    FenceCollected,
    /// Nobody looks for newer manifests behind the one just published.
    NoListAfterCreate,
    /// The far fence is thought to be enough.
    FarFenceAlone,
}

impl Rules {
    /// Two writers, two slots each, one checkpoint that moves data.
    pub const TWO_WRITERS: Self = Self { writers: 2, window: 2, slots: 2, checkpoints: 1, far_fence: false, bug: None };

    /// A longer run in flight, without checkpoints.
    pub const WIDE_WINDOW: Self = Self { window: 3, slots: 3, checkpoints: 0, ..Self::TWO_WRITERS };

    /// Two checkpoints of one slot.
    pub const TWO_CHECKPOINTS: Self = Self { window: 1, slots: 1, checkpoints: 2, ..Self::TWO_WRITERS };

    /// Logs that are long enough to run into the far fence.
    pub const FAR_FENCE: Self = Self { window: 1, slots: 4, checkpoints: 0, far_fence: true, ..Self::TWO_WRITERS };

    /// The far fence, and a checkpoint that collects what lies around it.
    pub const FAR_FENCE_AND_CHECKPOINT: Self = Self { slots: 2, checkpoints: 1, ..Self::FAR_FENCE };

    /// Three writers, one slot each, one checkpoint: millions of states.
    pub const THREE_WRITERS: Self = Self { writers: 3, window: 1, slots: 1, ..Self::TWO_WRITERS };

    /// The mutant of these rules.
    #[must_use]
    pub const fn with(self, bug: Bug) -> Self {
        Self { bug: Some(bug), ..self }
    }

    pub(crate) fn has(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }
}
