//! Becoming the writer of a disk (§6.3): check who holds it, claim, close the old log, and later open.

use std::sync::Arc;

use nbdgate_api::{Error, Kind};
use uuid::Uuid;

use super::{
    chain::{Chain, NotPublished},
    fence::OldLog,
    journal::{Given, Verdict},
};
use crate::{
    OnUnclean,
    format::{
        Epoch, Fence, Manifest, Nonce, Seq, VolumeId, Writer,
        manifest::{ClosedLog, OpenLog, Owner, State},
    },
    store::{Patience, Store},
};

/// How often a claim is tried.
const ATTEMPTS: u32 = 3;

/// What a claimant wants and is.
#[derive(Debug)]
pub(crate) struct Claimant<'a> {
    pub(crate) store: &'a Arc<Store>,
    pub(crate) volume: VolumeId,
    pub(crate) host: &'a str,
    pub(crate) on_unclean: OnUnclean,
    pub(crate) steal: bool,
    pub(crate) journal: Given<'a>,
    pub(crate) patience: Patience,
}

/// A disk that is ours and not open yet: nobody else can add to its log.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) chain: Chain,
    pub(crate) writer: Writer,
    /// The logs to replay, oldest first; the last writer's is among them if it is not empty.
    pub(crate) logs: Vec<ClosedLog>,
    /// The first slot of the log to come, if there was a log before.
    pub(crate) next: Option<Seq>,
    /// What becomes of the journal that the manifest named.
    pub(crate) verdict: Verdict,
}

impl Claimant<'_> {
    /// Checks the holder, publishes the claim, and closes the open log.
    pub(crate) async fn claim(&self) -> Result<Claim, Error> {
        let (chain, writer, verdict) = self.publish().await?;
        let mut logs = chain.manifest.sealed.clone();
        let mut next = logs.last().map(|log| Seq(log.last.0 + 1));
        if let Some(log) = chain.manifest.open {
            let fence = Fence { by: writer, host: self.host.to_owned() };
            let old = OldLog { store: self.store, volume: self.volume, log, patience: self.patience };
            let end = old.close(&fence, chain.manifest.window).await?;
            if end > log.first {
                logs.push(ClosedLog { writer: log.writer, first: log.first, last: Seq(end.0 - 1) });
            }
            next = Some(end);
        }
        Ok(Claim { chain, writer, logs, next, verdict })
    }

    /// Publishes the claim. One that lost its number is tried again: the winner may be the last manifest of a
    /// gateway that died, applied late. Who holds the disk is asked anew each time.
    async fn publish(&self) -> Result<(Chain, Writer, Verdict), Error> {
        let mut attempt = 1;
        loop {
            let mut chain = Chain::newest(self.store, self.volume, self.patience).await?;
            supported(&chain.manifest)?;
            let verdict = self.check_holder(&chain).await?;
            let epoch = Epoch(chain.manifest.owner.writer.epoch.0 + 1);
            let writer = Writer { epoch, nonce: Nonce(self.store.random()) };
            let next = Manifest {
                state: State::Claim,
                owner: self.owner(writer, &chain.manifest.owner),
                ..chain.manifest.clone()
            };
            match chain.publish(next, self.patience).await {
                Ok(()) => return Ok((chain, writer, verdict)),
                Err(NotPublished::Lost(error)) if attempt < ATTEMPTS => {
                    tracing::warn!(error = error.chain(), attempt, "lost the race for a claim; looking again");
                }
                Err(error) => return Err(error.into_error("claiming the disk")),
            }
            attempt += 1;
        }
    }

    /// Refuses a disk that someone else holds, or that was not closed.
    async fn check_holder(&self, chain: &Chain) -> Result<Verdict, Error> {
        let holder = &chain.manifest.owner;
        let (mut no, mut base) = (chain.no(), chain.manifest.clone());
        // A claim says nothing of how the writer before it ended.
        while base.state == State::Claim {
            let Some(before) = chain.before(no, self.patience).await? else { break };
            (no, base) = before;
        }
        let verdict = self.journal.judge(&chain.manifest, &base, chain.unix_ms)?;
        let held = chain.manifest.state == State::Open || chain.manifest.state == State::Claim;
        if held && holder.host != self.host && !self.steal && verdict != Verdict::Abandoned {
            return Err(Error::new(
                Kind::Permission,
                format!(
                    "the disk is held by {} since {} (unix time): stop that gateway, or take the disk over with `steal` \
                     if it is gone; what it acknowledged and did not flush is then lost",
                    holder.host,
                    chain.unix_ms / 1000
                ),
            ));
        }
        // With its journal nothing that was answered is missing; without it someone said that this is known.
        let unclean = base.state == State::Open && verdict == Verdict::Nothing;
        if unclean && holder.host == self.host && !self.steal && self.on_unclean == OnUnclean::Refuse {
            return Err(Error::new(
                Kind::Permission,
                format!(
                    "the disk was not closed by its last gateway, on this host ({}) since {} (unix time). If that still \
                     runs, stop it: opening the disk here would fence it off. If it died, writes that it acknowledged \
                     and did not flush are gone, and a client that is still running would not know: restart or check \
                     its clients, then open the disk with `on-unclean=serve`; everything that was flushed is there",
                    holder.host,
                    chain.unix_ms / 1000
                ),
            ));
        }
        Ok(verdict)
    }

    /// A claim changes nothing of what the journal before it may hold.
    fn owner(&self, writer: Writer, before: &Owner) -> Owner {
        let Owner { journal, journal_dirty, .. } = *before;
        Owner { writer, host: self.host.to_owned(), journal, journal_dirty }
    }
}

impl Claim {
    /// Publishes OPEN: from here on the log `first` of this writer is the disk's, and `journal` may hold what it lacks.
    pub(crate) async fn open(
        &mut self,
        first: Seq,
        window: u32,
        journal: Option<Uuid>,
        patience: Patience,
    ) -> Result<(), Error> {
        let owner = Owner { journal, journal_dirty: journal.is_some(), ..self.chain.manifest.owner.clone() };
        let next = Manifest {
            state: State::Open,
            sealed: self.logs.clone(),
            open: Some(OpenLog { writer: self.writer, first }),
            window,
            owner,
            ..self.chain.manifest.clone()
        };
        self.chain.publish(next, patience.renewed()).await.map_err(|error| error.into_error("opening the disk"))
    }
}

/// Refuses what only a later version can serve.
pub(crate) fn supported(manifest: &Manifest) -> Result<(), Error> {
    if manifest.state == State::Deleted {
        return Err(Error::new(Kind::Invalid, "the disk was deleted"));
    }
    if !manifest.keys.is_empty() {
        return Err(Error::new(Kind::NotSupported, "the disk is encrypted: open it with a newer version"));
    }
    Ok(())
}
