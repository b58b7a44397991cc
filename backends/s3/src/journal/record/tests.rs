//! The bytes of records, in clear and sealed.

use proptest::prelude::*;

use super::*;
use crate::format::seal::DataKey;
use zeroize::Zeroizing;

fn link() -> Link {
    Link { journal: Uuid::from_u128(0xabcd), generation: 4, lsn: 17, prev_crc: 0x0102_0304, unsynced: 2 }
}

fn data(seed: u8, nblocks: usize) -> Checked {
    Checked::new((0..nblocks * BLOCK_SIZE).map(|at| u8::try_from(at % 251).unwrap() ^ seed).collect::<Vec<_>>().into())
}

fn job() -> RecordJob {
    let extent =
        |start, nblocks, begins, parts| ExtentJob { range: BlockRange::new(Lba(start), nblocks), begins, parts };
    RecordJob {
        link: link(),
        mutations: (Wseq(5), Wseq(6)),
        extents: vec![
            extent(3, 2, true, vec![Part::Data(data(1, 2))]),
            extent(100, 1 << 31, true, vec![]),
            extent(9, 4, false, vec![Part::Data(data(2, 1)), Part::Zeros(2), Part::Data(data(3, 1))]),
        ],
        pad: None,
        offset: 0,
    }
}

fn bytes(encoded: &Encoded) -> Vec<u8> {
    encoded.slices.concat()
}

#[test]
fn the_bytes_of_a_record_are_these() {
    let encoded = encode_record(&link(), &job(), None);
    let all = bytes(&encoded);
    assert_eq!(all.len(), 7 * BLOCK_SIZE);
    assert_eq!(&all[..8], b"OLJ1R\x01\0\0");
    assert_eq!(all[8..24], link().journal.into_bytes());
    let u64_at = |at: usize| u64::from_le_bytes(all[at..at + 8].try_into().unwrap());
    let u32_at = |at: usize| u32::from_le_bytes(all[at..at + 4].try_into().unwrap());
    assert_eq!((u64_at(24), u64_at(32), u64_at(40), u32_at(48), u32_at(52)), (17, 5, 6, 3, 6));
    assert_eq!((u32_at(56), u32_at(60)), (0x0102_0304, crc32c::crc32c(&all[BLOCK_SIZE..])));
    assert_eq!((u64_at(64), u32_at(72), u32_at(76)), (4, encoded.header_crc, 2));
    assert_eq!(all[80..92], [3, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0]);
    assert_eq!(u32_at(92), crc32c::crc32c(data(1, 2).bytes()));
    assert_eq!(all[96..112], [100, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x80, 0, 0, 0, 0]);
    assert_eq!(all[112..124], [9, 0, 0, 0, 0, 0, 1, 0, 4, 0, 0, 0]);
    assert_eq!(u32_at(124), crc32c::crc32c(&all[3 * BLOCK_SIZE..]));
    assert!(all[128..BLOCK_SIZE].iter().all(|&byte| byte == 0));
    // Laid out by hand from the table above, so that no field moves unnoticed.
    assert_eq!(encoded.header_crc, 0x8bbf_b2d8);
    let pad = encode_pad(&link(), 12, None);
    assert_eq!(pad.slices[0][..8], *b"OLJ1P\x01\0\0");
    assert_eq!(pad.header_crc, 0x43af_73a3);
}

#[test]
fn a_record_comes_back() {
    let encoded = encode_record(&link(), &job(), None);
    let all = bytes(&encoded);
    let header = Header::parse(&all).unwrap();
    assert_eq!((header.link, header.crc, header.record_len()), (link(), encoded.header_crc, all.len() as u64));
    let payload = Bytes::from(all[BLOCK_SIZE..].to_vec());
    let record = header.decode_record(77 * 4096, &payload, None).unwrap();
    let shape: Vec<_> = record.mutations.iter().map(|mutation| (mutation.wseq.0, mutation.extents.len())).collect();
    assert_eq!((shape, record.position), (vec![(5, 1), (6, 2)], 77 * 4096));
    let last = &record.mutations[1].extents[1];
    assert_eq!((last.range, last.number, last.at, last.sound), (BlockRange::new(Lba(9), 4), 2, 2, true));
    let expected = [&data(2, 1).bytes()[..], &[0; 2 * BLOCK_SIZE], &data(3, 1).bytes()[..]].concat();
    assert_eq!(last.data.as_ref().unwrap()[..], expected);
    assert!(record.mutations[1].extents[0].data.is_none());
}

#[test]
fn every_flipped_bit_of_a_header_is_noticed() {
    let good = bytes(&encode_record(&link(), &job(), None));
    for bit in 0..BLOCK_SIZE * 8 {
        let mut bad = good[..BLOCK_SIZE].to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Header::parse(&bad).is_err(), "bit {bit}");
    }
}

#[test]
fn a_flipped_bit_of_the_payload_is_noticed() {
    let good = bytes(&encode_record(&link(), &job(), None));
    let header = Header::parse(&good).unwrap();
    for at in [0, 4095, 4096, 5 * BLOCK_SIZE + 17] {
        let mut bad = good[BLOCK_SIZE..].to_vec();
        bad[at] ^= 0x10;
        assert!(!header.is_whole(&bad));
    }
}

#[test]
fn data_that_was_damaged_before_it_was_written_is_told_apart_from_damage_on_the_medium() {
    let mut job = job();
    job.extents[0].parts = vec![Part::Data(data(1, 2).damaged())];
    let all = bytes(&encode_record(&link(), &job, None));
    let record = Header::parse(&all).unwrap().decode_record(0, &all[BLOCK_SIZE..].to_vec().into(), None).unwrap();
    assert!(!record.mutations[0].extents[0].sound);
    assert!(record.mutations[1].extents.iter().all(|extent| extent.sound));
}

proptest! {
    #[test]
    fn random_headers_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), BLOCK_SIZE), counts in any::<bool>()) {
        bytes[..8].copy_from_slice(b"OLJ1R\x01\0\0");
        if counts {
            bytes[48..56].copy_from_slice(&[3, 0, 0, 0, 6, 0, 0, 0]);
            bytes[80 + 48..].fill(0);
        }
        bytes[CRC_AT..CRC_AT + 4].fill(0);
        let crc = crc32c::crc32c(&bytes);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        if let Ok(header) = Header::parse(&bytes) {
            prop_assert!(header.is_consistent());
        }
    }
}

fn key(id: u32, generation: u64) -> JournalKey {
    JournalKey::new(&DataKey::new(id, Uuid::nil(), Zeroizing::new([7; 32])), link().journal, generation)
}

#[test]
fn a_sealed_record_comes_back_with_its_key_only_and_shows_nothing() {
    let sealing = key(3, 4);
    let (clear, sealed) =
        (bytes(&encode_record(&link(), &job(), None)), encode_record(&link(), &job(), Some(&sealing)));
    let all = bytes(&sealed);
    assert_eq!(all.len(), clear.len(), "blocks stay aligned");
    assert_eq!((&all[..8], &all[80..84]), (&b"OLJ1R\x01\x01\0"[..], &[3, 0, 0, 0][..]));
    let crc = crc32c::crc32c(data(1, 2).bytes()).to_le_bytes();
    assert!(all.windows(4).all(|window| window != crc), "not even a checksum");
    assert!(all.windows(64).all(|window| window != &data(1, 1).bytes()[..64]));
    let header = Header::parse(&all).unwrap();
    let payload = Bytes::from(all[BLOCK_SIZE..].to_vec());
    assert!(header.is_whole(&payload) && header.key_id == Some(3));
    header.authenticate(&all, &sealing).unwrap();
    let read = header.decode_record(0, &payload, Some(&sealing)).unwrap();
    let in_clear = Header::parse(&clear).unwrap().decode_record(0, &clear[BLOCK_SIZE..].to_vec().into(), None).unwrap();
    assert_eq!(format!("{read:?}"), format!("{in_clear:?}"));
    for other in [key(2, 4), key(3, 5)] {
        assert!(header.authenticate(&all, &other).is_err());
        assert!(header.decode_record(0, &payload, Some(&other)).is_err());
    }
}

#[test]
fn what_was_changed_in_a_sealed_record_is_noticed_though_its_crcs_were_made_to_match() {
    let sealing = key(3, 4);
    let good = bytes(&encode_record(&link(), &job(), Some(&sealing)));
    // The sequence, a mutation's number and border, the length of the zeros, a tag, the payload.
    for at in [24, 33, 76, 112 + 7, 112 + 32 + 8, 112 + 20, BLOCK_SIZE + 5, 6 * BLOCK_SIZE] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let payload_crc = crc32c::crc32c(&bad[BLOCK_SIZE..]).to_le_bytes();
        bad[60..64].copy_from_slice(&payload_crc);
        bad[CRC_AT..CRC_AT + 4].fill(0);
        let crc = crc32c::crc32c(&bad[..BLOCK_SIZE]).to_le_bytes();
        bad[CRC_AT..CRC_AT + 4].copy_from_slice(&crc);
        let Ok(header) = Header::parse(&bad) else { continue };
        let payload = Bytes::from(bad[BLOCK_SIZE..].to_vec());
        assert!(header.is_whole(&payload), "the crcs match");
        assert!(header.authenticate(&bad, &sealing).is_err(), "byte {at}");
    }
}

#[test]
fn a_sealed_record_is_full_with_124_extents() {
    let zeros = |at| ExtentJob { range: BlockRange::new(Lba(at), 1), begins: at == 0, parts: Vec::new() };
    assert_eq!((max_extents(false), max_extents(true)), (251, 124));
    let job = RecordJob { mutations: (Wseq(5), Wseq(5)), extents: (0..124).map(zeros).collect(), ..job() };
    let sealing = key(1, 4);
    let all = bytes(&encode_record(&link(), &job, Some(&sealing)));
    assert_eq!(all.len(), BLOCK_SIZE);
    let header = Header::parse(&all).unwrap();
    header.authenticate(&all, &sealing).unwrap();
    let pad = bytes(&encode_pad(&link(), 12, Some(&sealing)));
    Header::parse(&pad).unwrap().authenticate(&pad, &sealing).unwrap();
}
