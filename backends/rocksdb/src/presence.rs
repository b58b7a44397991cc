//! Which extents there are: one bit for each, in memory, and in pages in the bits family.
//!
//! A page covers [`PAGE_EXTENTS`] extents in 512 bytes; one that is all zeros is absent, in the database and here. Bit `i % 8`
//! of byte `i / 8` is extent `i` of the page. Small pages keep small what a write has to log beside its data.
//!
//! An extent is present if it has a value, be it an empty one, which stands for zeros that count as allocated.
//!
//! Anyone may ask at any time; only the committer changes bits. Not in here: the database.

use std::{
    ops::Range,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    },
};

/// Extents of a page.
pub(crate) const PAGE_EXTENTS: u64 = 8 * PAGE_BYTES as u64;
/// Bytes of a page in the database.
pub(crate) const PAGE_BYTES: usize = 512;
/// Words of a page.
pub(crate) const WORDS: usize = PAGE_BYTES / 8;

/// The words of a page.
pub(crate) type Page = [u64; WORDS];

/// The bits of one disk.
#[derive(Debug)]
pub(crate) struct Presence {
    pages: Box<[OnceLock<Box<[AtomicU64; WORDS]>>]>,
    extents: u64,
    present: AtomicU64,
}

impl Presence {
    /// `extents` that are all absent.
    pub(crate) fn new(extents: u64) -> Self {
        let pages = (0..extents.div_ceil(PAGE_EXTENTS)).map(|_| OnceLock::new()).collect();
        Self { pages, extents, present: AtomicU64::new(0) }
    }

    /// How many there are on the disk.
    pub(crate) fn extents(&self) -> u64 {
        self.extents
    }

    /// How many of them are present.
    pub(crate) fn present(&self) -> u64 {
        self.present.load(Relaxed)
    }

    /// Whether extent `index` is present.
    pub(crate) fn has(&self, index: u64) -> bool {
        self.page(index).is_some_and(|page| page[word(index)].load(SeqCst) & bit(index) != 0)
    }

    /// The first extent from `index` on, and before `end`, that is not like `index`; `end` if there is none. And whether
    /// those before are present.
    pub(crate) fn run(&self, index: u64, end: u64) -> (bool, u64) {
        let present = self.has(index);
        let mut at = index + 1;
        while at < end {
            let Some(page) = self.page(at) else {
                if present {
                    break;
                }
                at = (at / PAGE_EXTENTS + 1) * PAGE_EXTENTS;
                continue;
            };
            let bits = page[word(at)].load(SeqCst);
            let differing = if present { !bits } else { bits } >> (at % 64);
            if differing != 0 {
                at += u64::from(differing.trailing_zeros());
                break;
            }
            at = (at / 64 + 1) * 64;
        }
        (present, at.min(end))
    }

    /// The extents of a range that are present, in ascending order.
    pub(crate) fn present_in(&self, range: Range<u64>) -> impl Iterator<Item = u64> {
        let mut at = range.start;
        let runs = std::iter::from_fn(move || {
            let start = (at < range.end).then_some(at)?;
            let (present, end) = self.run(start, range.end);
            at = end;
            Some(if present { start..end } else { end..end })
        });
        runs.flatten()
    }

    /// Page `number` as it is now.
    pub(crate) fn copy(&self, number: u64) -> Page {
        let page = self.pages[usize::try_from(number).expect("pages fit in memory")].get();
        page.map_or([0; WORDS], |page| std::array::from_fn(|at| page[at].load(SeqCst)))
    }

    /// Makes page `number` look like `bits`.
    pub(crate) fn store(&self, number: u64, bits: &Page) {
        let slot = &self.pages[usize::try_from(number).expect("pages fit in memory")];
        if slot.get().is_none() && bits.iter().all(|word| *word == 0) {
            return;
        }
        let page = slot.get_or_init(|| Box::new([const { AtomicU64::new(0) }; WORDS]));
        for (word, bits) in page.iter().zip(bits) {
            let before = word.swap(*bits, SeqCst);
            // Wraps where bits went, which is what an addition of two's complement is.
            let change = u64::from(bits.count_ones()).wrapping_sub(u64::from(before.count_ones()));
            self.present.fetch_add(change, Relaxed);
        }
    }

    fn page(&self, index: u64) -> Option<&[AtomicU64; WORDS]> {
        self.pages[usize::try_from(index / PAGE_EXTENTS).expect("pages fit in memory")].get().map(|page| &**page)
    }
}

fn word(index: u64) -> usize {
    usize::try_from(index % PAGE_EXTENTS / 64).expect("a word of a page")
}

fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

/// Sets or clears extent `index` in its page.
pub(crate) fn set(page: &mut Page, index: u64, present: bool) {
    let word = &mut page[word(index)];
    *word = if present { *word | bit(index) } else { *word & !bit(index) };
}

/// The page in the database's form.
pub(crate) fn encode(page: &Page) -> [u8; PAGE_BYTES] {
    let mut bytes = [0; PAGE_BYTES];
    for (eight, word) in bytes.chunks_exact_mut(8).zip(page) {
        eight.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// A page out of the database; `None` if it has another length.
pub(crate) fn decode(bytes: &[u8]) -> Option<Page> {
    let bytes: &[u8; PAGE_BYTES] = bytes.try_into().ok()?;
    Some(std::array::from_fn(|at| u64::from_le_bytes(bytes[at * 8..at * 8 + 8].try_into().expect("eight bytes"))))
}

/// The key of a page in the database.
pub(crate) fn key(number: u64) -> [u8; 4] {
    u32::try_from(number).expect("64 TiB of 4 KiB extents have 2^22 pages").to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn change(presence: &Presence, index: u64, present: bool) {
        let number = index / PAGE_EXTENTS;
        let mut page = presence.copy(number);
        set(&mut page, index, present);
        presence.store(number, &page);
    }

    #[test]
    fn a_page_has_its_golden_bytes() {
        let mut page = [0; WORDS];
        for index in [0, 9, 4095, 2 * PAGE_EXTENTS + 64] {
            set(&mut page, index, true);
        }
        let bytes = encode(&page);
        let nonzero: Vec<_> = bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).collect();
        assert_eq!(nonzero, [(0, &1), (1, &2), (8, &1), (511, &0x80)]);
        assert_eq!(decode(&bytes), Some(page));
        assert_eq!(decode(&bytes[1..]), None);
    }

    proptest! {
        #[test]
        fn presence_is_a_set_of_numbers(changes in prop::collection::vec((0u64..9000, any::<bool>()), 1..200), at in 0u64..9000) {
            let presence = Presence::new(9000);
            let mut model = BTreeSet::new();
            for (index, present) in changes {
                change(&presence, index, present);
                if present { model.insert(index) } else { model.remove(&index) };
            }
            prop_assert_eq!(presence.present(), model.len() as u64);
            let (present, end) = presence.run(at, 9000);
            prop_assert_eq!(present, model.contains(&at));
            prop_assert!((at..end).all(|index| model.contains(&index) == present && presence.has(index) == present));
            prop_assert!(end == 9000 || model.contains(&end) != present);
            let from: Vec<_> = model.range(at..).copied().collect();
            prop_assert_eq!(presence.present_in(at..9000).collect::<Vec<_>>(), from);
        }
    }
}
