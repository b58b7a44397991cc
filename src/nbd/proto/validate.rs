//! The one place that decides whether a request is served: raw fields to a typed command, or to a refusal.
//!
//! Checks run in this order, and the first that fails is told: room for the payload, the command, its flags,
//! whether it is offered, its length, the export's end, alignment. A refusal says how many bytes of payload
//! still follow on the wire, so that they are never read as requests. docs/PROTOCOL.md has the reasons.

mod filter;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use nbdgate_api::{ByteRange, Kind, Zeroes};

pub use self::filter::BlockStatusFilter;
use super::{
    constants::{
        NBD_CMD_BLOCK_STATUS, NBD_CMD_CACHE, NBD_CMD_DISC, NBD_CMD_FLAG_DF, NBD_CMD_FLAG_FAST_ZERO, NBD_CMD_FLAG_FUA,
        NBD_CMD_FLAG_NO_HOLE, NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_FLAG_REQ_ONE, NBD_CMD_FLUSH, NBD_CMD_READ,
        NBD_CMD_TRIM, NBD_CMD_WRITE, NBD_CMD_WRITE_ZEROES, NBD_DEFAULT_MAXIMUM_PAYLOAD, NBD_FLAG_BLOCK_STATUS_PAYLOAD,
        NBD_FLAG_READ_ONLY, NBD_FLAG_SEND_CACHE, NBD_FLAG_SEND_DF, NBD_FLAG_SEND_FAST_ZERO, NBD_FLAG_SEND_FLUSH,
        NBD_FLAG_SEND_FUA, NBD_FLAG_SEND_TRIM, NBD_FLAG_SEND_WRITE_ZEROES, NBD_MIN_DF_LIMIT,
    },
    meta_context::MetaContexts,
    reply::ReplyStyle,
    request::{Headers, RawRequest},
};

/// What requests of a connection are measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of the export.
    pub size: u64,
    /// Smallest addressable length and alignment, a power of two.
    pub minimum_block: u32,
    /// Longest payload of one READ or WRITE.
    pub maximum_payload: u32,
    /// The transmission flags that the client was told.
    pub flags: u16,
    /// What option haggling agreed on.
    pub style: ReplyStyle,
    /// The metadata contexts that the client selected for this export.
    pub contexts: MetaContexts,
}

/// A request that may be served. Ranges lie in the export, are aligned and not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// READ.
    Read {
        /// What to read.
        range: ByteRange,
        /// In one content chunk.
        df: bool,
    },
    /// WRITE; the range's length in payload follows.
    Write {
        /// Where.
        range: ByteRange,
        /// Durable before the reply.
        fua: bool,
    },
    /// DISC; has no reply.
    Disc,
    /// FLUSH.
    Flush,
    /// TRIM.
    Trim {
        /// Where.
        range: ByteRange,
        /// Durable before the reply.
        fua: bool,
    },
    /// WRITE_ZEROES.
    WriteZeroes {
        /// Where.
        range: ByteRange,
        /// How.
        zeroes: Zeroes,
        /// Durable before the reply.
        fua: bool,
    },
    /// CACHE.
    Cache(ByteRange),
    /// BLOCK_STATUS.
    BlockStatus {
        /// The range of interest.
        range: ByteRange,
        /// One descriptor, inside the range.
        req_one: bool,
        /// One status chunk for each of these; never empty.
        contexts: MetaContexts,
    },
    /// BLOCK_STATUS whose range and contexts are in the payload that follows.
    FilteredBlockStatus(BlockStatusFilter),
}

/// A request that is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Read and drop the payload, then reply.
    Error {
        /// What to tell.
        error: Kind,
        /// For people.
        text: Cow<'static, str>,
        /// Bytes that follow this request's header on the wire.
        payload: u64,
    },
    /// End the connection: the payload is too long to be read just to be dropped.
    Disconnect {
        /// For the log.
        text: String,
    },
}

impl Refusal {
    /// An error whose payload, if any, is accounted for by the caller.
    #[cold]
    fn of(error: Kind, text: impl Into<Cow<'static, str>>) -> Self {
        Self::Error { error, text: text.into(), payload: 0 }
    }

    #[cold]
    fn invalid(text: impl Into<Cow<'static, str>>) -> Self {
        Self::of(Kind::Invalid, text)
    }
}

impl Shape {
    /// Payloads beyond this end the connection instead of being drained: the longest that is allowed, or the
    /// 32 MiB below which a payload must not be taken for an attack.
    pub const fn drain_limit(&self) -> u64 {
        self.maximum(NBD_DEFAULT_MAXIMUM_PAYLOAD)
    }

    /// Longest READ. A read of 64 KiB without fragments must be possible whatever the maximum payload.
    pub const fn read_limit(&self) -> u64 {
        self.maximum(NBD_MIN_DF_LIMIT)
    }

    const fn maximum(&self, floor: u32) -> u64 {
        if self.maximum_payload > floor { self.maximum_payload as u64 } else { floor as u64 }
    }

    const fn offers(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// Decides about a request.
///
/// # Errors
/// The request is refused; see [`Refusal`] for what must happen then.
#[inline]
pub fn validate(request: &RawRequest, shape: &Shape) -> Result<Command, Refusal> {
    if request.command == NBD_CMD_DISC {
        return Ok(Command::Disc);
    }
    let payload = request.payload_bytes(shape.style.headers());
    if payload > shape.drain_limit() {
        return Err(Refusal::Disconnect { text: format!("payload of {payload} bytes is too long even to be dropped") });
    }
    let mut decided = check(request, shape);
    if let Err(Refusal::Error { payload: follows, .. }) = &mut decided {
        *follows = payload;
    }
    decided
}

fn check(request: &RawRequest, shape: &Shape) -> Result<Command, Refusal> {
    check_flags(request, shape)?;
    check_offered(request.command, shape)?;
    let has = |flag: u16| request.flags & flag != 0;
    let fua = has(NBD_CMD_FLAG_FUA);
    let req_one = has(NBD_CMD_FLAG_REQ_ONE);
    match request.command {
        NBD_CMD_FLUSH if request.offset == 0 && request.length == 0 => Ok(Command::Flush),
        NBD_CMD_FLUSH => Err(Refusal::invalid("offset and length of a flush must be zero")),
        NBD_CMD_BLOCK_STATUS if has(NBD_CMD_FLAG_PAYLOAD_LEN) => BlockStatusFilter::of(request, req_one),
        command => {
            let range = check_range(command, request.offset, request.length, shape)?;
            Ok(match command {
                NBD_CMD_READ => Command::Read { range, df: has(NBD_CMD_FLAG_DF) },
                NBD_CMD_WRITE => Command::Write { range, fua },
                NBD_CMD_TRIM => Command::Trim { range, fua },
                NBD_CMD_CACHE => Command::Cache(range),
                NBD_CMD_WRITE_ZEROES => {
                    let zeroes = Zeroes { no_hole: has(NBD_CMD_FLAG_NO_HOLE), fast: has(NBD_CMD_FLAG_FAST_ZERO) };
                    Command::WriteZeroes { range, zeroes, fua }
                }
                _ => Command::BlockStatus { range, req_one, contexts: shape.contexts },
            })
        }
    }
}

/// Unknown commands, and flags that the command does not take on this connection.
fn check_flags(request: &RawRequest, shape: &Shape) -> Result<(), Refusal> {
    let when = |offered: u16, flag: u16| if shape.offers(offered) { flag } else { 0 };
    let own = match request.command {
        NBD_CMD_READ => when(NBD_FLAG_SEND_DF, NBD_CMD_FLAG_DF),
        NBD_CMD_WRITE if shape.style.headers() == Headers::Extended => NBD_CMD_FLAG_PAYLOAD_LEN,
        NBD_CMD_WRITE | NBD_CMD_FLUSH | NBD_CMD_TRIM | NBD_CMD_CACHE => 0,
        NBD_CMD_WRITE_ZEROES => NBD_CMD_FLAG_NO_HOLE | when(NBD_FLAG_SEND_FAST_ZERO, NBD_CMD_FLAG_FAST_ZERO),
        NBD_CMD_BLOCK_STATUS => NBD_CMD_FLAG_REQ_ONE | when(NBD_FLAG_BLOCK_STATUS_PAYLOAD, NBD_CMD_FLAG_PAYLOAD_LEN),
        unknown => return Err(Refusal::invalid(format!("command {unknown} is unknown"))),
    };
    let wrong = request.flags & !(own | when(NBD_FLAG_SEND_FUA, NBD_CMD_FLAG_FUA));
    if wrong != 0 {
        return Err(Refusal::invalid(format!("command {} does not take flags {wrong:#06x}", request.command)));
    }
    Ok(())
}

/// Mutations of a read-only export, and commands that were not advertised.
fn check_offered(command: u16, shape: &Shape) -> Result<(), Refusal> {
    let needed = match command {
        NBD_CMD_WRITE | NBD_CMD_TRIM | NBD_CMD_WRITE_ZEROES if shape.offers(NBD_FLAG_READ_ONLY) => {
            return Err(Refusal::of(Kind::Permission, "the export is read-only"));
        }
        NBD_CMD_BLOCK_STATUS if shape.contexts.is_empty() => {
            return Err(Refusal::invalid("no metadata context was selected for this export"));
        }
        NBD_CMD_FLUSH => NBD_FLAG_SEND_FLUSH,
        NBD_CMD_TRIM => NBD_FLAG_SEND_TRIM,
        NBD_CMD_CACHE => NBD_FLAG_SEND_CACHE,
        NBD_CMD_WRITE_ZEROES => NBD_FLAG_SEND_WRITE_ZEROES,
        _ => return Ok(()),
    };
    if shape.offers(needed) {
        return Ok(());
    }
    Err(Refusal::invalid(format!("command {command} is not offered by this export")))
}

fn check_range(command: u16, offset: u64, length: u64, shape: &Shape) -> Result<ByteRange, Refusal> {
    if length == 0 {
        return Err(Refusal::invalid("the length is zero"));
    }
    check_length(command, length, shape)?;
    let Some(range) = ByteRange::new(offset, length).filter(|range| range.end() <= shape.size) else {
        let past_the_end = match command {
            NBD_CMD_WRITE | NBD_CMD_WRITE_ZEROES => Kind::NoSpace,
            _ => Kind::Invalid,
        };
        let size = shape.size;
        return Err(Refusal::of(
            past_the_end,
            format!("{length} bytes at {offset} pass the end of the export at {size}"),
        ));
    };
    if (offset | length) & u64::from(shape.minimum_block - 1) != 0 {
        let block = shape.minimum_block;
        return Err(Refusal::invalid(format!("{range} is not aligned to the minimum block of {block} bytes")));
    }
    Ok(range)
}

/// The maximum payload, for the two commands that have one.
fn check_length(command: u16, length: u64, shape: &Shape) -> Result<(), Refusal> {
    let (limit, error) = match command {
        NBD_CMD_READ if shape.style == ReplyStyle::Simple => (shape.read_limit(), Kind::Invalid),
        NBD_CMD_READ => (shape.read_limit(), Kind::Overflow),
        NBD_CMD_WRITE => (u64::from(shape.maximum_payload), Kind::Invalid),
        _ => return Ok(()),
    };
    if length > limit {
        return Err(Refusal::of(error, format!("{length} bytes are more than the maximum payload of {limit}")));
    }
    Ok(())
}
