//! Becoming the writer of a disk (§6.3): check who holds it, claim, close the old log, and later open.

use std::{sync::Arc, time::Duration};

use nbdgate_api::{Error, Kind};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    chain::{Chain, NotPublished},
    fence::OldLog,
    journal::{Given, Verdict},
    when::utc,
};
use crate::{
    OnUnclean,
    format::{
        Epoch, Fence, Manifest, Nonce, Seq, VolumeId, Writer,
        manifest::{ClosedLog, OpenLog, Owner, State},
    },
    observer::Phase,
    store::{Patience, Store},
};

/// What a claimant waits beyond the lease of its predecessor, for clocks that do not run at quite the same rate.
const LEASE_MARGIN: Duration = Duration::from_secs(2);

/// How often a claim is tried: a writer that is alive publishes on and on, and each time a number is lost.
const ATTEMPTS: u32 = 16;

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

/// A claim that is published.
struct Claimed {
    chain: Chain,
    writer: Writer,
    /// What was claimed.
    base: Manifest,
    hole: Option<Seq>,
    verdict: Verdict,
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
    /// Until then the writer before may answer reads.
    lease_ends: Option<Instant>,
    /// What becomes of the journal that the manifest named.
    pub(crate) verdict: Verdict,
}

/// The newest manifest, and how far its log was followed: every slot before `hole` holds a segment.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) chain: Chain,
    pub(crate) hole: Option<Seq>,
}

impl Claimant<'_> {
    /// The newest manifest and the end of its log as of now. Claims nothing.
    pub(crate) async fn look(&self) -> Result<Found, Error> {
        let chain = Chain::newest(self.store, self.volume, self.patience).await?;
        let hole = match chain.manifest.open {
            Some(log) => Some(self.old(log).end(chain.manifest.window).await?),
            None => None,
        };
        Ok(Found { chain, hole })
    }

    fn old(&self, log: OpenLog) -> OldLog<'_> {
        OldLog { store: self.store, volume: self.volume, log, patience: self.patience }
    }

    /// Checks the holder, publishes the claim, and closes the open log.
    pub(crate) async fn claim(&self, found: Found) -> Result<Claim, Error> {
        let Claimed { chain, writer, base, hole, verdict } = self.publish(found).await?;
        let mut logs = chain.manifest.sealed.clone();
        let mut next = logs.last().map(|log| Seq(log.last.0 + 1));
        if let Some(log) = chain.manifest.open {
            self.store.phases().set(Phase::Fencing);
            let fence = Fence { by: writer, host: self.host.to_owned() };
            let end = self.old(log).close(&fence, chain.manifest.window, hole.unwrap_or(log.first)).await?;
            if end > log.first {
                logs.push(ClosedLog { writer: log.writer, first: log.first, last: Seq(end.0 - 1) });
            }
            next = Some(end);
        }
        // The fence stands, and our claim before it: from here on the writer before proves nothing any more.
        let lease = Duration::from_secs(u64::from(base.options.lease_seconds));
        let waits = base.state == State::Open && base.owner.host != self.host && !lease.is_zero();
        let lease_ends = waits.then(|| Instant::now() + lease + LEASE_MARGIN);
        Ok(Claim { chain, writer, logs, next, lease_ends, verdict })
    }

    /// Publishes the claim. One that lost its number is tried again: the winner may be the last manifest of a
    /// gateway that died, applied late. Who holds the disk is asked anew each time.
    async fn publish(&self, found: Found) -> Result<Claimed, Error> {
        let mut attempt = 1;
        let mut found = found;
        loop {
            let Found { mut chain, hole } = found;
            supported(&chain.manifest)?;
            let base = self.last_opened(&chain).await?;
            let verdict = self.check_holder(&chain, &base)?;
            let epoch = Epoch(chain.manifest.owner.writer.epoch.0 + 1);
            let writer = Writer { epoch, nonce: Nonce(self.store.random()) };
            let next = Manifest {
                state: State::Claim,
                owner: self.owner(writer, &chain.manifest.owner),
                ..chain.manifest.clone()
            };
            match chain.publish(next, self.patience).await {
                Ok(()) => return Ok(Claimed { chain, writer, base, hole, verdict }),
                Err(NotPublished::Lost(error)) if attempt < ATTEMPTS => {
                    tracing::warn!(error = error.chain(), attempt, "lost the race for a claim; looking again");
                }
                Err(error) => return Err(error.into_error("claiming the disk")),
            }
            attempt += 1;
            found = self.look().await?;
        }
    }

    /// The newest manifest that is no claim: a claim says nothing of how the writer before it ended.
    async fn last_opened(&self, chain: &Chain) -> Result<Manifest, Error> {
        let (mut no, mut base) = (chain.no(), chain.manifest.clone());
        while base.state == State::Claim {
            let Some(before) = chain.before(no, self.patience).await? else { break };
            (no, base) = before;
        }
        Ok(base)
    }

    /// Refuses a disk that someone else holds, or that was not closed.
    fn check_holder(&self, chain: &Chain, base: &Manifest) -> Result<Verdict, Error> {
        let holder = &chain.manifest.owner;
        let verdict = self.journal.judge(&chain.manifest, base, chain.unix_ms)?;
        let held = chain.manifest.state == State::Open || chain.manifest.state == State::Claim;
        if held && holder.host != self.host && !self.steal && verdict != Verdict::Abandoned {
            return Err(Error::new(
                Kind::Permission,
                format!(
                    "the disk is held by {} since {}: stop that gateway, or take the disk over with `steal` if it \
                     is gone; what it acknowledged and did not flush is then lost",
                    holder.host,
                    utc(chain.unix_ms)
                ),
            ));
        }
        // With its journal nothing that was answered is missing; without it someone said that this is known.
        let unclean = base.state == State::Open && verdict == Verdict::Nothing;
        if unclean && holder.host == self.host && !self.steal && self.on_unclean == OnUnclean::Refuse {
            return Err(Error::new(
                Kind::Permission,
                format!(
                    "the disk was not closed by its last gateway, on this host ({}) since {}. If that still \
                     runs, stop it: opening the disk here would fence it off. If it died, writes that it acknowledged \
                     and did not flush are gone, and a client that is still running would not know: restart or check \
                     its clients, then open the disk with `on-unclean=serve` (`--on-unclean serve` of `disk` \
                     commands); everything that was flushed is there",
                    holder.host,
                    utc(chain.unix_ms)
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
    /// The right to publish behind `chain` without a claim before: for what replaces the whole state.
    pub(crate) fn of(chain: Chain, writer: Writer) -> Self {
        Self { chain, writer, logs: Vec::new(), next: None, lease_ends: None, verdict: Verdict::Nothing }
    }

    /// Waits until the writer before can no longer answer reads that know nothing of what is written from here on.
    pub(crate) async fn outlast_lease(&self, store: &Store) {
        if let Some(until) = self.lease_ends.filter(|&until| until > Instant::now()) {
            store.phases().set(Phase::Waiting);
            let seconds = until.saturating_duration_since(Instant::now()).as_secs_f32();
            tracing::info!(seconds, "waiting for the serving lease of the gateway before to end");
            tokio::time::sleep_until(until).await;
        }
    }

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
    Ok(())
}
