//! A medium for read caches that lies by seed: it fails, tears and loses writes, and rots.

use std::{
    io,
    sync::{Arc, Mutex},
};

use nbdgate_s3::{Cache, Medium};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// Chances in a thousand, per call.
const FAILS: u32 = 5;
const LIES: u32 = 30;

#[derive(Debug)]
pub(crate) struct SimMedium(Mutex<State>);

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    random: StdRng,
}

impl State {
    fn chance(&mut self, chance: u32) -> bool {
        self.random.random_range(0..1000) < chance
    }

    fn refuse(&mut self) -> io::Result<()> {
        if self.chance(FAILS) { Err(io::Error::other("the simulator's medium failed")) } else { Ok(()) }
    }
}

impl SimMedium {
    pub(crate) fn new(seed: u64, size: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { bytes: vec![0; size], random: StdRng::seed_from_u64(seed) })))
    }

    /// A cache over what the medium holds by now, as after a crash of the process; `None` if even that fails.
    pub(crate) fn cache(self: &Arc<Self>) -> Option<Arc<Cache>> {
        Cache::on(Arc::<Self>::clone(self), "simulated").ok()
    }
}

impl Medium for SimMedium {
    fn size(&self) -> u64 {
        self.0.lock().unwrap().bytes.len() as u64
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.refuse()?;
        let at = usize::try_from(offset).unwrap();
        if state.chance(LIES) {
            let rotten = state.random.random_range(at..at + bytes.len());
            state.bytes[rotten] ^= 1;
        }
        bytes.copy_from_slice(&state.bytes[at..at + bytes.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.refuse()?;
        let at = usize::try_from(offset).unwrap();
        let end = if state.chance(LIES) { state.random.random_range(0..bytes.len()) } else { bytes.len() };
        state.bytes[at..at + end].copy_from_slice(&bytes[..end]);
        Ok(())
    }
}
