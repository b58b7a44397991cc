//! Sealed records: golden bytes, every flipped byte, every other place.

use zeroize::Zeroizing;

use super::*;

const JOURNAL: Uuid = Uuid::from_u128(0xa0a1_a2a3_a4a5_a6a7_a8a9_aaab_acad_aeaf);
const PLACE: RecordPlace = RecordPlace { lsn: 77, extent: 2, lba: 4096, nblocks: 1 };

fn data_key(id: u32) -> DataKey {
    let mut secret = Zeroizing::new([0; 32]);
    (0..).zip(secret.iter_mut()).for_each(|(at, byte)| *byte = at);
    DataKey::new(id, Uuid::nil(), secret)
}

fn key() -> JournalKey {
    JournalKey::new(&data_key(1), JOURNAL, 3)
}

fn payload() -> Vec<u8> {
    (0..4096_u32).map(|at| u8::try_from((at * 7 + 5) & 0xff).unwrap()).collect()
}

#[test]
fn a_sealed_record_is_the_golden_one() {
    let golden: Vec<u32> = include_str!("../../../tests/golden/sealed_record.hex")
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    let golden: Vec<u8> = golden.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect();
    let (sealed, tag) = key().seal_record(PLACE, &payload());
    assert_eq!([&sealed[..], &tag].concat(), golden);
    assert_eq!(&key().open_record(PLACE, &sealed, tag).unwrap()[..], &payload()[..]);
}

#[test]
fn every_flipped_byte_of_a_record_is_refused() {
    let (sealed, tag) = key().seal_record(PLACE, &payload());
    for at in 0..sealed.len() {
        let mut bytes = sealed.to_vec();
        bytes[at] ^= 0x10;
        assert!(key().open_record(PLACE, &bytes, tag).is_err(), "byte {at}");
    }
    for at in 0..tag.len() {
        let mut other = tag;
        other[at] ^= 1;
        assert!(key().open_record(PLACE, &sealed, other).is_err(), "tag byte {at}");
    }
}

#[test]
fn a_record_opens_at_its_own_place_only() {
    let (sealed, tag) = key().seal_record(PLACE, &payload());
    for place in [
        RecordPlace { lsn: 78, ..PLACE },
        RecordPlace { extent: 3, ..PLACE },
        RecordPlace { lba: 4097, ..PLACE },
        RecordPlace { nblocks: 2, ..PLACE },
    ] {
        assert!(key().open_record(place, &sealed, tag).is_err(), "{place:?}");
    }
    for other in [
        JournalKey::new(&data_key(1), JOURNAL, 4),
        JournalKey::new(&data_key(1), Uuid::nil(), 3),
        JournalKey::new(&data_key(2), JOURNAL, 3),
    ] {
        assert!(other.open_record(PLACE, &sealed, tag).is_err(), "{other:?}");
    }
}
