//! Every number of the protocol, in the specification's spelling ("Values").

/// `NBDMAGIC`, the first eight bytes a server sends.
pub const NBD_MAGIC: u64 = 0x4e42_444d_4147_4943;
/// `IHAVEOPT`: newstyle negotiation, and the head of every option.
pub const NBD_OPTS_MAGIC: u64 = 0x4948_4156_454f_5054;
/// Head of every option reply.
pub const NBD_REP_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// Head of a compact request.
pub const NBD_REQUEST_MAGIC: u32 = 0x2560_9513;
/// Head of an extended request.
pub const NBD_EXTENDED_REQUEST_MAGIC: u32 = 0x21e4_1c71;
/// Head of a simple reply.
pub const NBD_SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// Head of a structured reply chunk.
pub const NBD_STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;
/// Head of an extended reply chunk.
pub const NBD_EXTENDED_REPLY_MAGIC: u32 = 0x6e8a_278c;

/// Longest string of the protocol in bytes ("Conventions").
pub const NBD_MAX_STRING: usize = 4096;
/// The maximum payload that a client may assume where none was told, and the size below which no payload may be
/// taken for an attack ("Size constraints").
pub const NBD_DEFAULT_MAXIMUM_PAYLOAD: u32 = 1 << 25;
/// Reads up to this length must be possible without fragments (NBD_CMD_READ).
pub const NBD_MIN_DF_LIMIT: u32 = 65_536;

macro_rules! values {
    ($($kind:ty { $($name:ident = $value:expr, $doc:literal;)* })*) => {
        $($(#[doc = $doc] pub const $name: $kind = $value;)*)*
    };
}

// Handshake flags (16 bits, from the server) and client flags (32 bits).
values! {
    u16 {
        NBD_FLAG_FIXED_NEWSTYLE = 1 << 0, "The server speaks fixed newstyle.";
        NBD_FLAG_NO_ZEROES = 1 << 1, "The server can omit the zeroes after EXPORT_NAME.";
    }
    u32 {
        NBD_FLAG_C_FIXED_NEWSTYLE = 1 << 0, "The client speaks fixed newstyle.";
        NBD_FLAG_C_NO_ZEROES = 1 << 1, "The client wants the zeroes omitted.";
    }
}

// Transmission flags.
values! {
    u16 {
        NBD_FLAG_HAS_FLAGS = 1 << 0, "Always set.";
        NBD_FLAG_READ_ONLY = 1 << 1, "Mutations are refused.";
        NBD_FLAG_SEND_FLUSH = 1 << 2, "Offers FLUSH.";
        NBD_FLAG_SEND_FUA = 1 << 3, "Offers the FUA flag.";
        NBD_FLAG_ROTATIONAL = 1 << 4, "Seeks cost.";
        NBD_FLAG_SEND_TRIM = 1 << 5, "Offers TRIM.";
        NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6, "Offers WRITE_ZEROES.";
        NBD_FLAG_SEND_DF = 1 << 7, "Offers the DF flag.";
        NBD_FLAG_CAN_MULTI_CONN = 1 << 8, "Several connections see one coherent disk.";
        NBD_FLAG_SEND_RESIZE = 1 << 9, "Reserved by an extension.";
        NBD_FLAG_SEND_CACHE = 1 << 10, "Offers CACHE.";
        NBD_FLAG_SEND_FAST_ZERO = 1 << 11, "Offers the FAST_ZERO flag.";
        NBD_FLAG_BLOCK_STATUS_PAYLOAD = 1 << 12, "Offers BLOCK_STATUS with a filter.";
    }
}

// Options, their replies, and information types.
values! {
    u32 {
        NBD_OPT_EXPORT_NAME = 1, "Chooses an export, without a way to refuse.";
        NBD_OPT_ABORT = 2, "Ends the session.";
        NBD_OPT_LIST = 3, "Lists exports.";
        NBD_OPT_PEEK_EXPORT = 4, "Withdrawn.";
        NBD_OPT_STARTTLS = 5, "Upgrades to TLS.";
        NBD_OPT_INFO = 6, "Asks about an export.";
        NBD_OPT_GO = 7, "Chooses an export.";
        NBD_OPT_STRUCTURED_REPLY = 8, "Turns on structured replies.";
        NBD_OPT_LIST_META_CONTEXT = 9, "Lists metadata contexts.";
        NBD_OPT_SET_META_CONTEXT = 10, "Selects metadata contexts.";
        NBD_OPT_EXTENDED_HEADERS = 11, "Turns on extended headers.";
        NBD_REP_ACK = 1, "Done.";
        NBD_REP_SERVER = 2, "An export.";
        NBD_REP_INFO = 3, "A piece of information.";
        NBD_REP_META_CONTEXT = 4, "A metadata context.";
        NBD_REP_ERR_UNSUP = (1 << 31) + 1, "Unknown option.";
        NBD_REP_ERR_POLICY = (1 << 31) + 2, "Forbidden by the server's policy.";
        NBD_REP_ERR_INVALID = (1 << 31) + 3, "Malformed, or at the wrong time.";
        NBD_REP_ERR_PLATFORM = (1 << 31) + 4, "Not built in.";
        NBD_REP_ERR_TLS_REQD = (1 << 31) + 5, "TLS first.";
        NBD_REP_ERR_UNKNOWN = (1 << 31) + 6, "No such export.";
        NBD_REP_ERR_SHUTDOWN = (1 << 31) + 7, "The server is going away.";
        NBD_REP_ERR_BLOCK_SIZE_REQD = (1 << 31) + 8, "Block sizes must be asked for.";
        NBD_REP_ERR_TOO_BIG = (1 << 31) + 9, "Too large.";
        NBD_REP_ERR_EXT_HEADER_REQD = (1 << 31) + 10, "Extended headers first, or no way back from them.";
    }
    u16 {
        NBD_INFO_EXPORT = 0, "Size and transmission flags.";
        NBD_INFO_NAME = 1, "Canonical name.";
        NBD_INFO_DESCRIPTION = 2, "For people.";
        NBD_INFO_BLOCK_SIZE = 3, "Size constraints.";
    }
}

// Requests.
values! {
    u16 {
        NBD_CMD_READ = 0, "Reads.";
        NBD_CMD_WRITE = 1, "Writes.";
        NBD_CMD_DISC = 2, "Disconnects.";
        NBD_CMD_FLUSH = 3, "Makes durable.";
        NBD_CMD_TRIM = 4, "Gives space back.";
        NBD_CMD_CACHE = 5, "Prefetches.";
        NBD_CMD_WRITE_ZEROES = 6, "Zeroes.";
        NBD_CMD_BLOCK_STATUS = 7, "Tells extents.";
        NBD_CMD_FLAG_FUA = 1 << 0, "Durable before the reply.";
        NBD_CMD_FLAG_NO_HOLE = 1 << 1, "WRITE_ZEROES: stay allocated.";
        NBD_CMD_FLAG_DF = 1 << 2, "READ: do not fragment.";
        NBD_CMD_FLAG_REQ_ONE = 1 << 3, "BLOCK_STATUS: one extent.";
        NBD_CMD_FLAG_FAST_ZERO = 1 << 4, "WRITE_ZEROES: fast or not at all.";
        NBD_CMD_FLAG_PAYLOAD_LEN = 1 << 5, "Extended headers: the length counts a payload.";
    }
}

// Replies.
values! {
    u16 {
        NBD_REPLY_FLAG_DONE = 1 << 0, "The last chunk.";
        NBD_REPLY_TYPE_NONE = 0, "Nothing but the end.";
        NBD_REPLY_TYPE_OFFSET_DATA = 1, "Bytes.";
        NBD_REPLY_TYPE_OFFSET_HOLE = 2, "Zeros.";
        NBD_REPLY_TYPE_BLOCK_STATUS = 5, "32-bit block status descriptors.";
        NBD_REPLY_TYPE_BLOCK_STATUS_EXT = 6, "64-bit block status descriptors.";
        NBD_REPLY_TYPE_ERROR = (1 << 15) + 1, "An error of the whole request.";
        NBD_REPLY_TYPE_ERROR_OFFSET = (1 << 15) + 2, "An error at an offset.";
    }
    u32 {
        NBD_STATE_HOLE = 1 << 0, "base:allocation: not allocated.";
        NBD_STATE_ZERO = 1 << 1, "base:allocation: reads as zeros.";
        NBD_STATE_DIRTY = 1 << 0, "qemu:dirty-bitmap: changed (QEMU, docs/interop/nbd.rst).";
        NBD_EPERM = 1, "Operation not permitted.";
        NBD_EIO = 5, "Input/output error.";
        NBD_ENOMEM = 12, "Cannot allocate memory.";
        NBD_EINVAL = 22, "Invalid argument.";
        NBD_ENOSPC = 28, "No space left on device.";
        NBD_EOVERFLOW = 75, "Value too large.";
        NBD_ENOTSUP = 95, "Operation not supported.";
        NBD_ESHUTDOWN = 108, "Server is in the process of being shut down.";
    }
}
