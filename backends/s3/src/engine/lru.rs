//! A cache with a budget of bytes that forgets what was used least recently.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

/// Values with their costs. One that costs more than the whole budget is not kept.
#[derive(Debug)]
pub(crate) struct Lru<K, V> {
    entries: HashMap<K, Entry<V>>,
    order: BTreeMap<u64, K>,
    clock: u64,
    cost: u64,
    budget: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    cost: u64,
    used: u64,
}

impl<K: Copy + Eq + Hash, V> Lru<K, V> {
    pub(crate) fn new(budget: u64) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), clock: 0, cost: 0, budget }
    }

    /// The value, which is now the youngest.
    pub(crate) fn get(&mut self, key: K) -> Option<&V> {
        let entry = self.entries.get_mut(&key)?;
        self.clock += 1;
        self.order.remove(&entry.used);
        entry.used = self.clock;
        self.order.insert(entry.used, key);
        Some(&entry.value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V, cost: u64) {
        self.remove(key);
        if cost > self.budget {
            return;
        }
        while self.cost + cost > self.budget {
            let (_, &oldest) = self.order.first_key_value().expect("what is kept costs something");
            self.remove(oldest);
        }
        self.clock += 1;
        self.cost += cost;
        self.order.insert(self.clock, key);
        self.entries.insert(key, Entry { value, cost, used: self.clock });
    }

    /// Forgets the entries with such keys.
    pub(crate) fn remove_if(&mut self, unwanted: impl Fn(K) -> bool) {
        let keys: Vec<K> = self.entries.keys().copied().filter(|&key| unwanted(key)).collect();
        keys.into_iter().for_each(|key| self.remove(key));
    }

    fn remove(&mut self, key: K) {
        if let Some(entry) = self.entries.remove(&key) {
            self.order.remove(&entry.used);
            self.cost -= entry.cost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut lru = Lru::new(3);
        for key in 0..3 {
            lru.insert(key, key, 1);
        }
        assert_eq!(lru.get(0), Some(&0));
        lru.insert(3, 3, 1);
        let kept = |lru: &mut Lru<_, _>| (0..6).filter(|&key| lru.get(key).is_some()).collect::<Vec<_>>();
        assert_eq!(kept(&mut lru), [0, 2, 3]);
        lru.insert(4, 4, 4);
        assert_eq!(kept(&mut lru), [0, 2, 3], "too large to be kept, and harms no other");
        lru.insert(5, 5, 3);
        assert_eq!(kept(&mut lru), [5]);
    }
}
