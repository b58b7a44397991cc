//! The journal's part of opening a disk: find it, replay it, take it into use.

use std::sync::Arc;

use nbdgate_api::{Error, Kind};
use uuid::Uuid;

use super::Opening;
use crate::{
    engine::{Engine, LogStart, Millis},
    format::{Wseq, manifest::FlushMode},
    journal::{Keeper, Mark, Medium, RecordSealing, Scan, Standing, io},
    ownership::{
        chain::Chain,
        claim::{Claim, supported},
    },
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

    /// Publishes OPEN. The journal, if there is one, is replayed before and taken into use behind it, so that whenever
    /// this is cut short manifest and superblock tell the truth.
    pub(super) async fn publish_open(
        &self,
        claim: &mut Claim,
        journal: Option<Keeper>,
        engine: &mut Engine,
        start: LogStart,
    ) -> Result<Option<Arc<dyn Medium>>, Error> {
        let window = self.options.tuning.window;
        let Some(mut keeper) = journal else {
            claim.open(start.seq, window, None, self.patience).await?;
            return Ok(None);
        };
        let head = self.take_over(&mut keeper, engine, start.wseq).await?;
        keeper.begin(claim.writer.epoch).await?;
        claim.open(start.seq, window, Some(keeper.superblock.journal), self.patience).await?;
        keeper.hold().await?;
        engine.journal_begins(keeper.superblock, head);
        Ok(Some(keeper.medium))
    }

    /// Feeds the engine with everything that the journal has behind `known`, the last mutation in the bucket. Says where its
    /// chain ends.
    async fn take_over(&self, keeper: &mut Keeper, engine: &mut Engine, known: Wseq) -> Result<Mark, Error> {
        let rpo = self.options.rpo.map(|rpo| Millis::try_from(rpo.as_millis()).unwrap_or(Millis::MAX).max(1));
        let sealing = RecordSealing::new(self.store.sealing());
        engine.attach_journal(keeper.superblock, rpo, sealing.is_sealed());
        if keeper.standing() == Standing::Spent {
            return Ok(keeper.superblock.tail);
        }
        let name = keeper.medium.name();
        let failed = |error| {
            let text =
                format!("reading the journal {name}; `abandon-journal` with another journal gives up what it holds");
            Error::from_io(error, text)
        };
        // What an earlier process wrote and did not sync is answered for from here on.
        io::sync(&*keeper.medium).await.map_err(failed)?;
        let mut scan = Scan::new(&*keeper.medium, &keeper.superblock, &sealing, known);
        let mut records = 0_u64;
        while let Some(step) = scan.next().await.map_err(failed)? {
            records += u64::from(step.record.is_some());
            engine.replay(step)?;
        }
        if let Some(damage) = scan.damage() {
            let text = format!(
                "the journal {name} is damaged at offset {}: record {} {}",
                damage.offset, damage.lsn, damage.why
            );
            if !self.options.abandon_journal {
                let text = format!("{text}; `abandon-journal` gives up what follows it");
                return Err(Error::new(Kind::Io, text));
            }
            tracing::error!("{text}; what follows it was given up");
        }
        tracing::info!(journal = name, records, "journal replayed");
        Ok(scan.end())
    }
}
