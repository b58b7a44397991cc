//! Some slots of the cache and what they hold: the unit of locking, of eviction and of persistence.
//!
//! A line can only be in the slots of one set, so finding it is a look through at most [`WAYS`] fingerprints, and 16 bytes
//! per slot are its whole index. Eviction is S3-FIFO within the set: a new line goes through a small queue, and only one
//! that was used there, or that comes back soon after it was let go, may displace what is in the main queue. So a scan
//! of any length passes by. Fingerprints spread lines evenly, so the sets fill alike.

use std::collections::VecDeque;

/// The most slots of a set: their entries fill a page, and their numbers a byte.
pub(super) const WAYS: usize = 252;

/// The small queue may have this part of the slots before it is the one that gives way.
const SMALL_PART: usize = 10;

/// A line survives so many turns of the main queue without being used; two bits.
const MOST_USES: u8 = 3;

/// Bits of the clock that an entry has room for.
const CLOCK: u8 = 0x3f;

/// What a slot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) print: u64,
    pub(super) check: u32,
    /// Bytes of the line less one.
    pub(super) last: u16,
    pub(super) state: State,
    /// Uses in the two low bits; above them the set's clock when one was last counted.
    pub(super) heat: u8,
}

const _: () = assert!(size_of::<Entry>() == 16, "the index takes 16 bytes per slot");

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Free,
    /// Its bytes are on the way to the medium.
    Writing,
    Small,
    Main,
}

impl Entry {
    /// Bytes of the line.
    pub(super) fn length(&self) -> usize {
        usize::from(self.last) + 1
    }

    /// How often it was used lately.
    pub(super) fn uses(&self) -> u8 {
        self.heat & MOST_USES
    }

    /// The same with so many uses.
    #[must_use]
    pub(super) fn with_uses(self, uses: u8) -> Self {
        Self { heat: self.heat & !MOST_USES | uses.min(MOST_USES), ..self }
    }

    /// Whether it holds a line that can be read.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self.state, State::Small | State::Main)
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Set {
    entries: Box<[Entry]>,
    small: VecDeque<u8>,
    main: VecDeque<u8>,
    free: Vec<u8>,
    /// Half fingerprints of lines that were let go without a use, oldest first.
    ghosts: VecDeque<u32>,
    /// Insertions, modulo 64.
    clock: u8,
    /// Changes since the set was last written to its page.
    pub(super) changes: u32,
}

impl Set {
    /// The set that a page held; all that is kept in it is found again, the order of the queues is not.
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        assert!(entries.len() <= WAYS, "the numbers of slots fit into a byte");
        let ways = |state| {
            let of_state = entries.iter().enumerate().filter(move |(_, entry)| entry.state == state);
            of_state.map(|(way, _)| u8::try_from(way).expect("asserted above"))
        };
        Self {
            small: ways(State::Small).collect(),
            main: ways(State::Main).collect(),
            free: ways(State::Free).chain(ways(State::Writing)).collect(),
            ghosts: VecDeque::new(),
            clock: 0,
            changes: 0,
            entries: entries.into(),
        }
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Lines in it.
    pub(super) fn len(&self) -> usize {
        self.small.len() + self.main.len()
    }

    fn find(&self, print: u64) -> Option<usize> {
        self.entries.iter().position(|entry| entry.print == print && entry.state != State::Free)
    }

    /// Whether the line can be read.
    pub(super) fn has(&self, print: u64) -> bool {
        self.find(print).is_some_and(|way| self.entries[way].is_kept())
    }

    /// The slot of a line that can be read. Counts as a use, but several in a row between two insertions are one: the parts
    /// of a line are often read one after the other, which says nothing of the next day.
    pub(super) fn hit(&mut self, print: u64) -> Option<(usize, Entry)> {
        let way = self.find(print)?;
        let clock = self.clock;
        let entry = &mut self.entries[way];
        if !entry.is_kept() {
            return None;
        }
        if entry.heat >> 2 != clock {
            entry.heat = clock << 2 | (entry.uses() + 1).min(MOST_USES);
        }
        Some((way, *entry))
    }

    /// A slot for a line that is not there, and whether another line went for it. `None` if it is there or being written,
    /// or if every slot is being written.
    pub(super) fn reserve(&mut self, print: u64) -> Option<(usize, bool)> {
        if self.find(print).is_some() {
            return None;
        }
        let (way, evicted) = match self.free.pop() {
            Some(way) => (way, false),
            None => (self.evict()?, true),
        };
        self.clock = self.clock.wrapping_add(1) & CLOCK;
        self.changes += 1;
        self.entries[usize::from(way)] = Entry { print, state: State::Writing, ..Entry::default() };
        Some((usize::from(way), evicted))
    }

    /// The bytes of a reserved slot are on the medium.
    pub(super) fn publish(&mut self, way: usize, check: u32, last: u16) {
        let number = u8::try_from(way).expect("the numbers of slots fit into a byte");
        let entry = &mut self.entries[way];
        assert!(entry.state == State::Writing, "what is published was reserved");
        let half = half(entry.print);
        let returned = self.ghosts.iter().position(|&ghost| ghost == half);
        let state = if returned.is_some() { State::Main } else { State::Small };
        *entry = Entry { check, last, state, heat: self.clock << 2, ..*entry };
        if let Some(at) = returned {
            self.ghosts.remove(at);
            self.main.push_back(number);
        } else {
            self.small.push_back(number);
        }
    }

    /// The bytes of a reserved slot could not be written.
    pub(super) fn give_up(&mut self, way: usize) {
        assert!(self.entries[way].state == State::Writing, "what is given up was reserved");
        self.vacate(way);
    }

    /// Forgets a line, if it still is what the caller saw.
    pub(super) fn remove(&mut self, way: usize, seen: &Entry) -> bool {
        let entry = self.entries[way];
        let same = (entry.print, entry.check, entry.last) == (seen.print, seen.check, seen.last) && entry.is_kept();
        if same {
            let queue = if entry.state == State::Small { &mut self.small } else { &mut self.main };
            queue.retain(|&number| usize::from(number) != way);
            self.vacate(way);
        }
        same
    }

    /// Forgets a line.
    pub(super) fn forget(&mut self, print: u64) {
        if let Some(way) = self.find(print) {
            let seen = self.entries[way];
            self.remove(way, &seen);
        }
    }

    fn vacate(&mut self, way: usize) {
        self.changes += 1;
        self.entries[way] = Entry::default();
        self.free.push(u8::try_from(way).expect("the numbers of slots fit into a byte"));
    }

    /// Takes a slot from the line that is missed least.
    fn evict(&mut self) -> Option<u8> {
        // Each turn of the small queue empties it by one, each of the main queue takes a use away.
        for _ in 0..=self.small.len() + self.main.len() * (usize::from(MOST_USES) + 1) {
            if self.small.len() * SMALL_PART >= self.entries.len() || self.main.is_empty() {
                let way = self.small.pop_front()?;
                let entry = &mut self.entries[usize::from(way)];
                if entry.uses() == 0 {
                    let print = entry.print;
                    self.remember(print);
                    return Some(way);
                }
                *entry = Entry { state: State::Main, ..entry.with_uses(0) };
                self.main.push_back(way);
            } else {
                let way = self.main.pop_front()?;
                let entry = &mut self.entries[usize::from(way)];
                if entry.uses() == 0 {
                    return Some(way);
                }
                *entry = entry.with_uses(entry.uses() - 1);
                self.main.push_back(way);
            }
        }
        None
    }

    fn remember(&mut self, print: u64) {
        if self.ghosts.len() >= self.entries.len() {
            self.ghosts.pop_front();
        }
        self.ghosts.push_back(half(print));
    }
}

#[expect(clippy::cast_possible_truncation, reason = "half is enough for a guess")]
fn half(print: u64) -> u32 {
    print as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ways: usize) -> Set {
        Set::new(vec![Entry::default(); ways])
    }

    fn put(set: &mut Set, print: u64) {
        if let Some((way, _)) = set.reserve(print) {
            set.publish(way, 0, 0);
        }
    }

    #[test]
    fn a_long_scan_does_not_evict_what_is_in_use() {
        let mut set = set(100);
        for print in 1..=60 {
            put(&mut set, print);
            put(&mut set, 1000 + print);
            assert!(set.hit(print).is_some());
        }
        for print in 5000..50_000 {
            put(&mut set, print);
            // A reader of small parts comes to each line several times in a row.
            assert!(set.hit(print).is_some() && set.hit(print).is_some());
        }
        assert_eq!((1..=60).filter(|&print| set.has(print)).count(), 60);
    }

    #[test]
    fn what_comes_back_soon_is_kept() {
        let mut set = set(20);
        (1..=21).for_each(|print| put(&mut set, print));
        assert!(!set.has(1));
        put(&mut set, 1);
        (100..1000).for_each(|print| put(&mut set, print));
        assert!(set.has(1));
    }

    #[test]
    fn a_slot_that_is_being_written_is_neither_read_nor_given_away() {
        let mut set = set(2);
        let (first, _) = set.reserve(1).unwrap();
        let (second, _) = set.reserve(2).unwrap();
        assert!(set.hit(1).is_none() && set.reserve(1).is_none() && set.reserve(3).is_none());
        set.publish(first, 7, 9);
        set.give_up(second);
        assert_eq!(set.hit(1).map(|(way, entry)| (way, entry.check, entry.length())), Some((first, 7, 10)));
        assert!(!set.has(2));
        assert_eq!(set.reserve(3), Some((second, false)));
    }

    #[test]
    fn only_what_was_seen_is_removed() {
        let mut set = set(1);
        put(&mut set, 1);
        let (way, seen) = set.hit(1).unwrap();
        put(&mut set, 2);
        assert!(!set.remove(way, &seen) && set.has(2), "another line has the slot now");
        let (way, seen) = set.hit(2).unwrap();
        assert!(set.remove(way, &seen) && !set.has(2) && set.len() == 0);
    }
}
