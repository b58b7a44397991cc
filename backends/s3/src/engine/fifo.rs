//! A cache with a budget of bytes that a scan does not empty: S3-FIFO (Yang et al., SOSP '23).
//!
//! ```text
//!  insert ─► small (a tenth) ─ used again? ─► main ─ used since? ─► main, again
//!              │ no                             │ no
//!              ▼                                ▼
//!            ghost (keys only): what comes back from here goes to main at once
//! ```
//!
//! A hit costs one look-up and a store, because nothing is moved before something must go.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// The small queue may hold this part of the budget before it is the one that gives way.
const SMALL_PART: u64 = 10;

/// A value survives so many turns of the main queue without being used.
const MOST_USES: u8 = 3;

/// Values with their costs. One that costs more than the whole budget is not kept.
#[derive(Debug)]
pub(crate) struct Fifo<K, V> {
    entries: HashMap<K, Entry<V>>,
    small: VecDeque<K>,
    main: VecDeque<K>,
    small_cost: u64,
    cost: u64,
    budget: u64,
    ghosts: Ghosts<K>,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    cost: u64,
    uses: u8,
    in_small: bool,
}

impl<K: Copy + Eq + Hash, V> Fifo<K, V> {
    pub(crate) fn new(budget: u64) -> Self {
        Self {
            entries: HashMap::new(),
            small: VecDeque::new(),
            main: VecDeque::new(),
            small_cost: 0,
            cost: 0,
            budget,
            ghosts: Ghosts { order: VecDeque::new(), keys: HashMap::new(), stamp: 0 },
        }
    }

    /// What is kept costs so much.
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    /// The value, which was used once more.
    pub(crate) fn get(&mut self, key: &K) -> Option<&V> {
        let entry = self.entries.get_mut(key)?;
        entry.uses = (entry.uses + 1).min(MOST_USES);
        Some(&entry.value)
    }

    /// Whether it is there; that is not a use.
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// Keeps a value, if it fits into the budget at all. One that is there already stays.
    pub(crate) fn insert(&mut self, key: K, value: V, cost: u64) {
        if cost > self.budget || self.entries.contains_key(&key) {
            return;
        }
        self.shrink_to(self.budget - cost);
        let in_small = !self.ghosts.take(&key);
        if in_small {
            self.small.push_back(key);
            self.small_cost += cost;
        } else {
            self.main.push_back(key);
        }
        self.cost += cost;
        self.entries.insert(key, Entry { value, cost, uses: 0, in_small });
    }

    /// Lets go of values until the rest costs no more than `most`.
    pub(crate) fn shrink_to(&mut self, most: u64) {
        while self.cost > most {
            if self.small_cost * SMALL_PART >= self.cost.min(self.budget) || self.main.is_empty() {
                self.turn_small();
            } else {
                self.turn_main();
            }
        }
    }

    /// The oldest of the small queue goes: to the main queue if it was used, out otherwise.
    fn turn_small(&mut self) {
        let key = self.small.pop_front().expect("what is kept is in a queue");
        let entry = self.entries.get_mut(&key).expect("what is queued is kept");
        assert!(entry.in_small, "an entry is in the queue that it says");
        self.small_cost -= entry.cost;
        if entry.uses > 0 {
            entry.uses = 0;
            entry.in_small = false;
            self.main.push_back(key);
            return;
        }
        self.cost -= entry.cost;
        self.entries.remove(&key);
        self.ghosts.add(key, self.entries.len());
    }

    fn turn_main(&mut self) {
        let key = self.main.pop_front().expect("the caller looked");
        let entry = self.entries.get_mut(&key).expect("what is queued is kept");
        if entry.uses > 0 {
            entry.uses -= 1;
            self.main.push_back(key);
            return;
        }
        self.cost -= entry.cost;
        self.entries.remove(&key);
    }
}

/// Keys of what was let go lately: as many as there are values, and at least a few.
#[derive(Debug)]
struct Ghosts<K> {
    order: VecDeque<(K, u64)>,
    /// The newest place of each in the order; one that was taken has none.
    keys: HashMap<K, u64>,
    stamp: u64,
}

impl<K: Copy + Eq + Hash> Ghosts<K> {
    const FEWEST: usize = 16;

    fn add(&mut self, key: K, most: usize) {
        self.stamp += 1;
        self.keys.insert(key, self.stamp);
        self.order.push_back((key, self.stamp));
        while self.order.len() > most.max(Self::FEWEST) {
            let (oldest, stamp) = self.order.pop_front().expect("it is longer than its limit");
            if self.keys.get(&oldest) == Some(&stamp) {
                self.keys.remove(&oldest);
            }
        }
    }

    fn take(&mut self, key: &K) -> bool {
        self.keys.remove(key).is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_scan_does_not_evict_what_is_in_use() {
        let mut cache = Fifo::new(100);
        for key in 0..50_u64 {
            cache.insert(key, key, 1);
            cache.get(&key);
        }
        for key in 1000..100_000_u64 {
            cache.insert(key, key, 1);
        }
        let kept = (0..50).filter(|key| cache.contains(key)).count();
        assert_eq!(kept, 50, "a scan of a thousand times the cache passed by");
    }

    #[test]
    fn what_comes_back_soon_is_kept_longer() {
        let mut cache = Fifo::new(10);
        for key in 0..11 {
            cache.insert(key, (), 1);
        }
        assert!(!cache.contains(&0));
        cache.insert(0, (), 1);
        for key in 100..1000 {
            cache.insert(key, (), 1);
        }
        assert!(cache.contains(&0), "its ghost brought it into the main queue");
    }

    #[test]
    fn what_costs_more_than_all_is_not_kept_and_harms_no_other() {
        let mut cache = Fifo::new(3);
        cache.insert(1, 'a', 3);
        cache.insert(2, 'b', 4);
        assert_eq!((cache.get(&1).copied(), cache.get(&2).copied()), (Some('a'), None));
    }

    proptest! {
        #[test]
        fn it_holds_what_it_was_given_within_its_budget(
            steps in proptest::collection::vec((0..40_u32, 1..9_u64, 0..8_u8), 1..400)
        ) {
            let mut cache = Fifo::new(40);
            let mut costs = HashMap::new();
            for (key, cost, what) in steps {
                match what {
                    0 => cache.shrink_to(cost * 3),
                    1..4 => {
                        if !cache.contains(&key) {
                            costs.insert(key, cost);
                        }
                        cache.insert(key, key * 7, cost);
                    }
                    _ => prop_assert!(cache.get(&key).is_none_or(|value| *value == key * 7)),
                }
                let held: u64 = (0..40).filter(|key| cache.contains(key)).map(|key| costs[&key]).sum();
                prop_assert_eq!(held, cache.cost());
                prop_assert!(held <= 40);
                prop_assert_eq!(cache.small.len() + cache.main.len(), cache.entries.len());
                prop_assert!(cache.ghosts.keys.len() <= cache.ghosts.order.len());
            }
        }
    }
}
