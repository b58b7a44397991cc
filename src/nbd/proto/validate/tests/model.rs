//! Random requests against a naive model.

use proptest::prelude::*;

use super::*;

/// Every complaint that the rules have about a request, in no order, each stated on its own.
fn complaints(request: &RawRequest, shape: &Shape) -> Vec<Kind> {
    let extended = shape.style == ReplyStyle::Extended;
    let told = |flag: u16| shape.flags & flag == flag;
    let mutation = [1, 4, 6].contains(&request.command);
    let filtered = request.command == 7 && request.flags & 32 != 0;
    let ranged = request.command != 3 && request.command < 8 && !filtered;
    let end = u128::from(request.offset) + u128::from(request.length);
    let read_only = told(NBD_FLAG_READ_ONLY) && mutation;
    let most = match request.command {
        0 => u64::from(shape.maximum_payload.max(65_536)),
        1 => u64::from(shape.maximum_payload),
        _ => u64::MAX,
    };
    let documented: u16 = [
        (1, told(NBD_FLAG_SEND_FUA)),
        (2, request.command == 6),
        (4, request.command == 0 && told(NBD_FLAG_SEND_DF)),
        (8, request.command == 7),
        (16, request.command == 6 && told(NBD_FLAG_SEND_FAST_ZERO)),
        (32, request.command == 1 && extended || request.command == 7 && told(NBD_FLAG_BLOCK_STATUS_PAYLOAD)),
    ]
    .into_iter()
    .filter_map(|(flag, valid)| valid.then_some(flag))
    .sum();
    let too_long =
        if request.command == 0 && shape.style != ReplyStyle::Simple { Kind::Overflow } else { Kind::Invalid };
    let too_far = if request.command == 1 || request.command == 6 { Kind::NoSpace } else { Kind::Invalid };
    let block = u64::from(shape.minimum_block);
    [
        (request.command > 7, Kind::Invalid),
        (request.flags & !documented != 0, Kind::Invalid),
        (read_only, Kind::Permission),
        (request.command == 3 && !told(NBD_FLAG_SEND_FLUSH), Kind::Invalid),
        (request.command == 4 && !told(NBD_FLAG_SEND_TRIM) && !read_only, Kind::Invalid),
        (request.command == 5 && !told(NBD_FLAG_SEND_CACHE), Kind::Invalid),
        (request.command == 6 && !told(NBD_FLAG_SEND_WRITE_ZEROES) && !read_only, Kind::Invalid),
        (request.command == 7 && shape.contexts.is_empty(), Kind::Invalid),
        (request.command == 3 && end != 0, Kind::Invalid),
        (filtered && request.length != 12, Kind::Invalid),
        (ranged && request.length == 0, Kind::Invalid),
        (ranged && request.length > most, too_long),
        (ranged && end > u128::from(shape.size), too_far),
        (ranged && (!request.offset.is_multiple_of(block) || !request.length.is_multiple_of(block)), Kind::Invalid),
    ]
    .into_iter()
    .filter_map(|(broken, kind)| broken.then_some(kind))
    .collect()
}

fn any_shape() -> impl Strategy<Value = Shape> {
    let style = prop_oneof![Just(ReplyStyle::Simple), Just(ReplyStyle::Structured), Just(ReplyStyle::Extended)];
    let flags = prop_oneof![Just(0u16), Just(0), Just(NBD_FLAG_READ_ONLY), any::<u16>()];
    (style, flags, 0u32..=16, 0u64..200, any::<bool>(), 12u32..27).prop_map(
        |(style, flipped, block, blocks, contexts, payload)| {
            let full = shape(style);
            let contexts = if contexts { full.contexts } else { MetaContexts::default() };
            let mut flags = full.flags ^ flipped;
            if style != ReplyStyle::Extended {
                flags &= !NBD_FLAG_BLOCK_STATUS_PAYLOAD;
            }
            let size = blocks << block;
            Shape { size, minimum_block: 1 << block, maximum_payload: 1 << payload, flags, style, contexts }
        },
    )
}

/// Requests near the limits of a shape, with mostly sensible flags.
fn any_request(shape: Shape) -> impl Strategy<Value = RawRequest> {
    let block = u64::from(shape.minimum_block);
    let near = move |value: u64| prop_oneof![Just(value), Just(value.wrapping_add(1)), Just(value.wrapping_sub(block))];
    let number = move || {
        prop_oneof![
            4 => (0u64..200).prop_map(move |n| n * block),
            1 => near(shape.size),
            1 => near(u64::from(shape.maximum_payload)),
            1 => near(1 << 25),
            1 => near(65_536),
            1 => near(0),
            1 => Just(12),
            1 => any::<u64>(),
        ]
    };
    let flag = prop_oneof![4 => Just(0u16), 3 => (0u16..6).prop_map(|bit| 1 << bit), 1 => any::<u16>()];
    (0u16..10, flag, any::<bool>(), number(), number()).prop_map(move |(command, flags, own, offset, length)| {
        let extended = shape.style == ReplyStyle::Extended;
        let flags = if own && extended && command == 1 { flags | 32 } else { flags };
        let length = if extended { length } else { length & 0xffff_ffff };
        RawRequest { flags, command, cookie: 0, offset, length }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_request_is_served_exactly_if_no_rule_is_broken(
        (shape, request) in any_shape().prop_flat_map(|shape| (Just(shape), any_request(shape)))
    ) {
        let complaints = complaints(&request, &shape);
        let payload = match shape.style {
            ReplyStyle::Extended if request.flags & 32 != 0 => request.length,
            _ => if request.command == 1 { request.length } else { 0 },
        };
        match validate(&request, &shape) {
            Ok(Command::Disc) => prop_assert_eq!(request.command, 2),
            Ok(_) => prop_assert!(complaints.is_empty(), "served despite {:?}", complaints),
            Err(Refusal::Disconnect { .. }) => {
                prop_assert!(payload > u64::from(shape.maximum_payload.max(1 << 25)));
            }
            Err(Refusal::Error { error, payload: told, .. }) => {
                prop_assert!(complaints.contains(&error), "{:?} is not in {:?}", error, complaints);
                prop_assert_eq!(told, payload);
            }
        }
    }

    #[test]
    fn no_filter_payload_makes_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..20)) {
        let shape = shape(ReplyStyle::Extended);
        let status = request(NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN, 0, payload.len() as u64);
        if let Ok(Command::FilteredBlockStatus(filter)) = validate(&status, &shape) {
            prop_assert_eq!(filter.payload_bytes(), payload.len());
            let _ = filter.read(&payload, &shape);
        }
    }
}
