//! A journal's device that fails by seed: what is written is seen at once, and survives a power loss only after a sync.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use nbdgate_s3::journal::{Done, Medium};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{sync::Notify, task::JoinHandle};

/// The unit that is written wholly or not at all.
const SECTOR: usize = 512;

/// What survives the gateways: the medium itself and its volatile cache.
#[derive(Debug)]
pub(crate) struct Platter {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stable: Vec<u8>,
    /// Sectors that were written and not synced.
    cache: BTreeMap<usize, [u8; SECTOR]>,
    random: StdRng,
}

/// One gateway's use of a platter.
#[derive(Debug)]
pub(crate) struct SimDisk {
    platter: Arc<Platter>,
    size: u64,
    shared: Arc<Shared>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    life: Mutex<Life>,
    wake: Notify,
}

#[derive(Default)]
struct Life {
    queue: VecDeque<Order>,
    /// What is being written.
    in_flight: Option<(u64, Vec<u8>)>,
    closed: bool,
    operations: u64,
    /// From this operation on nothing is answered: the gateway died.
    crash_at: Option<u64>,
    /// From this operation on everything fails.
    fail_at: Option<u64>,
    is_dead: bool,
    syncs: u64,
}

enum Order {
    Write(u64, Vec<u8>, Done<()>),
    Sync(Done<()>),
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Life").field("operations", &self.operations).finish_non_exhaustive()
    }
}

impl Platter {
    pub(crate) fn new(seed: u64, size: usize) -> Arc<Self> {
        let random = StdRng::seed_from_u64(seed);
        Arc::new(Self { state: Mutex::new(State { stable: vec![0; size], cache: BTreeMap::new(), random }) })
    }

    /// A way to it for a gateway, inside a runtime.
    pub(crate) fn attach(self: &Arc<Self>) -> Arc<SimDisk> {
        let size = self.state.lock().unwrap().stable.len() as u64;
        let shared = Arc::<Shared>::default();
        let worker = tokio::spawn(work(Arc::clone(self), Arc::clone(&shared)));
        Arc::new(SimDisk { platter: Arc::clone(self), size, shared, worker: Mutex::new(Some(worker)) })
    }

    /// Each unsynced sector is kept, lost, or gone bad, by chance.
    pub(crate) fn lose_power(&self) {
        let mut state = self.state.lock().unwrap();
        let kept = [0.0, 0.5, 0.9, 1.0][state.random.random_range(0..4)];
        // A creation that leaves garbage is refused as a foreign device, which is right and ends the story.
        let is_blank = state.stable[..8192].iter().all(|&byte| byte == 0);
        for (sector, bytes) in std::mem::take(&mut state.cache) {
            let at = sector * SECTOR;
            if state.random.random_bool(kept) {
                state.stable[at..at + SECTOR].copy_from_slice(&bytes);
            } else if !is_blank && state.random.random_bool(0.1) {
                state.stable[at..at + SECTOR].fill(0xa5);
            }
        }
    }

    /// Flips a bit, as only a failing medium does.
    pub(crate) fn rot(&self, offset: usize) {
        let mut state = self.state.lock().unwrap();
        state.sync();
        state.stable[offset] ^= 4;
    }

    /// Another one that holds the same.
    pub(crate) fn copy(&self) -> Arc<Self> {
        Self::holding(self.contents())
    }

    /// One that holds this.
    pub(crate) fn holding(stable: Vec<u8>) -> Arc<Self> {
        let state = State { stable, cache: BTreeMap::new(), random: StdRng::seed_from_u64(1) };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Everything on it as it is seen now.
    pub(crate) fn contents(&self) -> Vec<u8> {
        let state = self.state.lock().unwrap();
        state.read(0..state.stable.len())
    }
}

impl State {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let first = usize::try_from(offset).unwrap() / SECTOR;
        for (index, sector) in bytes.chunks(SECTOR).enumerate() {
            self.cache.insert(first + index, sector.try_into().unwrap());
        }
    }

    fn sync(&mut self) {
        for (sector, bytes) in std::mem::take(&mut self.cache) {
            self.stable[sector * SECTOR..(sector + 1) * SECTOR].copy_from_slice(&bytes);
        }
    }

    fn read(&self, range: Range<usize>) -> Vec<u8> {
        let mut bytes = self.stable[range.clone()].to_vec();
        for (sector, cached) in self.cache.range(range.start / SECTOR..range.end / SECTOR) {
            let at = sector * SECTOR - range.start;
            bytes[at..at + SECTOR].copy_from_slice(cached);
        }
        bytes
    }
}

impl SimDisk {
    /// After so many more operations nothing is answered any more.
    pub(crate) fn crash_after(&self, operations: u64) {
        let mut life = self.shared.life.lock().unwrap();
        life.crash_at = Some(life.operations + operations);
    }

    /// After so many more operations all fail.
    pub(crate) fn fail_after(&self, operations: u64) {
        let mut life = self.shared.life.lock().unwrap();
        life.fail_at = Some(life.operations + operations);
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.shared.life.lock().unwrap().syncs
    }

    fn order(&self, order: Order) {
        let mut life = self.shared.life.lock().unwrap();
        if !life.closed {
            life.queue.push_back(order);
            self.shared.wake.notify_one();
        }
    }
}

impl Medium for SimDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn write(&self, offset: u64, slices: Vec<Bytes>, done: Done<()>) {
        let bytes = slices.concat();
        assert!(
            offset.is_multiple_of(4096) && bytes.len().is_multiple_of(4096) && !bytes.is_empty(),
            "whole blocks (M)"
        );
        assert!(offset + bytes.len() as u64 <= self.size, "a write lies inside");
        self.order(Order::Write(offset, bytes, done));
    }

    fn sync(&self, done: Done<()>) {
        self.order(Order::Sync(done));
    }

    fn read(&self, range: Range<u64>, done: Done<Bytes>) {
        let (platter, shared) = (Arc::clone(&self.platter), Arc::clone(&self.shared));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if shared.life.lock().unwrap().closed {
                return;
            }
            let state = platter.state.lock().unwrap();
            let bytes = state.read(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap());
            drop(state);
            done(Ok(bytes.into()));
        });
    }

    fn close(&self) {
        let dropped = {
            let mut life = self.shared.life.lock().unwrap();
            life.closed = true;
            // What was being written is there in part.
            if let Some((offset, bytes)) = life.in_flight.take() {
                let mut state = self.platter.state.lock().unwrap();
                let sectors = state.random.random_range(0..=bytes.len() / SECTOR);
                state.write(offset, &bytes[..sectors * SECTOR]);
            }
            std::mem::take(&mut life.queue)
        };
        drop(dropped);
        if let Some(worker) = self.worker.lock().unwrap().take() {
            worker.abort();
        }
    }

    fn name(&self) -> String {
        "simulated device".to_owned()
    }
}

async fn work(platter: Arc<Platter>, shared: Arc<Shared>) {
    loop {
        let order = shared.life.lock().unwrap().queue.pop_front();
        let Some(order) = order else {
            shared.wake.notified().await;
            continue;
        };
        let fails = {
            let mut life = shared.life.lock().unwrap();
            life.operations += 1;
            life.is_dead |= life.crash_at.is_some_and(|at| life.operations > at);
            if let Order::Write(offset, bytes, _) = &order {
                life.in_flight = Some((*offset, bytes.clone()));
            }
            life.fail_at.is_some_and(|at| life.operations > at)
        };
        if shared.life.lock().unwrap().is_dead {
            std::future::pending::<()>().await;
        }
        let millis = platter.state.lock().unwrap().random.random_range(1..4);
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let outcome = || if fails { Err(io::Error::other("EIO by the simulator")) } else { Ok(()) };
        shared.life.lock().unwrap().in_flight = None;
        match order {
            Order::Write(offset, bytes, done) => {
                if !fails {
                    platter.state.lock().unwrap().write(offset, &bytes);
                }
                done(outcome());
            }
            Order::Sync(done) => {
                if !fails {
                    platter.state.lock().unwrap().sync();
                    shared.life.lock().unwrap().syncs += 1;
                }
                done(outcome());
            }
        }
    }
}
