//! What is persistent of a cache: a superblock and a page of entries for each set.
//!
//! ```text
//!  0      superblock: magic, version, ways u32, sets u64, id 16 bytes, crc
//!  4 KiB  one page per set: set u64, crc u32, then 16 bytes per slot
//!  ...    up to a multiple of 64 KiB
//!         slots of 64 KiB: those of set 0, of set 1, ...
//! ```
//!
//! Pages are written lazily and in no order with the slots. That is sound because an entry carries the crc of its line's
//! key and bytes: a stale entry whose slot was written since, or torn, is a miss and never another line's bytes.

use uuid::Uuid;

use super::{
    LINE,
    set::{Entry, State, WAYS},
};
use crate::format::BLOCK_SIZE;

pub(super) const PAGE: usize = BLOCK_SIZE;
const MAGIC: &[u8; 8] = b"NBDGRCA1";
const HEAD: usize = 16;
const ENTRY: usize = 16;
const _: () = assert!(HEAD + WAYS * ENTRY <= PAGE, "the entries of a set fit into its page");

/// Fewer slots make no cache.
const FEWEST: u64 = 8;

/// Where everything lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) ways: u32,
    pub(super) sets: u64,
}

impl Layout {
    /// The layout that makes the most of `size` bytes; `None` if they are too few.
    pub(super) fn of(size: u64) -> Option<Self> {
        let slots = |sets: u64| (size.saturating_sub(Self { ways: 0, sets }.slots_at())) / LINE;
        let sets = (size / LINE).div_ceil(WAYS as u64).max(1);
        let ways = (slots(sets) / sets).min(WAYS as u64);
        (ways * sets >= FEWEST).then_some(Self { ways: u32::try_from(ways).ok()?, sets })
    }

    /// Where the slots begin.
    fn slots_at(self) -> u64 {
        ((self.sets + 1) * PAGE as u64).next_multiple_of(LINE)
    }

    pub(super) fn page(set: usize) -> u64 {
        (set as u64 + 1) * PAGE as u64
    }

    pub(super) fn slot(self, set: usize, way: usize) -> u64 {
        self.slots_at() + (set as u64 * u64::from(self.ways) + way as u64) * LINE
    }

    pub(super) fn slots(self) -> u64 {
        self.sets * u64::from(self.ways)
    }
}

/// The superblock of a cache with this id.
pub(super) fn superblock(layout: Layout, id: Uuid) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    page[..8].copy_from_slice(MAGIC);
    page[8..12].copy_from_slice(&layout.ways.to_le_bytes());
    page[16..24].copy_from_slice(&layout.sets.to_le_bytes());
    page[24..40].copy_from_slice(id.as_bytes());
    let crc = crc32c::crc32c(&page[..40]);
    page[40..44].copy_from_slice(&crc.to_le_bytes());
    page
}

/// The id in a superblock, if it is one of this layout.
pub(super) fn read_superblock(page: &[u8], layout: Layout) -> Option<Uuid> {
    let id = Uuid::from_slice(page.get(24..40)?).ok()?;
    (superblock(layout, id)[..44] == page[..44]).then_some(id)
}

/// The page of a set. What is being written is not in it.
pub(super) fn encode(id: Uuid, set: usize, entries: &[Entry]) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    page[..8].copy_from_slice(&(set as u64).to_le_bytes());
    for (entry, bytes) in entries.iter().zip(page[HEAD..].chunks_exact_mut(ENTRY)) {
        let state = match entry.state {
            State::Free | State::Writing => continue,
            State::Small => 1,
            State::Main => 2,
        };
        bytes[..8].copy_from_slice(&entry.print.to_le_bytes());
        bytes[8..12].copy_from_slice(&entry.check.to_le_bytes());
        bytes[12..14].copy_from_slice(&entry.last.to_le_bytes());
        bytes[14] = state;
        bytes[15] = entry.uses();
    }
    let crc = check(id, &page);
    page[8..12].copy_from_slice(&crc.to_le_bytes());
    page
}

/// The entries of a set; none if the page is not what [`encode`] made for this set of this cache.
pub(super) fn decode(id: Uuid, set: usize, page: &[u8], ways: u32) -> Vec<Entry> {
    let mut entries = vec![Entry::default(); ways as usize];
    if page[..8] != (set as u64).to_le_bytes() || page[8..12] != check(id, page).to_le_bytes() {
        return entries;
    }
    for (entry, bytes) in entries.iter_mut().zip(page[HEAD..].chunks_exact(ENTRY)) {
        let state = match bytes[14] {
            1 => State::Small,
            2 => State::Main,
            _ => continue,
        };
        let print = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
        let check = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes"));
        let last = u16::from_le_bytes(bytes[12..14].try_into().expect("two bytes"));
        *entry = Entry { print, check, last, state, ..Entry::default() }.with_uses(bytes[15]);
    }
    entries
}

fn check(id: Uuid, page: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(id.as_bytes()), &page[..8]);
    crc32c::crc32c_append(crc, &page[12..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_fits_and_wastes_little() {
        for size in [1 << 20, 5 << 20, 16 << 20, 100 << 20, 1 << 30, (1 << 40) + 12_345] {
            let layout = Layout::of(size).unwrap();
            let end = layout.slot(usize::try_from(layout.sets).unwrap(), 0);
            assert!(end <= size, "{size}: {layout:?}");
            assert!(layout.slots() * LINE * 10 >= size * 8, "{size}: {layout:?} wastes more than a fifth");
        }
        assert_eq!(Layout::of(256 << 10), None);
        assert_eq!(Layout::of(0), None);
    }

    #[test]
    fn a_page_is_believed_only_whole_and_in_its_place() {
        let id = Uuid::from_u128(5);
        let kept = Entry { print: 9, check: 8, last: 7, state: State::Main, ..Entry::default() }.with_uses(2);
        let writing = Entry { print: 6, state: State::Writing, ..Entry::default() };
        let page = encode(id, 3, &[Entry::default(), kept, writing]);
        let nothing = vec![Entry::default(); 3];
        assert_eq!(decode(id, 3, &page, 3), [Entry::default(), kept, Entry::default()]);
        assert_eq!(decode(id, 2, &page, 3), nothing);
        assert_eq!(decode(Uuid::from_u128(6), 3, &page, 3), nothing);
        for at in 0..PAGE {
            let mut bad = page.clone();
            bad[at] ^= 1;
            assert_eq!(decode(id, 3, &bad, 3), nothing, "byte {at}");
        }
    }

    #[test]
    fn a_superblock_of_another_size_is_none() {
        let (small, large) = (Layout::of(16 << 20).unwrap(), Layout::of(64 << 20).unwrap());
        let page = superblock(small, Uuid::from_u128(5));
        assert_eq!(read_superblock(&page, small), Some(Uuid::from_u128(5)));
        assert_eq!(read_superblock(&page, large), None);
        assert_eq!(read_superblock(&vec![0; PAGE], small), None);
    }
}
