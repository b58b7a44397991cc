//! The transmission stream of a client: every header is read and judged, every payload skipped, to the end.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nbdgate::nbd::proto::{
    BlockStatusFilter, Command, MetaContext, Parse, Refusal, ReplyStyle, Shape, parse_request, validate,
};

fuzz_target!(|input: (u8, u16, u8, u32, u32, &[u8])| {
    let (style, flags, block, blocks, maximum_payload, mut stream) = input;
    let minimum_block = 1 << (block % 17);
    let shape = Shape {
        size: u64::from(blocks) * u64::from(minimum_block),
        minimum_block,
        maximum_payload,
        flags,
        style: [ReplyStyle::Simple, ReplyStyle::Structured, ReplyStyle::Extended][usize::from(style % 3)],
        contexts: (1..32).filter(|_| style & 4 != 0).filter_map(MetaContext::from_id).collect(),
    };
    let headers = shape.style.headers();
    while let Parse::Request(request) = parse_request(stream, headers) {
        stream = &stream[headers.request_bytes()..];
        let payload = match validate(&request, &shape) {
            Ok(Command::FilteredBlockStatus(filter)) => {
                assert!(filter.payload_bytes() <= BlockStatusFilter::MAX_PAYLOAD_BYTES);
                let Some(payload) = stream.get(..filter.payload_bytes()) else { return };
                if let Ok(command) = filter.read(payload, &shape) {
                    check(&command, &shape);
                }
                request.payload_bytes(headers)
            }
            Ok(Command::Disc) | Err(Refusal::Disconnect { .. }) => return,
            Ok(command) => {
                check(&command, &shape);
                request.payload_bytes(headers)
            }
            Err(Refusal::Error { text, payload, .. }) => {
                assert!(text.len() <= 256);
                assert!(payload <= shape.drain_limit());
                payload
            }
        };
        let Some(rest) = usize::try_from(payload).ok().and_then(|payload| stream.get(payload..)) else { return };
        stream = rest;
    }
});

fn check(command: &Command, shape: &Shape) {
    let range = match *command {
        Command::Read { range, .. } => {
            assert!(range.length() <= shape.read_limit());
            range
        }
        Command::Write { range, .. } => {
            assert!(range.length() <= u64::from(shape.maximum_payload));
            range
        }
        Command::Trim { range, .. } | Command::WriteZeroes { range, .. } | Command::Cache(range) => range,
        Command::BlockStatus { range, contexts, .. } => {
            assert!(!contexts.is_empty());
            range
        }
        Command::Flush | Command::Disc | Command::FilteredBlockStatus(_) => return,
    };
    assert!(!range.is_empty() && range.end() <= shape.size);
    assert!(range.is_aligned(u64::from(shape.minimum_block)));
}
