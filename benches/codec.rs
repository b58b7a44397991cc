//! The protocol codec: what one receive of requests and one send of replies cost, before any storage is touched.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput};
use nbdgate::nbd::proto::{
    Asked, Command, Done, Headers, MetaContext, MetaContexts, Parse, ReplyStyle, ReplyTo, Shape,
    constants::{
        NBD_CMD_READ, NBD_CMD_WRITE, NBD_EXTENDED_REQUEST_MAGIC, NBD_FLAG_HAS_FLAGS, NBD_FLAG_SEND_DF,
        NBD_FLAG_SEND_FLUSH, NBD_FLAG_SEND_FUA, NBD_REQUEST_MAGIC,
    },
    parse_request, validate,
};
use nbdgate_api::{ByteRange, Extent, ExtentKind, Kind};

const BLOCK: u32 = 4 << 10;
/// Requests of one batch: a queue of depth 128.
const BATCH: usize = 128;

fn shape(style: ReplyStyle) -> Shape {
    Shape {
        size: 1 << 30,
        minimum_block: 512,
        maximum_payload: 32 << 20,
        flags: NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_DF,
        style,
        contexts: MetaContexts::default(),
    }
}

/// A batch of request headers, each followed by so many bytes of payload.
fn requests(command: u16, headers: Headers, payload: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    for cookie in 0..BATCH as u64 {
        let magic = if headers == Headers::Compact { NBD_REQUEST_MAGIC } else { NBD_EXTENDED_REQUEST_MAGIC };
        stream.extend(magic.to_be_bytes());
        stream.extend(0u16.to_be_bytes());
        stream.extend(command.to_be_bytes());
        stream.extend(cookie.to_be_bytes());
        stream.extend((cookie * 7 * u64::from(BLOCK)).to_be_bytes());
        match headers {
            Headers::Compact => stream.extend(BLOCK.to_be_bytes()),
            Headers::Extended => stream.extend(u64::from(BLOCK).to_be_bytes()),
        }
        stream.resize(stream.len() + payload, 0x5a);
    }
    stream
}

/// Parses and judges a whole batch; the bytes it asks for.
fn take(stream: &[u8], shape: &Shape) -> u64 {
    let headers = shape.style.headers();
    let (mut rest, mut bytes) = (stream, 0);
    while let Parse::Request(request) = parse_request(rest, headers) {
        match validate(&request, shape) {
            Ok(Command::Read { range, .. } | Command::Write { range, .. }) => bytes += range.length(),
            other => panic!("a valid request was judged {other:?}"),
        }
        let payload = usize::try_from(request.payload_bytes(headers)).expect("payloads of a batch lie in memory");
        rest = &rest[headers.request_bytes() + payload..];
    }
    bytes
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec/parse and validate");
    group.throughput(Throughput::Elements(BATCH as u64));
    let batches = [
        ("READ, compact", ReplyStyle::Structured, requests(NBD_CMD_READ, Headers::Compact, 0)),
        ("READ, extended", ReplyStyle::Extended, requests(NBD_CMD_READ, Headers::Extended, 0)),
        ("WRITE, compact", ReplyStyle::Structured, requests(NBD_CMD_WRITE, Headers::Compact, BLOCK as usize)),
    ];
    for (name, style, stream) in batches {
        let shape = shape(style);
        assert_eq!(take(&stream, &shape), BATCH as u64 * u64::from(BLOCK), "the batch is parsed to its end");
        group.bench_function(name, |bench| bench.iter(|| take(black_box(&stream), black_box(&shape))));
    }
    group.finish();
}

/// Encodes a batch of replies into one buffer, which is reused as a connection does.
fn bench_replies(criterion: &mut Criterion, name: &str, style: ReplyStyle, reply: impl Fn(&ReplyTo, &mut BytesMut)) {
    let mut group = criterion.benchmark_group("codec/reply");
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut out = BytesMut::with_capacity(64 << 10);
    group.bench_function(name, |bench| {
        bench.iter(|| {
            out.clear();
            for cookie in 0..BATCH as u64 {
                reply(black_box(&ReplyTo { style, cookie, offset: cookie << 12 }), &mut out);
            }
            out.len()
        });
    });
    group.finish();
}

fn reply(criterion: &mut Criterion) {
    use ReplyStyle::{Extended, Simple, Structured};
    let range = |to: &ReplyTo| ByteRange::between(to.offset, to.offset + u64::from(BLOCK));
    bench_replies(criterion, "success, simple", Simple, ReplyTo::success);
    bench_replies(criterion, "data header, simple", Simple, ReplyTo::simple_data_header);
    for (name, style) in [("structured", Structured), ("extended", Extended)] {
        bench_replies(criterion, &format!("data header, {name}"), style, |to, out| {
            to.data_header(out, to.offset, BLOCK, Done::Yes);
        });
        bench_replies(criterion, &format!("hole, {name}"), style, |to, out| to.hole(out, range(to), Done::Yes));
        bench_replies(criterion, &format!("error with text, {name}"), style, |to, out| {
            to.error(out, Kind::Io, "read of the image failed", Done::Yes);
        });
    }
}

/// One answer of 64 extents.
fn block_status(criterion: &mut Criterion) {
    let extents: Vec<Extent> = (0..64u64)
        .map(|index| Extent {
            range: ByteRange::between(index << 16, (index + 1) << 16),
            kind: if index % 2 == 0 { ExtentKind::Data } else { ExtentKind::Hole },
        })
        .collect();
    let asked = Asked { range: ByteRange::between(0, 64 << 16), req_one: false };
    let mut group = criterion.benchmark_group("codec/block status of 64 extents");
    let mut out = BytesMut::with_capacity(64 << 10);
    for (name, style) in [("structured", ReplyStyle::Structured), ("extended", ReplyStyle::Extended)] {
        group.bench_function(name, |bench| {
            bench.iter(|| {
                out.clear();
                let to = ReplyTo { style, cookie: 1, offset: 0 };
                to.block_status(&mut out, MetaContext::Allocation, asked, black_box(&extents), Done::Yes);
                out.len()
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    parse(&mut criterion);
    reply(&mut criterion);
    block_status(&mut criterion);
    criterion.final_summary();
}
