//! One test per rule, then random requests against a model that states the rules one by one in wide arithmetic.

mod model;
mod rules;

use super::*;
use crate::nbd::proto::{
    constants::{NBD_FLAG_CAN_MULTI_CONN, NBD_FLAG_HAS_FLAGS},
    meta_context::MetaContext,
};

const MIB: u64 = 1 << 20;

/// Everything is offered that the style allows.
fn shape(style: ReplyStyle) -> Shape {
    let always = NBD_FLAG_HAS_FLAGS
        | NBD_FLAG_SEND_FLUSH
        | NBD_FLAG_SEND_FUA
        | NBD_FLAG_CAN_MULTI_CONN
        | NBD_FLAG_SEND_TRIM
        | NBD_FLAG_SEND_WRITE_ZEROES
        | NBD_FLAG_SEND_CACHE
        | NBD_FLAG_SEND_FAST_ZERO;
    let (styled, contexts) = match style {
        ReplyStyle::Simple => (0, MetaContexts::default()),
        ReplyStyle::Structured => (NBD_FLAG_SEND_DF, [MetaContext::Allocation].into_iter().collect()),
        ReplyStyle::Extended => {
            (NBD_FLAG_SEND_DF | NBD_FLAG_BLOCK_STATUS_PAYLOAD, [MetaContext::Allocation].into_iter().collect())
        }
    };
    Shape { size: 64 * MIB, minimum_block: 512, maximum_payload: 1 << 20, flags: always | styled, style, contexts }
}

fn request(command: u16, flags: u16, offset: u64, length: u64) -> RawRequest {
    RawRequest { flags, command, cookie: 0, offset, length }
}

fn refusal(request: &RawRequest, shape: &Shape) -> (Kind, u64) {
    match validate(request, shape) {
        Err(Refusal::Error { error, text, payload }) => {
            assert!(!text.is_empty() && text.len() <= 256, "{text:?}");
            (error, payload)
        }
        other => panic!("{request:?} gave {other:?}"),
    }
}
