//! Whether a journal and a manifest belong together (OBJECT-LOG §6.8).
//!
//! A manifest that is not CLOSED names the journal that may hold what the bucket lacks; the journal names the writer that
//! used it last. What one of them says without the other is never replayed, and never overwritten.

use nbdgate_api::{Error, Kind};

use crate::{
    format::{
        Manifest,
        manifest::{FlushMode, State},
    },
    journal::{Keeper, Standing},
    ownership::when::utc,
};

/// The journal that an opening has at hand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Given<'a> {
    /// It, if there is one.
    pub(crate) journal: Option<&'a Keeper>,
    /// What only another journal holds is given up.
    pub(crate) abandon: bool,
    /// Nobody is served meanwhile: there is no FLUSH to answer, so a disk whose journal holds nothing needs none.
    pub(crate) at_rest: bool,
}

/// What is to be done with the journal that the manifest names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It names none.
    Nothing,
    /// It is at hand: what it holds continues the bucket, and nothing that was answered is lost.
    Replay,
    /// It is given up: the bucket is the truth.
    Abandoned,
}

impl Given<'_> {
    /// Holds the journal at hand against the newest manifest, and against `base`, the newest one that is no claim. `unix_ms`
    /// is when the newest was published.
    pub(crate) fn judge(&self, newest: &Manifest, base: &Manifest, unix_ms: u64) -> Result<Verdict, Error> {
        let named = newest.owner.journal.filter(|_| newest.owner.journal_dirty);
        let epoch = base.owner.writer.epoch;
        // Closed by the writer that used it last: all of it is in the bucket, even if the journal could not be told.
        let is_spent = |journal: &Keeper| {
            let closed = base.state == State::Closed && journal.superblock.epoch >= epoch;
            journal.standing() == Standing::Spent || (named.is_none() && closed)
        };
        match (named, self.journal) {
            (Some(named), Some(journal)) if journal.superblock.journal == named => {
                if journal.superblock.epoch >= epoch {
                    return Ok(Verdict::Replay);
                }
                Err(Error::new(
                    Kind::Permission,
                    format!(
                        "the journal {} is an old copy: epoch {} used it last, the disk was written by epoch {} since; it is \
                         left as it is, find the newer one, or open the disk with another journal and `abandon-journal`",
                        journal.medium.name(),
                        journal.superblock.epoch.0,
                        epoch.0
                    ),
                ))
            }
            (_, Some(journal)) if !is_spent(journal) => Err(Error::new(
                Kind::Permission,
                format!(
                    "the journal {} is parked: it holds writes of epoch {} that the disk went on without (epoch {}, by {}); \
                     they are neither replayed nor deleted: open the disk with another journal",
                    journal.medium.name(),
                    journal.superblock.epoch.0,
                    newest.owner.writer.epoch.0,
                    newest.owner.host
                ),
            )),
            (Some(_), _) if self.abandon => self.needed(newest, Verdict::Abandoned),
            (Some(named), _) => Err(Error::new(
                Kind::Permission,
                format!(
                    "the journal {named} of host {} may hold writes that the bucket lacks: it was opened by epoch {}, the \
                     manifest is of {}. Open the disk on that host with that journal (`journal=PATH`, or `--journal PATH` of \
                     `disk` commands); if it is gone for good, `abandon-journal` makes the bucket the truth: what was \
                     answered in the last seconds is then lost",
                    base.owner.host,
                    epoch.0,
                    utc(unix_ms)
                ),
            )),
            (None, _) => self.needed(newest, Verdict::Nothing),
        }
    }

    fn needed(&self, newest: &Manifest, verdict: Verdict) -> Result<Verdict, Error> {
        if newest.options.flush == FlushMode::Journal && self.journal.is_none() && !self.at_rest {
            let text = "the disk answers FLUSH from a local journal: say where it is, or is to be, with `journal=PATH` \
                        (`--journal PATH` of `disk` commands)";
            return Err(Error::new(Kind::Invalid, text));
        }
        Ok(verdict)
    }
}
