//! What a backend's tests tell the suite, and what a case gets of it.

use std::{sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    Backend, Info,
    conformance::{Duty, Failure, disk::Disk, generator::Generator},
};

type Open = Box<dyn Fn(u64) -> Arc<dyn Backend> + Send + Sync>;
type Again = Box<dyn Fn(Arc<dyn Backend>) -> Arc<dyn Backend> + Send + Sync>;

/// Disk size with which the suite learns a backend's block sizes: a multiple of every allowed minimum.
const FIRST_SIZE: u64 = 1 << 20;

/// How to get disks of the backend under test. Where `submit` must run on a special thread, the disks are wrappers
/// that forward to it.
pub struct Harness {
    open: Open,
    reopen: Option<Again>,
    crash: Option<Again>,
    expects_failures: bool,
    patience: Duration,
    rounds: u32,
    seed: u64,
}

impl Harness {
    /// `open` makes a new disk of exactly so many bytes, a multiple of the minimum block, that reads as zeros (a
    /// read-only one may hold anything). It may be called again while earlier disks are still in use.
    pub fn new(open: impl Fn(u64) -> Arc<dyn Backend> + Send + Sync + 'static) -> Self {
        let seed = std::env::var("NBDGATE_SEED").ok().and_then(|text| text.parse().ok());
        Self {
            open: Box::new(open),
            reopen: None,
            crash: None,
            expects_failures: false,
            patience: Duration::from_secs(30),
            rounds: 400,
            seed: seed.unwrap_or_else(|| rand::rng().random()),
        }
    }

    /// `reopen` opens the disk again that the given backend, by then closed, served.
    #[must_use]
    pub fn with_reopen(
        mut self,
        reopen: impl Fn(Arc<dyn Backend>) -> Arc<dyn Backend> + Send + Sync + 'static,
    ) -> Self {
        self.reopen = Some(Box::new(reopen));
        self
    }

    /// `crash` lets the given backend, which is not closed, lose what its declared level of durability may lose, and
    /// opens the disk again.
    #[must_use]
    pub fn with_crash(mut self, crash: impl Fn(Arc<dyn Backend>) -> Arc<dyn Backend> + Send + Sync + 'static) -> Self {
        self.crash = Some(Box::new(crash));
        self
    }

    /// Mutations may fail, as on a disk without space: the random case then checks B6 instead of failing. The other
    /// cases take a failure for one, so this is for [`Case::run`](super::Case::run) of that case.
    #[must_use]
    pub fn expecting_failures(mut self) -> Self {
        self.expects_failures = true;
        self
    }

    /// How long a request may take; 30 seconds if not said.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How many operations a random case makes; 400 if not said.
    #[must_use]
    pub fn with_rounds(mut self, rounds: u32) -> Self {
        self.rounds = rounds;
        self
    }

    /// Where randomness starts from; another one each time if neither this nor `NBDGATE_SEED` is said.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Where randomness starts from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }
}

/// A case's access to the harness.
pub struct Context {
    harness: Arc<Harness>,
    case: &'static str,
}

impl Context {
    pub(super) fn new(harness: Arc<Harness>, case: &'static str) -> Self {
        Self { harness, case }
    }

    /// The backend's shape, from a disk that is closed again; its size means nothing.
    pub(super) fn info(&self) -> Result<Info, Failure> {
        let disk = self.open(FIRST_SIZE)?;
        let info = disk.info().clone();
        disk.finish()?;
        Ok(info)
    }

    /// A new disk.
    pub(super) fn open(&self, size: u64) -> Result<Disk, Failure> {
        let disk = Disk::new((self.harness.open)(size), self.harness.patience);
        match disk.info().size {
            opened if opened == size => Ok(disk),
            opened => Err(Failure::new(Duty::Info, format!("asked for {size} bytes, got a disk of {opened}"))),
        }
    }

    /// A new disk of about `size` bytes: a multiple of the minimum block, and where that can be of nothing larger.
    pub(super) fn open_odd(&self, size: u64) -> Result<Disk, Failure> {
        let minimum = u64::from(self.info()?.block.minimum);
        self.open((size / minimum + 1) * minimum)
    }

    pub(super) fn can_reopen(&self) -> bool {
        self.harness.reopen.is_some() || self.skip("a disk cannot be opened again")
    }

    pub(super) fn can_crash(&self) -> bool {
        self.harness.crash.is_some() || self.skip("a disk cannot crash")
    }

    /// Closes the disk and opens it again.
    pub(super) fn reopen(&self, disk: Disk) -> Result<Disk, Failure> {
        let reopen = self.harness.reopen.as_ref().expect("the case asked whether it can reopen");
        Ok(Disk::new(reopen(disk.finish()?), self.harness.patience))
    }

    /// Crashes the disk and opens it again.
    pub(super) fn crash(&self, disk: Disk) -> Disk {
        let crash = self.harness.crash.as_ref().expect("the case asked whether it can crash");
        Disk::new(crash(disk.abandon()), self.harness.patience)
    }

    pub(super) fn patience(&self) -> Duration {
        self.harness.patience
    }

    pub(super) fn expects_failures(&self) -> bool {
        self.harness.expects_failures
    }

    pub(super) fn rounds(&self) -> u32 {
        self.harness.rounds
    }

    /// Seeded for this case alone, so that one case shows the same again without the others.
    pub(super) fn generator(&self, info: &Info) -> Generator {
        let salt = self.case.bytes().fold(0_u64, |salt, byte| salt.wrapping_mul(31).wrapping_add(byte.into()));
        Generator::new(StdRng::seed_from_u64(self.harness.seed ^ salt), info.clone())
    }

    /// Says that a check is left out; `false`, for use in conditions.
    pub(super) fn skip(&self, reason: &str) -> bool {
        println!("{}: left out, {reason}", self.case);
        false
    }
}
