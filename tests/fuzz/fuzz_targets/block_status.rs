//! Block status descriptors of any extents, taken apart again.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use nbdgate::nbd::proto::{Asked, Done, MetaContext, ReplyStyle, ReplyTo};
use nbdgate_api::{ByteRange, Extent, ExtentKind};

fuzz_target!(|input: (u64, u64, bool, bool, Vec<(u64, u64, u8)>)| {
    let (offset, length, req_one, extended, list) = input;
    let Some(range) = ByteRange::new(offset, length).filter(|range| !range.is_empty()) else { return };
    let style = if extended { ReplyStyle::Extended } else { ReplyStyle::Structured };
    let kinds = [ExtentKind::Data, ExtentKind::Hole, ExtentKind::Zero];
    let extents: Vec<_> = list
        .into_iter()
        .filter_map(|(offset, length, kind)| {
            Some(Extent { range: ByteRange::new(offset, length)?, kind: kinds[usize::from(kind % 3)] })
        })
        .collect();
    let mut out = BytesMut::new();
    let to = ReplyTo { style, cookie: 1, offset };
    to.block_status(&mut out, MetaContext::Allocation, Asked { range, req_one }, &extents, Done::Yes);

    let (skip, width) = if extended { (8, 8) } else { (4, 4) };
    let body = &out[style.header_bytes() + skip..];
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let lengths: Vec<_> = body.chunks(2 * width).map(|pair| number(&pair[..width])).collect();
    assert!(!lengths.is_empty() && lengths.len() <= 4096 && body.len() % (2 * width) == 0);
    assert!(lengths.iter().all(|length| *length > 0));
    assert!(lengths.iter().map(|length| u128::from(*length)).sum::<u128>() <= u128::from(length));
    assert!(!req_one || lengths.len() == 1);
});
