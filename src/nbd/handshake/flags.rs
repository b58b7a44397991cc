//! Which transmission flags an export has on a connection ("Transmission flags").

use nbdgate_api::Info;

use crate::nbd::proto::{
    MetaContexts, ReplyStyle,
    constants::{
        NBD_FLAG_BLOCK_STATUS_PAYLOAD, NBD_FLAG_CAN_MULTI_CONN, NBD_FLAG_HAS_FLAGS, NBD_FLAG_READ_ONLY,
        NBD_FLAG_ROTATIONAL, NBD_FLAG_SEND_CACHE, NBD_FLAG_SEND_DF, NBD_FLAG_SEND_FAST_ZERO, NBD_FLAG_SEND_FLUSH,
        NBD_FLAG_SEND_FUA, NBD_FLAG_SEND_TRIM, NBD_FLAG_SEND_WRITE_ZEROES,
    },
};

/// The flags of an export in a style of replies, with the contexts selected for it.
///
/// FLUSH, FUA, WRITE_ZEROES and several connections are always offered: what a backend lacks is emulated above it,
/// and all connections of an export share one scheduler. A read-only export offers no mutation.
pub fn transmission_flags(info: &Info, style: ReplyStyle, contexts: MetaContexts) -> u16 {
    let can = &info.capabilities;
    let writable = !info.read_only;
    let rules = [
        (info.read_only, NBD_FLAG_READ_ONLY),
        (info.rotational, NBD_FLAG_ROTATIONAL),
        (writable && can.trim, NBD_FLAG_SEND_TRIM),
        (writable, NBD_FLAG_SEND_WRITE_ZEROES),
        (writable && can.write_zeroes && can.fast_zero, NBD_FLAG_SEND_FAST_ZERO),
        (can.cache, NBD_FLAG_SEND_CACHE),
        (style != ReplyStyle::Simple, NBD_FLAG_SEND_DF),
        (style == ReplyStyle::Extended && !contexts.is_empty(), NBD_FLAG_BLOCK_STATUS_PAYLOAD),
    ];
    let always = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_CAN_MULTI_CONN;
    rules.into_iter().filter(|(set, _)| *set).fold(always, |flags, (_, flag)| flags | flag)
}
