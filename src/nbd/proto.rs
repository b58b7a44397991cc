//! Bytes and values of the NBD protocol: pure functions over slices and buffers.
//!
//! The specification is doc/proto.md of NetworkBlockDevice/nbd with its extended headers; docs/PROTOCOL.md says
//! which of its rules hold where. No I/O, no async, no clocks, and no bytes from a client make anything here
//! panic or allocate more than a bounded error text. Nothing on the path of a valid request allocates.
//!
//! Client to server: [`parse_request`], [`validate()`], [`option`]. Server to client: [`ReplyTo`], [`option_reply`].

pub mod constants;
pub mod errno;
pub mod meta_context;
pub mod option;
pub mod option_reply;
pub mod reply;
pub mod request;
mod status;
#[cfg(test)]
mod table;
pub mod text;
pub mod validate;

pub use self::{
    errno::{errno, wire_error},
    meta_context::{ALLOCATION, DIRTY_BITMAP, MAX_BITMAPS, MetaContext, MetaContexts},
    reply::{Asked, Done, ReplyStyle, ReplyTo},
    request::{Headers, Parse, RawRequest, parse_request},
    status::MAX_STATUS_BYTES,
    validate::{BlockStatusFilter, Command, Refusal, Shape, validate},
};
