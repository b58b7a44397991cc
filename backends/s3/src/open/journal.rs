//! The journal's part of opening a disk: find it, replay it, take it into use.

use std::{sync::Arc, time::Duration};

use nbdgate_api::{Error, Kind};
use uuid::Uuid;

use super::Opening;
use crate::{
    engine::{Engine, Millis},
    format::{Epoch, Wseq, manifest::FlushMode},
    journal::{Keeper, Mark, Scan, Standing, io},
    ownership::{chain::Chain, claim::supported},
};

impl Opening<'_> {
    /// The journal that this opening needs: the one that is written, or the one that is to be replayed. One that is of no
    /// use is not touched.
    pub(super) async fn find_journal(&self) -> Result<Option<Keeper>, Error> {
        let (path, medium) = (&self.options.journal, &self.options.journal_medium);
        if path.is_none() && medium.is_none() {
            return Ok(None);
        }
        let manifest = Chain::newest(&self.store, self.volume, self.patience).await?.manifest;
        supported(&manifest)?;
        let (writes, holds) = (manifest.options.flush == FlushMode::Journal, manifest.owner.journal_dirty);
        if !writes && !holds {
            tracing::warn!(location = %self.location, "the disk does not use a journal; the one that was given is left alone");
            return Ok(None);
        }
        let fresh = Uuid::from_u64_pair(self.store.random(), self.store.random());
        match (medium, path) {
            (Some(medium), _) => Keeper::of(Arc::clone(medium), self.volume, fresh).await.map(Some),
            // A mistyped path is not the journal that the manifest names: nothing is created in its place.
            (None, Some(options)) if (holds && !self.options.abandon_journal || !writes) && !options.path.exists() => {
                tracing::warn!(path = %options.path.display(), "there is no such journal");
                Ok(None)
            }
            (None, Some(options)) => Keeper::open(options, self.volume, fresh).await.map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// What is asked of a journal that is taken over.
#[derive(Clone, Copy, Debug)]
pub(super) struct TakeOver {
    /// The last mutation in the bucket.
    pub(super) known: Wseq,
    /// Of the writer to be.
    pub(super) epoch: Epoch,
    /// See [`OpenOptions::rpo`](crate::OpenOptions::rpo).
    pub(super) rpo: Option<Duration>,
    /// A journal that is damaged in the middle is replayed up to the damage.
    pub(super) abandon: bool,
}

impl TakeOver {
    /// Feeds the engine with everything that the journal has and the bucket lacks, and readies the journal for its next
    /// writer. Says where its chain ends.
    pub(super) async fn run(self, keeper: &mut Keeper, engine: &mut Engine) -> Result<Mark, Error> {
        let rpo = self.rpo.map(|rpo| Millis::try_from(rpo.as_millis()).unwrap_or(Millis::MAX).max(1));
        let superblock = keeper.superblock;
        engine.attach_journal(superblock, rpo);
        let mut head = superblock.tail;
        if keeper.standing() == Standing::Holding {
            head = self.replay(keeper, engine).await?;
        }
        keeper.begin(self.epoch).await?;
        Ok(head)
    }

    async fn replay(self, keeper: &Keeper, engine: &mut Engine) -> Result<Mark, Error> {
        let name = keeper.medium.name();
        let failed = |error| {
            let text =
                format!("reading the journal {name}; `abandon-journal` with another journal gives up what it holds");
            Error::from_io(error, text)
        };
        // What an earlier process wrote and did not sync is answered for from here on.
        io::sync(&*keeper.medium).await.map_err(failed)?;
        let mut scan = Scan::new(&*keeper.medium, &keeper.superblock, self.known);
        let mut records = 0_u64;
        while let Some(step) = scan.next().await.map_err(failed)? {
            records += u64::from(step.record.is_some());
            engine.replay(step)?;
        }
        if let Some(damage) = scan.damage() {
            let text = format!(
                "the journal {name} is damaged at offset {}: record {} was stable, perhaps flushed, and cannot be read any more",
                damage.offset, damage.lsn
            );
            if !self.abandon {
                let text = format!("{text}; `abandon-journal` gives up what follows it");
                return Err(Error::new(Kind::Io, text));
            }
            tracing::error!("{text}; what follows it was given up");
        }
        tracing::info!(journal = name, records, "journal replayed");
        Ok(scan.end())
    }
}
