//! The capability probe of OBJECT-LOG §6.7: does this store honour put-if-absent, now, for us?
//!
//! Lists of what stores can do are worth nothing (some accept the condition and ignore it, some only when the
//! bucket is versioned), so the bucket itself is asked whenever a disk is created or opened. The probe leaves
//! no object behind unless it is interrupted.

mod volume;

use std::time::Duration;

use futures_util::future::join_all;
use nbdgate_api::{Error, Kind};
use object_store::PutPayload;
use tokio::time::Instant;

use crate::{
    admin::unix_ms,
    observer::Cause,
    store::{Patience, Store, StoreError},
};

pub(crate) use self::volume::{Probed, Probing};

/// How often a step whose outcome was unclear is repeated with new names.
const REPEATS: u32 = 32;

/// The most racers in a round.
const MAX_RACERS: u32 = 64;

/// So many bad reads in a row are no bad luck.
const BAD_READS: u32 = 4;

/// What the object that is looked at holds.
const HERE: &[u8] = b"here";

/// Whether the protocol can rely on the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Put-if-absent is atomic: two writers cannot both win.
    Safe,
    /// It is not: nothing but the operator keeps two writers apart.
    Advisory,
}

/// What the steps learn.
enum Finding {
    Fine,
    Ignored,
    Unclear,
}

/// What a probe of a store found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// Whether the protocol can rely on the store; of two stores, on both.
    pub capability: Capability,
    /// How far this host's clock is ahead of the store's, in milliseconds, to about a second; `None` if the store told
    /// no time. Nothing relies on it, but S3 refuses requests that are 15 minutes off.
    pub clock_offset_ms: Option<i64>,
    /// The shortest request.
    pub round_trip: Duration,
    /// One small create, among others at the same time.
    pub put: Duration,
    /// One small read, among others at the same time.
    pub get: Duration,
}

/// What the probe of one store is made of.
#[derive(Debug)]
pub(crate) struct Probe<'a> {
    pub(crate) store: &'a Store,
    /// Where its objects go.
    pub(crate) prefix: String,
    /// Rounds of racing creates, and racers in each.
    pub(crate) rounds: (u32, u32),
    pub(crate) patience: Patience,
}

/// Objects that a probe has made and not deleted yet.
#[derive(Debug, Default)]
pub(crate) struct Leftovers(Vec<String>);

impl Leftovers {
    /// Deletes them. What cannot be deleted stays, and costs nothing but its place.
    pub(crate) async fn clean(self, store: &Store, patience: Patience) {
        let deletes = self.0.iter().map(|key| store.delete(Cause::Probe, key, patience));
        for error in join_all(deletes).await.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "an object of the capability probe could not be deleted");
        }
    }

    /// Those of two probes.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

impl ProbeReport {
    /// What holds for a disk in both stores.
    pub(crate) fn and(self, other: Self) -> Self {
        let advisory = self.capability == Capability::Advisory || other.capability == Capability::Advisory;
        Self {
            capability: if advisory { Capability::Advisory } else { Capability::Safe },
            clock_offset_ms: self.clock_offset_ms.or(other.clock_offset_ms),
            round_trip: self.round_trip.max(other.round_trip),
            put: self.put.max(other.put),
            get: self.get.max(other.get),
        }
    }
}

/// What one round of racing creates learned.
struct Round {
    ignored: bool,
    put: Duration,
    get: Duration,
    leftovers: Vec<String>,
}

impl Probe<'_> {
    /// Three round trips if nothing goes wrong: all steps that do not build on each other are taken at once.
    pub(crate) async fn run(&self) -> Result<(ProbeReport, Leftovers), Error> {
        let prefix = format!("{}/{:016x}", self.prefix, self.store.random());
        let (rounds, racers) = (self.rounds.0, self.rounds.1.clamp(2, MAX_RACERS));
        // One lone create besides, so that a store that only fails under races is told from one that ignores.
        let rounds = (0..=rounds).map(|round| self.round(&prefix, round, if round == 0 { 1 } else { racers }));
        let sees = format!("{prefix}/sees");
        let (rounds, sees) = tokio::join!(join_all(rounds), self.sees_and_forgets(&sees));
        let rounds = rounds.into_iter().collect::<Result<Vec<Round>, Error>>()?;
        let seen = sees?;
        let first = rounds.first().expect("there is a lone create at least");
        let ignored = rounds.iter().any(|round| round.ignored);
        let report = ProbeReport {
            capability: if ignored { Capability::Advisory } else { Capability::Safe },
            clock_offset_ms: self.store.clock_offset_ms().or(seen.clock_offset_ms),
            round_trip: first.put.min(first.get).min(seen.get),
            put: first.put,
            get: first.get,
        };
        let mut leftovers = seen.keys.to_vec();
        leftovers.extend(rounds.into_iter().flat_map(|round| round.leftovers));
        Ok((report, Leftovers(leftovers)))
    }

    /// Races until the outcome is clear, each time under a new name.
    async fn round(&self, prefix: &str, round: u32, racers: u32) -> Result<Round, Error> {
        let mut leftovers = Vec::new();
        for repeat in 0..REPEATS {
            let key = format!("{prefix}/{round:04x}-{repeat:04x}");
            let raced = race(self.store, &key, racers, self.patience).await;
            leftovers.push(key);
            let Race { finding, put, get } = raced.map_err(|error| error.tell(&self.tried()))?;
            let ignored = match finding {
                Finding::Fine => false,
                Finding::Ignored => true,
                Finding::Unclear => continue,
            };
            return Ok(Round { ignored, put, get, leftovers });
        }
        Err(Error::new(Kind::Io, format!("{}: the store answers too unreliably to be judged", self.tried())))
    }

    fn tried(&self) -> String {
        format!("probing {}", self.store.name_of(&self.prefix))
    }
}

/// `racers` creates of one name at once, then one more: exactly one may win, the late one may not, and what is
/// read back is the winner's.
async fn race(store: &Store, key: &str, racers: u32, patience: Patience) -> Result<Race, StoreError> {
    let begun = Instant::now();
    let all = (0..racers).map(|racer| async move { store.race(key, &payload(racer).into(), patience).await });
    let outcomes = join_all(all).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let put = begun.elapsed();
    let late = store.race(key, &payload(racers).into(), patience).await?;
    let begun = Instant::now();
    let mut found = read_back(store, key, patience).await?;
    let get = begun.elapsed();
    let winners: Vec<u32> =
        (0..racers).zip(&outcomes).filter(|(_, won)| **won == Some(true)).map(|(racer, _)| racer).collect();
    if winners.len() == 1 && found != Some(winners[0]) {
        // Perhaps damaged on the way.
        found = read_back(store, key, patience).await?;
    }
    let unclear = outcomes.iter().filter(|outcome| outcome.is_none()).count();
    let finding = match (&winners[..], found, late) {
        ([_, _, ..], ..) | ([_], _, Some(true)) => Finding::Ignored,
        ([winner], Some(found), _) if found != *winner => Finding::Ignored,
        // One lost reply is no second winner: what is read back tells whose it was.
        ([_] | [], Some(found), Some(false)) if found < racers && unclear <= 1 => Finding::Fine,
        _ => Finding::Unclear,
    };
    Ok(Race { finding, put, get })
}

/// How a race went.
struct Race {
    finding: Finding,
    put: Duration,
    get: Duration,
}

/// Short and unlike one another, so that one flipped bit makes none into another.
fn payload(racer: u32) -> Vec<u8> {
    format!("racer {racer} {racer}").into_bytes()
}

/// Whose object stands at the name; `None` if it is nobody's.
async fn read_back(store: &Store, key: &str, patience: Patience) -> Result<Option<u32>, StoreError> {
    match store.get(Cause::Probe, key, None, patience).await {
        Ok(found) => Ok((0..=MAX_RACERS).find(|&racer| found == payload(racer))),
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A store that keeps objects, as far as one was looked at.
struct Seen {
    /// The objects.
    keys: [String; 2],
    clock_offset_ms: Option<i64>,
    get: Duration,
}

impl Probe<'_> {
    /// What was put is read and listed at once, and can be created again after it was deleted.
    async fn sees_and_forgets(&self, key: &str) -> Result<Seen, Error> {
        let Self { store, patience, .. } = *self;
        let tell = |error: StoreError| error.tell(&self.tried());
        let payload = PutPayload::from_static(HERE);
        let again = format!("{key}-again");
        let (put, other) = tokio::join!(
            store.place(Cause::Probe, key, &payload, patience),
            store.place(Cause::Probe, &again, &payload, patience)
        );
        put.and(other).map_err(tell)?;
        let put_ms = i64::try_from(unix_ms()).unwrap_or(i64::MAX);
        let begun = Instant::now();
        let (directory, _) = key.rsplit_once('/').expect("a probe's key has a directory");
        let reads = async {
            let read = self.reads_back(key).await;
            (read, begun.elapsed())
        };
        let lists = store.list(Cause::Probe, directory, None, usize::MAX, patience);
        let forgets = store.delete(Cause::Probe, &again, patience);
        let ((read, get), listed, forgotten) = tokio::join!(reads, lists, forgets);
        forgotten.map_err(tell)?;
        if !read.map_err(tell)? {
            return Err(self.unfit("it returns other bytes than were put"));
        }
        let listed = listed.map_err(tell)?;
        let Some(found) = listed.iter().find(|found| found.key == key) else {
            return Err(self.unfit("it does not list what was put"));
        };
        let made_ms = i64::try_from(found.unix_ms).unwrap_or(0);
        store.place(Cause::Probe, &again, &payload, patience).await.map_err(tell)?;
        Ok(Seen { keys: [key.to_owned(), again], clock_offset_ms: (made_ms > 0).then(|| put_ms - made_ms), get })
    }

    /// Whether the object comes back as it was put; a body may be damaged on the way now and then.
    async fn reads_back(&self, key: &str) -> Result<bool, StoreError> {
        for _ in 0..BAD_READS {
            if self.store.get(Cause::Probe, key, None, self.patience).await? == HERE {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn unfit(&self, what: &str) -> Error {
        Error::new(Kind::Io, format!("{}: {what}; a disk cannot live in this store", self.tried()))
    }
}
