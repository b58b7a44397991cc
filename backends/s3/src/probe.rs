//! The capability probe of OBJECT-LOG §6.7: does this store honour put-if-absent, now, for us?
//!
//! Lists of what stores can do are worth nothing (some accept the condition and ignore it, some only when the
//! bucket is versioned), so the bucket itself is asked whenever a disk is created or opened. The probe leaves
//! no object behind unless it is interrupted.

use futures_util::future::join_all;
use nbdgate_api::{Error, Kind};
use object_store::PutPayload;

use crate::{
    observer::Cause,
    store::{Patience, Store, StoreError},
};

/// How often a step whose outcome was unclear is repeated with new names.
const REPEATS: u32 = 32;

/// The most racers in a round.
const MAX_RACERS: u32 = 64;

/// So many bad reads in a row are no bad luck.
const BAD_READS: u32 = 4;

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

/// Probes below `prefix` with `rounds` rounds of `racers` racing creates.
pub(crate) async fn probe(
    store: &Store,
    prefix: &str,
    (rounds, racers): (u32, u32),
    patience: Patience,
) -> Result<Capability, Error> {
    let prefix = format!("{prefix}/{:016x}", store.random());
    let tried = || format!("probing {}", store.name_of(&prefix));
    let mut number = 0;
    let mut name = || {
        number += 1;
        format!("{prefix}/{number:04x}")
    };
    let mut ignored = false;
    let racers = racers.clamp(2, MAX_RACERS);
    let mut rounds = (0..=rounds).map(|round| if round == 0 { 1 } else { racers });
    let mut racers = rounds.next();
    let mut repeats = 0;
    while let Some(count) = racers {
        match race(store, &name(), count, patience).await.map_err(|error| error.tell(&tried()))? {
            Finding::Fine => {}
            Finding::Ignored => ignored = true,
            Finding::Unclear if repeats < REPEATS => {
                repeats += 1;
                continue;
            }
            Finding::Unclear => {
                return Err(Error::new(
                    Kind::Io,
                    format!("{}: the store answers too unreliably to be judged", tried()),
                ));
            }
        }
        racers = rounds.next();
    }
    sees_and_forgets(store, &name(), patience)
        .await
        .map_err(|error| error.tell(&tried()))?
        .map_err(|what| Error::new(Kind::Io, format!("{}: {what}; a disk cannot live in this store", tried())))?;
    Ok(if ignored { Capability::Advisory } else { Capability::Safe })
}

/// `racers` creates of one name at once, then one more: exactly one may win, the late one may not, and what is
/// read back is the winner's.
async fn race(store: &Store, key: &str, racers: u32, patience: Patience) -> Result<Finding, StoreError> {
    let all = (0..racers).map(|racer| async move { store.race(key, &payload(racer).into(), patience).await });
    let outcomes = join_all(all).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let late = store.race(key, &payload(racers).into(), patience).await?;
    let mut found = read_back(store, key, patience).await?;
    let winners: Vec<u32> =
        (0..racers).zip(&outcomes).filter(|(_, won)| **won == Some(true)).map(|(racer, _)| racer).collect();
    if winners.len() == 1 && found != Some(winners[0]) {
        // Perhaps damaged on the way.
        found = read_back(store, key, patience).await?;
    }
    store.delete(Cause::Probe, key, patience).await?;
    let unclear = outcomes.iter().filter(|outcome| outcome.is_none()).count();
    Ok(match (&winners[..], found, late) {
        ([_, _, ..], ..) | ([_], _, Some(true)) => Finding::Ignored,
        ([winner], Some(found), _) if found != *winner => Finding::Ignored,
        // One lost reply is no second winner: what is read back tells whose it was.
        ([_] | [], Some(found), Some(false)) if found < racers && unclear <= 1 => Finding::Fine,
        _ => Finding::Unclear,
    })
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

/// What was put is read and listed at once, and can be created again after it was deleted.
async fn sees_and_forgets(
    store: &Store,
    key: &str,
    patience: Patience,
) -> Result<Result<(), &'static str>, StoreError> {
    let payload = PutPayload::from_static(b"here");
    for _ in 0..2 {
        store.place(Cause::Probe, key, &payload, patience).await?;
        let mut reads = 0;
        while store.get(Cause::Probe, key, None, patience).await? != b"here"[..] {
            reads += 1;
            if reads == BAD_READS {
                return Ok(Err("it returns other bytes than were put"));
            }
        }
        let (directory, _) = key.rsplit_once('/').expect("a probe's key has a directory");
        let listed = store.list(Cause::Probe, directory, None, usize::MAX, patience).await?;
        if !listed.iter().any(|found| found.key == key) {
            return Ok(Err("it does not list what was put"));
        }
        store.delete(Cause::Probe, key, patience).await?;
    }
    Ok(Ok(()))
}
