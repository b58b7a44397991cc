//! What a backend says of itself, once, when it is opened.

/// Shape and capabilities of one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Bytes, a multiple of `block.minimum`.
    pub size: u64,
    /// Sizes of requests.
    pub block: BlockSizes,
    /// No mutation is possible.
    pub read_only: bool,
    /// Behaves like a rotating disk: seeks cost.
    pub rotational: bool,
    /// What else it can do.
    pub capabilities: Capabilities,
    /// The longest read, in bytes, that it serves as one unit; the caller cuts longer ones on this grid so that
    /// their pieces run side by side. A multiple of the minimum block.
    pub read_piece: u32,
    /// Where its connections should live.
    pub home: Home,
}

/// Sizes in bytes; the words and rules are those of the NBD specification, "Size constraints".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSizes {
    /// Smallest addressable length and alignment: a power of two, 1 to 65536.
    pub minimum: u32,
    /// Smallest efficient length and alignment: a power of two, at least 512 and `minimum`.
    pub preferred: u32,
    /// Longest payload of one READ or WRITE.
    pub maximum_payload: u32,
}

impl Default for BlockSizes {
    /// The sizes a client may assume where none were negotiated: 1, 4096 and 32 MiB.
    fn default() -> Self {
        Self { minimum: 1, preferred: 4096, maximum_payload: 32 << 20 }
    }
}

/// Whether a command or flag is served by the backend itself. What is denied is emulated above it where that
/// is possible (FUA by a flush, zeroes by writing them) and otherwise not offered to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent capability, named at every use")]
pub struct Capabilities {
    /// Mutations may carry FUA.
    pub fua: bool,
    /// TRIM.
    pub trim: bool,
    /// WRITE_ZEROES.
    pub write_zeroes: bool,
    /// WRITE_ZEROES with `fast` has a meaning: it is fast, or it fails at once.
    pub fast_zero: bool,
    /// CACHE.
    pub cache: bool,
    /// BLOCK_STATUS.
    pub extents: bool,
}

impl Capabilities {
    /// Everything.
    pub const ALL: Self =
        Self { fua: true, trim: true, write_zeroes: true, fast_zero: true, cache: true, extents: true };
    /// Nothing but READ, WRITE and FLUSH.
    pub const NONE: Self =
        Self { fua: false, trim: false, write_zeroes: false, fast_zero: false, cache: false, extents: false };
}

/// Which I/O threads serve the connections of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// Spread over all of them.
    Spread,
    /// All on one: the backend's state is owned by a core and does not like to travel.
    OneThread,
}
