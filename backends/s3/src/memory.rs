//! One budget of memory for all disks of a process: what is dirty, what is cached, what is on its way from a store.
//!
//! Half of the budget is divided evenly: so much each disk may hold whatever the others do (its *share*). The other half
//! belongs to whoever asks first. So a busy disk can use much more than its share, and no disk can starve another.
//!
//! ```text
//!  grow ─ within the share, or the rest fits into the common half ─► granted
//!    └─ refused: the disk shrinks its caches, or waits; the others are asked to shrink theirs to their shares
//!  settle: what is really held; whoever waits is woken when something was let go
//! ```
//!
//! A disk that holds nothing is never kept from one request: the budget may be exceeded by one request per disk.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;

/// Told that the memory of a disk is to be looked at again: to shrink, or because there is room. Called with no lock held.
pub(crate) trait Tenant: Send + Sync {
    fn memory_moved(self: Arc<Self>);
}

/// The budget. Cheap to share: `OpenOptions::memory` takes the same one for every disk.
#[derive(Debug)]
pub struct Memory {
    state: Mutex<State>,
    /// Somebody was refused or is to be told.
    stirred: AtomicBool,
}

/// How much of a budget is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryLevels {
    /// Bytes that may be held.
    pub budget: u64,
    /// Bytes that are held.
    pub used: u64,
    /// Disks that share it.
    pub disks: u32,
    /// Disks that wait for room.
    pub waiting: u32,
}

#[derive(Debug)]
struct State {
    budget: u64,
    disks: Vec<Disk>,
    next: u64,
    /// Something was let go since who waits was told.
    freed: bool,
    /// Somebody was refused since the others were asked to shrink.
    short: bool,
}

struct Disk {
    id: u64,
    held: u64,
    waiting: bool,
    tenant: Weak<dyn Tenant>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("id", &self.id)
            .field("held", &self.held)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl Memory {
    /// A budget of so many bytes.
    pub fn new(budget: u64) -> Arc<Self> {
        let state = State { budget, disks: Vec::new(), next: 0, freed: false, short: false };
        Arc::new(Self { state: Mutex::new(state), stirred: AtomicBool::new(false) })
    }

    /// Where it stands.
    pub fn levels(&self) -> MemoryLevels {
        let state = self.state.lock();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        MemoryLevels {
            budget: state.budget,
            used: state.disks.iter().map(|disk| disk.held).sum(),
            disks: count(state.disks.len()),
            waiting: count(state.disks.iter().filter(|disk| disk.waiting).count()),
        }
    }

    /// One more disk.
    pub(crate) fn join(self: &Arc<Self>) -> Share {
        let mut state = self.state.lock();
        state.next += 1;
        let id = state.next;
        state.disks.push(Disk { id, held: 0, waiting: false, tenant: Weak::<Nobody>::new() });
        // The others' shares are smaller now.
        state.short = true;
        self.stirred.store(true, Ordering::Release);
        Share { memory: Arc::clone(self), id }
    }

    /// Tells whoever is concerned by what happened. Never called with a disk's lock held.
    fn tell(&self) {
        if !self.stirred.swap(false, Ordering::AcqRel) {
            return;
        }
        let told: Vec<Arc<dyn Tenant>> = {
            let mut state = self.state.lock();
            let (freed, short) = (std::mem::take(&mut state.freed), std::mem::take(&mut state.short));
            let share = state.share();
            let concerned = state.disks.iter_mut().filter(|disk| short && disk.held > share || freed && disk.waiting);
            concerned.filter_map(|disk| disk.tenant.upgrade()).collect()
        };
        told.into_iter().for_each(Tenant::memory_moved);
    }
}

impl State {
    /// What each disk may hold whatever the others do.
    fn share(&self) -> u64 {
        self.budget / 2 / (self.disks.len() as u64).max(1)
    }

    /// What of the common half is in use beside what `except` holds.
    fn common_used(&self, except: u64) -> u64 {
        let share = self.share();
        self.disks.iter().filter(|disk| disk.id != except).map(|disk| disk.held.saturating_sub(share)).sum()
    }

    fn fits(&self, id: u64, held: u64) -> bool {
        let (share, disks) = (self.share(), self.disks.len() as u64);
        held <= share || self.common_used(id) + (held - share) <= self.budget - share * disks
    }

    fn of(&mut self, id: u64) -> &mut Disk {
        self.disks.iter_mut().find(|disk| disk.id == id).expect("a disk is listed until its share is dropped")
    }
}

/// A disk's part of the budget; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<Memory>,
    id: u64,
}

impl Share {
    /// Who is to be told.
    pub(crate) fn attend(&self, tenant: Weak<dyn Tenant>) {
        self.memory.state.lock().of(self.id).tenant = tenant;
    }

    /// Holds `more` bytes more, if there is room. If there is none and somebody `waits` for it, the disk is told when to
    /// ask again.
    pub(crate) fn grow(&self, more: u64, waits: bool) -> bool {
        let mut state = self.memory.state.lock();
        let held = state.of(self.id).held + more;
        if state.fits(self.id, held) {
            state.of(self.id).held = held;
            return true;
        }
        if !waits {
            return false;
        }
        // Under the same lock, so that nothing is let go unheard in between. The others are asked once for each wait, or two
        // disks that both wait would ask each other for ever.
        let asked = std::mem::replace(&mut state.of(self.id).waiting, true);
        if !asked {
            state.short = true;
            self.memory.stirred.store(true, Ordering::Release);
        }
        false
    }

    /// What the disk really holds now, and whether it waits for room.
    pub(crate) fn settle(&self, held: u64, waiting: bool) {
        let mut state = self.memory.state.lock();
        let disk = state.of(self.id);
        let freed = held < disk.held;
        (disk.held, disk.waiting) = (held, waiting);
        if freed && state.disks.iter().any(|disk| disk.waiting && disk.id != self.id) {
            state.freed = true;
            self.memory.stirred.store(true, Ordering::Release);
        }
    }

    /// What of `held` bytes goes beyond the share while others wait for room.
    pub(crate) fn excess(&self, held: u64) -> u64 {
        let state = self.memory.state.lock();
        let wanted = state.disks.iter().any(|disk| disk.waiting && disk.id != self.id);
        let over = held.saturating_sub(state.share());
        let common = state.budget - state.share() * state.disks.len() as u64;
        if wanted { over } else { over.min((state.common_used(self.id) + over).saturating_sub(common)) }
    }

    /// Tells whoever is concerned by what happened since the last call. Not under a disk's lock.
    pub(crate) fn tell(&self) {
        self.memory.tell();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.memory.state.lock();
        state.disks.retain(|disk| disk.id != self.id);
        state.freed = true;
        self.memory.stirred.store(true, Ordering::Release);
        drop(state);
        self.memory.tell();
    }
}

/// The tenant of a disk that is being opened.
struct Nobody;

impl Tenant for Nobody {
    fn memory_moved(self: Arc<Self>) {}
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Ear(AtomicU32);

    impl Tenant for Ear {
        fn memory_moved(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn attend(share: &Share) -> Arc<Ear> {
        let ear = Arc::new(Ear::default());
        let tenant: Arc<dyn Tenant> = Arc::<Ear>::clone(&ear);
        share.attend(Arc::downgrade(&tenant));
        ear
    }

    #[test]
    fn one_disk_may_use_it_all_until_another_needs_its_share() {
        let memory = Memory::new(100);
        let first = memory.join();
        assert!(first.grow(100, true) && !first.grow(1, false));
        let second = memory.join();
        assert_eq!(first.excess(100), 25, "its share is 25 now, the common half 50");
        assert!(second.grow(25, true), "a share is there whatever the others hold");
        assert!(!second.grow(1, true));
        second.settle(25, true);
        assert_eq!(first.excess(100), 75, "somebody waits");
    }

    #[test]
    fn who_waits_is_told_when_something_is_let_go_and_who_has_more_when_it_is_short() {
        let memory = Memory::new(100);
        let (first, second) = (memory.join(), memory.join());
        let (greedy, modest) = (attend(&first), attend(&second));
        first.tell();
        assert!(first.grow(75, true) && !second.grow(26, true));
        second.settle(0, true);
        second.tell();
        assert_eq!((greedy.0.load(Ordering::Relaxed), modest.0.load(Ordering::Relaxed)), (1, 0));
        first.settle(25, false);
        first.tell();
        assert_eq!((greedy.0.load(Ordering::Relaxed), modest.0.load(Ordering::Relaxed)), (1, 1));
        first.tell();
        assert_eq!(modest.0.load(Ordering::Relaxed), 1, "once");
        drop(first);
        assert_eq!(modest.0.load(Ordering::Relaxed), 2, "a disk that goes leaves room");
    }

    proptest! {
        #[test]
        fn what_is_granted_stays_within_the_budget_and_a_share_is_always_granted(
            steps in proptest::collection::vec((0..4_usize, 0..60_u64, any::<bool>()), 1..100)
        ) {
            let memory = Memory::new(200);
            let shares: Vec<Share> = (0..4).map(|_| memory.join()).collect();
            let mut held = [0; 4];
            for (disk, bytes, grow) in steps {
                if grow {
                    let granted = shares[disk].grow(bytes, false);
                    prop_assert!(granted || held[disk] + bytes > 25, "200 / 2 / 4 is everyone's");
                    held[disk] += if granted { bytes } else { 0 };
                } else {
                    held[disk] = held[disk].min(bytes);
                    shares[disk].settle(held[disk], false);
                }
                let used: u64 = held.iter().sum();
                prop_assert!(used <= 200);
                prop_assert_eq!(memory.levels().used, used);
            }
        }
    }
}
