//! How much content is allocated, and how much may be.

use std::sync::atomic::{AtomicU64, Ordering};

use nbdgate_api::{Error, Kind};

/// Bytes in use, never above the limit. Says nothing of the allocator: memory can run out earlier.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicU64,
    limit: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { used: AtomicU64::new(0), limit }
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes`, or fails and takes nothing.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<(), Error> {
        let grow = |used: u64| used.checked_add(bytes as u64).filter(|&used| used <= self.limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow) {
            Ok(_) => Ok(()),
            Err(used) => {
                let text = format!("memory disk holds {used} of the {} bytes it may take", self.limit);
                Err(Error::new(Kind::NoMemory, text))
            }
        }
    }

    /// Gives back `bytes` that were reserved.
    pub(crate) fn release(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes as u64, Ordering::Relaxed);
        debug_assert!(before >= bytes as u64, "released {bytes} of {before} bytes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_passes_the_limit_and_takes_nothing() {
        let budget = Budget::new(100);
        budget.reserve(60).unwrap();
        assert_eq!(budget.reserve(41).unwrap_err().kind(), Kind::NoMemory);
        assert_eq!(budget.used(), 60);
        budget.reserve(40).unwrap();
        budget.release(100);
        assert_eq!(budget.used(), 0);
    }
}
