//! Images with data in known places.

use std::{fs::File, ops::Range, os::unix::fs::FileExt, path::Path};

use rand::{RngCore, SeedableRng, rngs::StdRng};

/// Where the data of a patchy image is, as (offset, length): more than one of any cluster or extent size, at the
/// beginning, in the middle and at the end.
const PATCHES: [(u64, u64); 5] =
    [(0, 64 << 10), (1 << 20, 3 << 20), (6 << 20, 64 << 10), (10 << 20, 4 << 20), ((16 << 20) - (64 << 10), 64 << 10)];
const PATCHY_SIZE: u64 = 16 << 20;

/// The content of a disk.
#[derive(Debug)]
pub(crate) struct Image {
    bytes: Vec<u8>,
}

impl Image {
    /// 16 MiB, mostly holes, with noise in known places.
    pub(crate) fn patchy() -> Self {
        let mut bytes = vec![0; usize::try_from(PATCHY_SIZE).expect("it fits in memory")];
        let mut noise = StdRng::seed_from_u64(PATCHY_SIZE);
        for (offset, length) in PATCHES {
            noise.fill_bytes(&mut bytes[place(offset, length)]);
        }
        Self { bytes }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// What is in a range.
    pub(crate) fn part(&self, offset: u64, length: u64) -> &[u8] {
        &self.bytes[place(offset, length)]
    }

    /// How much of a patchy image is data, in bytes.
    pub(crate) fn patches_size() -> u64 {
        PATCHES.iter().map(|(_, length)| length).sum()
    }

    /// The extents of a patchy image as (offset, length, holds data), without gaps.
    pub(crate) fn patchy_extents() -> Vec<(u64, u64, bool)> {
        let mut extents = Vec::new();
        let mut end = 0;
        for (offset, length) in PATCHES {
            if offset > end {
                extents.push((end, offset - end, false));
            }
            extents.push((offset, length, true));
            end = offset + length;
        }
        extents
    }

    /// Makes a sparse file of it.
    pub(crate) fn write_to(&self, path: &Path) {
        let file = File::create(path).expect("a new file");
        file.set_len(self.size()).expect("sparse");
        for (offset, length) in PATCHES {
            file.write_all_at(self.part(offset, length), offset).expect("written");
        }
    }
}

fn place(offset: u64, length: u64) -> Range<usize> {
    let index = |at: u64| usize::try_from(at).expect("it fits in memory");
    index(offset)..index(offset + length)
}
