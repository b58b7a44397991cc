//! Memory that flips a bit between a WRITE and its segment.

use std::sync::Arc;

use nbdgate_api::{ByteRange, Kind, wait};
use object_store::{ObjectStore, memory::InMemory};

use super::*;
use crate::{CreateOptions, Location, OnUnclean, OpenOptions, format::Lba};

const BLOCK: u64 = 4096;

/// Three writes around a block that is damaged while it waits; `squeezable` data is stored compressed.
fn write_with_damage(squeezable: bool) -> (tokio::runtime::Runtime, Location, Disk, Vec<u8>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let location = Location::in_store(store, "root", "disk");
    let create = CreateOptions { size: 1 << 20, ..CreateOptions::default() };
    runtime.block_on(crate::create(&location, &create)).expect("a new disk");
    let disk = runtime.block_on(crate::open(&location, OpenOptions::default())).expect("it opens");
    let noise = |at: u64| if squeezable { at / 512 } else { at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 };
    let bytes: Vec<u8> = (1..=8 * BLOCK).map(|at| u8::try_from(noise(at) % 255 + 1).expect("a byte")).collect();
    wait::write(&disk, 0, bytes.clone()).expect("a write");
    // An overwrite splits what was admitted as one.
    wait::write(&disk, 3 * BLOCK, bytes[..4096].to_vec()).expect("a write");
    disk.driver.damage_pending(Lba(5));
    let mut expected = bytes;
    expected.copy_within(..4096, 3 * 4096);
    (runtime, location, disk, expected)
}

fn only_the_damaged_block_fails(disk: &Disk, expected: &[u8]) {
    for block in 0..8 {
        let range = ByteRange::between(block * BLOCK, (block + 1) * BLOCK);
        let at = usize::try_from(range.offset()).expect("small");
        match wait::read(disk, range) {
            Ok(bytes) => assert!(block != 5 && bytes == expected[at..at + 4096], "block {block} came back otherwise"),
            Err(error) => assert!(block == 5 && error.kind() == Kind::Io, "block {block}: {}", error.chain()),
        }
    }
}

#[test]
fn a_block_damaged_in_memory_reads_as_an_error_and_takes_no_other_with_it() {
    for squeezable in [true, false] {
        let (runtime, location, disk, expected) = write_with_damage(squeezable);
        wait::flush(&disk).expect("the others are stored");
        only_the_damaged_block_fails(&disk, &expected);
        drop(disk);
        let options = OpenOptions { on_unclean: OnUnclean::Serve, ..OpenOptions::default() };
        let disk = runtime.block_on(crate::open(&location, options)).expect("damage of one block stops no open");
        only_the_damaged_block_fails(&disk, &expected);
        wait::write(&disk, 5 * BLOCK, expected[..4096].to_vec()).expect("a write heals it");
        wait::flush(&disk).expect("a flush");
        let range = ByteRange::between(5 * BLOCK, 6 * BLOCK);
        assert!(wait::read(&disk, range).expect("it is healed") == expected[..4096]);
    }
}

#[test]
fn a_damaged_pending_block_is_not_merged_into_an_unaligned_write() {
    let (_runtime, _location, disk, expected) = write_with_damage(false);
    let error = wait::write(&disk, 5 * BLOCK + 10, vec![7; 20]).expect_err("its other bytes are not known");
    assert_eq!(error.kind(), Kind::Io);
    wait::flush(&disk).expect("the others are stored");
    only_the_damaged_block_fails(&disk, &expected);
}
