use proptest::prelude::*;

use super::*;

fn string(text: &[u8]) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes(), text].concat()
}

#[test]
fn an_option_header_starts_with_ihaveopt() {
    let mut bytes = *b"IHAVEOPT\0\0\0\x07\0\0\x01\x02";
    assert_eq!(OptionHeader::parse(&bytes), Some(OptionHeader { option: 7, length: 258 }));
    bytes[3] ^= 1;
    assert_eq!(OptionHeader::parse(&bytes), None);
}

#[test]
fn info_data_are_read_and_every_other_length_is_malformed() {
    let data = [&string(b"disk")[..], &[0, 2, 0, 3, 0, 1]].concat();
    let request = InfoRequest::parse(&data).unwrap();
    assert_eq!(request.name, "disk");
    assert_eq!([0, 1, 2, 3].map(|info| request.wants(info)), [false, true, false, true]);
    for end in 0..data.len() {
        assert!(InfoRequest::parse(&data[..end]).is_err(), "{end}");
    }
    assert!(InfoRequest::parse(&[&data[..], &[0]].concat()).is_err());
    assert!(InfoRequest::parse(&[&data[..], &[0, 0]].concat()).is_err());
}

#[test]
fn meta_context_data_are_read_and_every_other_length_is_malformed() {
    let data = [string(b""), 2u32.to_be_bytes().to_vec(), string(b"base:"), string(b"x-a:b")].concat();
    let request = MetaContextRequest::parse(&data).unwrap();
    assert_eq!((request.name, request.count), ("", 2));
    assert_eq!(request.queries().collect::<Vec<_>>(), ["base:", "x-a:b"]);
    for end in 0..data.len() {
        assert!(MetaContextRequest::parse(&data[..end]).is_err(), "{end}");
    }
    assert!(MetaContextRequest::parse(&[&data[..], &[0]].concat()).is_err());
}

#[test]
fn strings_that_break_the_conventions_are_malformed() {
    for name in [&b"a\0b"[..], b"\xff", &[b'a'; 4097]] {
        assert!(InfoRequest::parse(&[&string(name)[..], &[0, 0]].concat()).is_err());
        assert!(MetaContextRequest::parse(&[&string(name)[..], &[0; 4]].concat()).is_err());
        let query = [&string(b"")[..], &1u32.to_be_bytes(), &string(name)].concat();
        assert!(MetaContextRequest::parse(&query).is_err());
    }
}

#[test]
fn a_count_of_queries_beyond_the_data_is_malformed() {
    let data = [&string(b"")[..], &u32::MAX.to_be_bytes(), &string(b"base:")].concat();
    assert!(MetaContextRequest::parse(&data).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(data in proptest::collection::vec(prop_oneof![Just(0u8), 0u8..9, any::<u8>()], 0..64)) {
        let _ = InfoRequest::parse(&data);
        if let Ok(request) = MetaContextRequest::parse(&data) {
            prop_assert_eq!(request.queries().count(), request.count as usize);
        }
    }

    #[test]
    fn what_was_encoded_is_parsed(name in "[a-zä/]{0,20}", infos: Vec<u16>, queries in proptest::collection::vec("[a-z:]{0,9}", 0..5)) {
        let mut data = string(name.as_bytes());
        data.extend(u16::try_from(infos.len()).unwrap().to_be_bytes());
        data.extend(infos.iter().flat_map(|info| info.to_be_bytes()));
        let request = InfoRequest::parse(&data).unwrap();
        prop_assert_eq!(request.name, &name);
        prop_assert!(infos.iter().all(|info| request.wants(*info)));

        let mut data = string(name.as_bytes());
        data.extend(u32::try_from(queries.len()).unwrap().to_be_bytes());
        data.extend(queries.iter().flat_map(|query| string(query.as_bytes())));
        let request = MetaContextRequest::parse(&data).unwrap();
        prop_assert_eq!(request.queries().collect::<Vec<_>>(), queries);
    }
}
