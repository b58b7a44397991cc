//! The rules, each by name.

use super::*;

const ALL: [ReplyStyle; 3] = [ReplyStyle::Simple, ReplyStyle::Structured, ReplyStyle::Extended];
const RANGED: [u16; 6] =
    [NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_WRITE_ZEROES, NBD_CMD_BLOCK_STATUS];

/// The flag that a write needs in this style.
fn own(command: u16, style: ReplyStyle) -> u16 {
    if command == NBD_CMD_WRITE && style == ReplyStyle::Extended { NBD_CMD_FLAG_PAYLOAD_LEN } else { 0 }
}

/// Commands that name a range, with what they need, in the styles that have them.
fn ranged() -> impl Iterator<Item = (ReplyStyle, u16, u16)> {
    let pairs = ALL.into_iter().flat_map(|style| RANGED.into_iter().map(move |command| (style, command)));
    pairs
        .filter(|pair| *pair != (ReplyStyle::Simple, NBD_CMD_BLOCK_STATUS))
        .map(|(style, command)| (style, command, own(command, style)))
}

fn payload(style: ReplyStyle, command: u16, length: u64) -> u64 {
    request(command, own(command, style), 0, length).payload_bytes(style.headers())
}

#[test]
fn served_requests_become_commands() {
    let shape = shape(ReplyStyle::Extended);
    let range = ByteRange::between(512, 1024);
    let contexts = shape.contexts;
    let fua = NBD_CMD_FLAG_FUA;
    let zeroes = Zeroes { no_hole: true, fast: true };
    let zero_flags = fua | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
    let expected = [
        (NBD_CMD_READ, 0, Command::Read { range, df: false }),
        (NBD_CMD_READ, NBD_CMD_FLAG_DF, Command::Read { range, df: true }),
        (NBD_CMD_WRITE, NBD_CMD_FLAG_PAYLOAD_LEN, Command::Write { range, fua: false }),
        (NBD_CMD_WRITE, NBD_CMD_FLAG_PAYLOAD_LEN | fua, Command::Write { range, fua: true }),
        (NBD_CMD_TRIM, 0, Command::Trim { range, fua: false }),
        (NBD_CMD_TRIM, fua, Command::Trim { range, fua: true }),
        (NBD_CMD_WRITE_ZEROES, 0, Command::WriteZeroes { range, zeroes: Zeroes::default(), fua: false }),
        (NBD_CMD_WRITE_ZEROES, zero_flags, Command::WriteZeroes { range, zeroes, fua: true }),
        (NBD_CMD_CACHE, 0, Command::Cache(range)),
        (NBD_CMD_BLOCK_STATUS, 0, Command::BlockStatus { range, req_one: false, contexts }),
        (NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_REQ_ONE, Command::BlockStatus { range, req_one: true, contexts }),
    ];
    for (command, flags, served) in expected {
        assert_eq!(validate(&request(command, flags, 512, 512), &shape), Ok(served));
    }
    assert_eq!(validate(&request(NBD_CMD_FLUSH, 0, 0, 0), &shape), Ok(Command::Flush));
}

#[test]
fn disc_is_obeyed_whatever_its_fields() {
    for style in ALL {
        let disc = request(NBD_CMD_DISC, 0xffff, u64::MAX, u64::MAX);
        assert_eq!(validate(&disc, &shape(style)), Ok(Command::Disc));
    }
}

#[test]
fn fua_is_accepted_on_every_command() {
    for (style, command, flags) in ranged() {
        let fua = request(command, flags | NBD_CMD_FLAG_FUA, 0, 512);
        assert!(validate(&fua, &shape(style)).is_ok(), "{style:?} {command}");
    }
    let flush = request(NBD_CMD_FLUSH, NBD_CMD_FLAG_FUA, 0, 0);
    assert_eq!(validate(&flush, &shape(ReplyStyle::Simple)), Ok(Command::Flush));
}

#[test]
fn zero_lengths_are_einval() {
    for (style, command, flags) in ranged() {
        assert_eq!(refusal(&request(command, flags, 0, 0), &shape(style)), (Kind::Invalid, 0), "{style:?} {command}");
    }
}

#[test]
fn flush_with_a_range_is_einval() {
    for (offset, length) in [(512, 0), (0, 512)] {
        let flush = request(NBD_CMD_FLUSH, 0, offset, length);
        assert_eq!(refusal(&flush, &shape(ReplyStyle::Simple)), (Kind::Invalid, 0));
    }
}

#[test]
fn past_the_end_is_enospc_for_writes_and_zeroes_and_einval_for_the_rest() {
    for (style, command, flags) in ranged() {
        let error = match command {
            NBD_CMD_WRITE | NBD_CMD_WRITE_ZEROES => Kind::NoSpace,
            _ => Kind::Invalid,
        };
        let payload = payload(style, command, 1024);
        for offset in [64 * MIB - 512, 64 * MIB, u64::MAX - 511, u64::MAX] {
            let past = request(command, flags, offset, 1024);
            assert_eq!(refusal(&past, &shape(style)), (error, payload), "{style:?} {command} {offset}");
        }
        assert!(validate(&request(command, flags, 64 * MIB - 1024, 1024), &shape(style)).is_ok());
    }
}

#[test]
fn unaligned_is_einval() {
    for (style, command, flags) in ranged() {
        for (offset, length) in [(1, 512), (512, 511), (256, 256)] {
            let payload = payload(style, command, length);
            let unaligned = request(command, flags, offset, length);
            assert_eq!(refusal(&unaligned, &shape(style)), (Kind::Invalid, payload), "{style:?} {command}");
        }
    }
}

#[test]
fn unknown_flags_are_einval() {
    for (style, command, flags) in ranged() {
        for bit in 6..16 {
            let unknown = request(command, flags | 1 << bit, 0, 512);
            let payload = payload(style, command, 512);
            assert_eq!(refusal(&unknown, &shape(style)), (Kind::Invalid, payload), "{style:?} {command} {bit}");
        }
    }
}

#[test]
fn flags_of_other_commands_are_einval() {
    let foreign = [
        (NBD_CMD_READ, NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_REQ_ONE | NBD_CMD_FLAG_FAST_ZERO),
        (NBD_CMD_WRITE, NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_DF | NBD_CMD_FLAG_REQ_ONE | NBD_CMD_FLAG_FAST_ZERO),
        (NBD_CMD_TRIM, NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_DF | NBD_CMD_FLAG_REQ_ONE | NBD_CMD_FLAG_FAST_ZERO),
        (NBD_CMD_CACHE, NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_DF | NBD_CMD_FLAG_REQ_ONE | NBD_CMD_FLAG_FAST_ZERO),
        (NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_DF | NBD_CMD_FLAG_REQ_ONE),
        (NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_DF | NBD_CMD_FLAG_FAST_ZERO),
    ];
    let shape = shape(ReplyStyle::Structured);
    for (command, wrong) in foreign {
        for bit in (0..6).map(|bit| 1 << bit).filter(|bit| wrong & bit != 0) {
            assert_eq!(refusal(&request(command, bit, 0, 512), &shape).0, Kind::Invalid, "{command} {bit}");
        }
    }
}

#[test]
fn unknown_commands_are_einval_and_their_payload_is_told() {
    for command in [8, 9, 0xffff] {
        assert_eq!(refusal(&request(command, 0, 0, 512), &shape(ReplyStyle::Simple)), (Kind::Invalid, 0));
        let loaded = request(command, NBD_CMD_FLAG_PAYLOAD_LEN, 0, 700);
        assert_eq!(refusal(&loaded, &shape(ReplyStyle::Extended)), (Kind::Invalid, 700));
    }
}

#[test]
fn mutations_of_a_read_only_export_are_eperm() {
    for style in ALL {
        let mut shape = shape(style);
        shape.flags |= NBD_FLAG_READ_ONLY;
        for command in [NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES] {
            let payload = payload(style, command, 512);
            let mutation = request(command, own(command, style), 0, 512);
            assert_eq!(refusal(&mutation, &shape), (Kind::Permission, payload), "{style:?} {command}");
            let bare = Shape { flags: NBD_FLAG_READ_ONLY, ..shape };
            assert_eq!(refusal(&mutation, &bare).0, Kind::Permission, "also where it is not offered");
        }
        assert!(validate(&request(NBD_CMD_READ, 0, 0, 512), &shape).is_ok());
    }
}

#[test]
fn what_is_not_advertised_is_einval() {
    let full = shape(ReplyStyle::Structured);
    let cases = [
        (NBD_FLAG_SEND_FLUSH, request(NBD_CMD_FLUSH, 0, 0, 0)),
        (NBD_FLAG_SEND_TRIM, request(NBD_CMD_TRIM, 0, 0, 512)),
        (NBD_FLAG_SEND_CACHE, request(NBD_CMD_CACHE, 0, 0, 512)),
        (NBD_FLAG_SEND_WRITE_ZEROES, request(NBD_CMD_WRITE_ZEROES, 0, 0, 512)),
        (NBD_FLAG_SEND_FAST_ZERO, request(NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FAST_ZERO, 0, 512)),
        (NBD_FLAG_SEND_FUA, request(NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 0, 512)),
        (NBD_FLAG_SEND_DF, request(NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, 512)),
    ];
    for (flag, request) in cases {
        assert!(validate(&request, &full).is_ok(), "{request:?}");
        let without = Shape { flags: full.flags & !flag, ..full };
        assert_eq!(refusal(&request, &without).0, Kind::Invalid, "{request:?}");
    }
}

#[test]
fn block_status_without_a_context_is_einval() {
    let shape = Shape { contexts: MetaContexts::default(), ..shape(ReplyStyle::Structured) };
    assert_eq!(refusal(&request(NBD_CMD_BLOCK_STATUS, 0, 0, 512), &shape), (Kind::Invalid, 0));
}

#[test]
fn reads_over_the_maximum_payload_are_refused() {
    let long = request(NBD_CMD_READ, 0, 0, MIB + 512);
    assert_eq!(refusal(&long, &shape(ReplyStyle::Simple)).0, Kind::Invalid);
    for style in [ReplyStyle::Structured, ReplyStyle::Extended] {
        assert_eq!(refusal(&long, &shape(style)).0, Kind::Overflow);
        let df = RawRequest { flags: NBD_CMD_FLAG_DF, ..long };
        assert_eq!(refusal(&df, &shape(style)).0, Kind::Overflow);
    }
    assert_eq!(refusal(&request(NBD_CMD_READ, 0, 0, 1 << 40), &shape(ReplyStyle::Extended)).0, Kind::Overflow);
}

#[test]
fn unfragmented_reads_up_to_64_kib_are_always_served() {
    let small = Shape { maximum_payload: 4096, ..shape(ReplyStyle::Structured) };
    assert!(validate(&request(NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, 65_536), &small).is_ok());
    assert_eq!(refusal(&request(NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, 65_536 + 512), &small).0, Kind::Overflow);
}

#[test]
fn commands_without_payload_may_be_longer_than_the_maximum_payload() {
    for command in [NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_WRITE_ZEROES, NBD_CMD_BLOCK_STATUS] {
        let whole = request(command, 0, 0, 64 * MIB);
        assert!(validate(&whole, &shape(ReplyStyle::Extended)).is_ok(), "{command}");
    }
    let huge = Shape { size: 1 << 50, ..shape(ReplyStyle::Extended) };
    assert!(validate(&request(NBD_CMD_WRITE_ZEROES, 0, 0, 1 << 50), &huge).is_ok());
}

#[test]
fn writes_over_the_maximum_payload_are_drained_or_end_the_connection() {
    for style in [ReplyStyle::Simple, ReplyStyle::Extended] {
        let write = |length| request(NBD_CMD_WRITE, own(NBD_CMD_WRITE, style), 0, length);
        assert_eq!(refusal(&write(MIB + 512), &shape(style)), (Kind::Invalid, MIB + 512));
        assert_eq!(refusal(&write(32 * MIB), &shape(style)), (Kind::Invalid, 32 * MIB));
        let ended = validate(&write(32 * MIB + 1), &shape(style));
        assert!(matches!(ended, Err(Refusal::Disconnect { .. })), "{ended:?}");
        let generous = Shape { maximum_payload: 40 << 20, ..shape(style) };
        assert!(validate(&write(40 * MIB), &generous).is_ok());
    }
}

#[test]
fn an_extended_write_without_payload_len_is_taken_with_its_payload() {
    let write = request(NBD_CMD_WRITE, 0, 0, 512);
    let range = ByteRange::new(0, 512).expect("a range");
    assert_eq!(validate(&write, &shape(ReplyStyle::Extended)), Ok(Command::Write { range, fua: false }));
    assert_eq!(write.payload_bytes(Headers::Extended), 512);
}

#[test]
fn payload_len_on_other_commands_is_drained_and_einval() {
    for command in [NBD_CMD_READ, NBD_CMD_FLUSH, NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_WRITE_ZEROES] {
        let loaded = request(command, NBD_CMD_FLAG_PAYLOAD_LEN, 0, 512);
        assert_eq!(refusal(&loaded, &shape(ReplyStyle::Extended)), (Kind::Invalid, 512), "{command}");
        let oversized = request(command, NBD_CMD_FLAG_PAYLOAD_LEN, 0, u64::MAX);
        assert!(matches!(validate(&oversized, &shape(ReplyStyle::Extended)), Err(Refusal::Disconnect { .. })));
    }
}

#[test]
fn payload_len_without_extended_headers_is_einval() {
    for style in [ReplyStyle::Simple, ReplyStyle::Structured] {
        let write = request(NBD_CMD_WRITE, NBD_CMD_FLAG_PAYLOAD_LEN, 0, 512);
        assert_eq!(refusal(&write, &shape(style)), (Kind::Invalid, 512));
        assert_eq!(refusal(&request(NBD_CMD_READ, NBD_CMD_FLAG_PAYLOAD_LEN, 0, 512), &shape(style)).1, 0);
    }
}

fn filter(length: u64, ids: &[u32]) -> (RawRequest, Vec<u8>) {
    let mut payload = length.to_be_bytes().to_vec();
    payload.extend(ids.iter().flat_map(|id| id.to_be_bytes()));
    let flags = NBD_CMD_FLAG_PAYLOAD_LEN | NBD_CMD_FLAG_REQ_ONE;
    (request(NBD_CMD_BLOCK_STATUS, flags, 512, payload.len() as u64), payload)
}

#[test]
fn a_block_status_filter_names_range_and_contexts() {
    let shape = shape(ReplyStyle::Extended);
    let (request, payload) = filter(1024, &[MetaContext::Allocation.id()]);
    let Ok(Command::FilteredBlockStatus(filter)) = validate(&request, &shape) else { panic!("refused") };
    assert_eq!(filter.payload_bytes(), payload.len());
    let range = ByteRange::between(512, 1536);
    let served = Command::BlockStatus { range, req_one: true, contexts: shape.contexts };
    assert_eq!(filter.read(&payload, &shape), Ok(served));
    assert!(filter.read(&payload[..payload.len() - 1], &shape).is_err());
}

#[test]
fn a_block_status_filter_with_unknown_ids_or_a_bad_range_is_einval() {
    let shape = shape(ReplyStyle::Extended);
    for (length, id) in [(1024, 7), (1024, 0), (0, 1), (1, 1), (u64::MAX, 1), (64 * MIB, 1)] {
        let (request, payload) = filter(length, &[id]);
        let Ok(Command::FilteredBlockStatus(filter)) = validate(&request, &shape) else { panic!("refused") };
        let refused = filter.read(&payload, &shape);
        let Err(Refusal::Error { error: Kind::Invalid, payload: 0, .. }) = refused else {
            panic!("{length} {id} gave {refused:?}")
        };
    }
}

#[test]
fn a_block_status_filter_of_an_impossible_size_is_drained_and_einval() {
    let shape = shape(ReplyStyle::Extended);
    for bytes in [0, 4, 8, 9, 13, 76, 1024] {
        let request = request(NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN, 0, bytes);
        assert_eq!(refusal(&request, &shape), (Kind::Invalid, bytes));
    }
    let (duplicates, payload) = filter(1024, &[1, 1]);
    let Ok(Command::FilteredBlockStatus(filter)) = validate(&duplicates, &shape) else { panic!("refused") };
    let refused = filter.read(&payload, &shape);
    assert!(matches!(refused, Err(Refusal::Error { error: Kind::Invalid, payload: 0, .. })), "{refused:?}");
}

#[test]
fn a_block_status_filter_that_is_not_offered_is_drained_and_einval() {
    let mut shape = shape(ReplyStyle::Extended);
    shape.flags &= !NBD_FLAG_BLOCK_STATUS_PAYLOAD;
    let (request, payload) = filter(1024, &[1]);
    assert_eq!(refusal(&request, &shape), (Kind::Invalid, payload.len() as u64));
}
