//! The test of the tests: protocols with one mistake, each of which the simulator must find (OBJECT-LOG §12.3).
//!
//! The mistakes of the model check (tests/ownership-model), made at the edge between gateway and store, so that the
//! gateway's own code stays what it is: to a gateway whose fences are dropped, a claim without a fence is what it
//! does. For each mutant seeds are tried until the oracles object; the same seeds without it must pass.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use nbdgate_s3::{CreateOptions, Error, Location, OnUnclean, OpenOptions};
use object_store::{Extensions, ObjectStore, ObjectStoreExt, PutResult, path::Path};

use crate::{
    ask::{flush, read, write},
    prefix,
    setup::{BLOCK, at, options},
    sim_store::{Bucket, Faults},
};

/// A mistake in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Fences are never put, and thought to stand.
    NoFence,
    /// A slot counts as stored when it was sent: a FLUSH no longer waits for the run without a gap.
    AnswerOutOfOrder,
    /// Fences are deleted with the log in front of them.
    FenceCollected,
    /// Old manifests are deleted, and nobody looks for newer ones behind the one just published.
    NoListAfterCreate,
}

/// What the mistake makes of a put; `None` if it is an ordinary one.
pub(crate) fn put(mutant: Mutant, name: &Path, bytes: &Bytes) -> Option<Instead> {
    let kind = if bytes.starts_with(b"OLV1") { bytes.get(4).copied() } else { None };
    match (mutant, kind) {
        (Mutant::NoFence, Some(b'F')) => Some(Instead::Nothing),
        (Mutant::AnswerOutOfOrder, Some(b'S')) => Some(Instead::Later),
        (Mutant::FenceCollected, Some(b'M')) => Some(Instead::Forgetting("/l/")),
        (Mutant::NoListAfterCreate, Some(b'M')) if name.filename().is_some() => Some(Instead::Forgetting("/m/")),
        _ => None,
    }
}

/// What is done instead of a put, which is answered with success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instead {
    Nothing,
    /// The put, some time later.
    Later,
    /// The put; and if that succeeds, fences below `/l/` or older manifests below `/m/` are deleted.
    Forgetting(&'static str),
}

/// An answer to a put.
pub(crate) fn stored() -> PutResult {
    PutResult { e_tag: None, version: None, extensions: Extensions::default() }
}

/// Deletes what a collector without care would, after `newest` was published.
pub(crate) async fn forget(bucket: &Bucket, what: &str, newest: &Path) {
    for name in bucket.names().await {
        let path = Path::from(name.as_str());
        let collected = match what {
            "/m/" => name.contains(what) && path < *newest,
            _ => {
                name.contains(what) && {
                    let found = bucket.inner.get(&path).await.expect("it was listed").bytes().await.expect("in memory");
                    found.get(4) == Some(&b'F')
                }
            }
        };
        if collected {
            bucket.inner.delete(&path).await.expect("it was listed");
        }
    }
}

/// Seeds until a mutant must have been found.
const SEEDS: u64 = 400;

/// The words of every oracle that misses an acknowledged flush.
const LOST: &str = "flushed";

/// Whether a run ends with the objection that something flushed is not there.
fn loses_a_flush(run: impl FnOnce()) -> bool {
    let Err(panic) = catch_unwind(AssertUnwindSafe(run)) else { return false };
    panic.downcast_ref::<String>().is_some_and(|said| said.contains(LOST))
}

/// By some seed the mutant loses what was flushed, and without it that seed loses nothing.
#[track_caller]
fn is_caught(mutant: Mutant, run: impl Fn(u64, Option<Mutant>)) {
    let seed = (0..SEEDS).find(|seed| loses_a_flush(|| run(*seed, Some(mutant))));
    let seed = seed.unwrap_or_else(|| panic!("{mutant:?}: {SEEDS} seeds lost nothing"));
    println!("{mutant:?} is caught by seed {seed}");
    run(seed, None);
}

#[test]
fn a_gateway_that_does_not_fence_is_caught() {
    is_caught(Mutant::NoFence, prefix::run_mutant);
}

#[test]
fn a_gateway_that_answers_before_the_run_is_complete_is_caught() {
    is_caught(Mutant::AnswerOutOfOrder, prefix::run_mutant);
}

#[test]
fn a_gateway_that_collects_fences_is_caught() {
    is_caught(Mutant::FenceCollected, sleeper);
}

#[test]
fn a_gateway_that_does_not_look_behind_its_manifest_is_caught() {
    is_caught(Mutant::NoListAfterCreate, sleeper);
}

fn stealing(host: &str, seed: u64) -> OpenOptions {
    let mut options =
        OpenOptions { host: Some(host.to_owned()), steal: true, on_unclean: OnUnclean::Serve, ..options() };
    options.tuning.attempt_timeout = Duration::from_secs(2);
    options.tuning.checkpoint.segments = 2;
    options.tuning.seed = Some(seed);
    options
}

/// Writes growing numbers into its own block and flushes each; notes in `flushed` what was answered.
async fn count_up(location: &Location, options: OpenOptions, lba: u64, flushed: &Cell<u64>) -> Result<(), Error> {
    let disk = nbdgate_s3::open(location, options).await?;
    for number in 1..6 {
        write(&disk, lba * BLOCK, numbered(number)).await?;
        flush(&disk).await?;
        flushed.set(number);
    }
    Ok(())
}

fn numbered(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(512)
}

/// A gateway whose requests dawdle, and one that takes the disk over and goes on: whatever arrives when, what each of
/// them flushed is there in the end.
fn sleeper(seed: u64, mutant: Option<Mutant>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let bucket = Bucket::mutated(seed, mutant);
        let calm: Arc<dyn ObjectStore> = bucket.client(Faults::default());
        // Nobody waits: a lease would give the sleeper time to see the fence before it is gone.
        let create = CreateOptions { size: 1 << 20, lease: Duration::ZERO, ..CreateOptions::default() };
        nbdgate_s3::create(&at(&calm), &create).await.unwrap();
        let late = 300 + u32::try_from(seed % 5).unwrap() * 100;
        let slow: Arc<dyn ObjectStore> = bucket.client(Faults { late, ..Faults::default() });
        let (slow, flushed) = (at(&slow), [Cell::new(0), Cell::new(0)]);
        let first = count_up(&slow, stealing("sleeper", 2 * seed), 0, &flushed[0]);
        let second = async {
            tokio::time::sleep(Duration::from_millis(seed % 40 * 50)).await;
            count_up(&at(&calm), stealing("successor", 2 * seed + 1), 1, &flushed[1]).await
        };
        // Each may lose the disk to the other, and says so.
        let _ends = tokio::join!(tokio::time::timeout(Duration::from_mins(5), first), second);
        // Late puts have landed by then.
        tokio::time::sleep(Duration::from_mins(5)).await;
        let judge = nbdgate_s3::open(&at(&calm), stealing("judge", u64::MAX - seed)).await;
        let judge = judge.unwrap_or_else(|error| panic!("seed {seed}: {}", error.chain()));
        for (lba, flushed) in (0..).zip(&flushed) {
            let seen = read(&judge, lba * BLOCK, BLOCK).await.unwrap();
            let number = u64::from_le_bytes(seen[..8].try_into().unwrap());
            assert_eq!(seen, numbered(number), "seed {seed}: block {lba} is torn");
            assert!(number >= flushed.get(), "seed {seed}: block {lba} shows {number}, {} was flushed", flushed.get());
        }
    });
}
