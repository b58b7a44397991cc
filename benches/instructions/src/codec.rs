//! The protocol codec by itself: a request header in, a reply header out.

use std::hint::black_box;

use bytes::BytesMut;
use nbdgate::nbd::proto::{
    Command, Done, MetaContexts, Parse, ReplyStyle, ReplyTo, Shape, constants::NBD_FLAG_HAS_FLAGS, parse_request,
    validate,
};

use crate::{
    disk::DISK_BYTES,
    script::{self, BLOCK, BLOCKS},
};

/// What a connection knows of an export of [`DISK_BYTES`].
pub(crate) fn shape(style: ReplyStyle) -> Shape {
    Shape {
        size: DISK_BYTES,
        minimum_block: 1,
        maximum_payload: BLOCK,
        flags: NBD_FLAG_HAS_FLAGS,
        style,
        contexts: MetaContexts::default(),
    }
}

/// Parses and judges so many READs of 4 KiB.
pub fn parse(count: u64) {
    let shape = shape(ReplyStyle::Simple);
    let headers = shape.style.headers();
    let mut requests = Vec::new();
    (0..BLOCKS).for_each(|index| script::request(index, false, &mut requests));
    for request in requests.chunks_exact(headers.request_bytes()).cycle().zip(0..count).map(|(request, _)| request) {
        let Parse::Request(raw) = parse_request(black_box(request), headers) else { panic!("it is a request") };
        let command = validate(&raw, black_box(&shape));
        assert!(matches!(black_box(&command), Ok(Command::Read { .. })), "it is a READ");
    }
}

/// Encodes so many headers of successful READs of 4 KiB, 32 into a buffer before it is emptied.
pub fn reply(style: ReplyStyle, count: u64) {
    let mut out = BytesMut::with_capacity(64 << 10);
    for cookie in 0..count {
        if cookie % 32 == 0 {
            black_box(&mut out).clear();
        }
        let to = black_box(ReplyTo { style, cookie, offset: cookie << 12 });
        match style {
            ReplyStyle::Simple => to.simple_data_header(&mut out),
            ReplyStyle::Structured | ReplyStyle::Extended => to.data_header(&mut out, to.offset, BLOCK, Done::Yes),
        }
    }
}
