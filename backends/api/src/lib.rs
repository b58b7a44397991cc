//! The backend contract: what an export's storage must do, and nothing about who asks.
//!
//! A [`Backend`] stores the bytes of one disk. It is handed an [`Io`], which carries an [`Op`] and a
//! [`Reply`] token, and answers through the token, now or later, from any thread. The duties of both
//! sides are numbered in [`backend`]; [`progress`] is for what is done to disks beside it. The `conformance` feature holds the suite that checks them.
//!
//! Absent by design: sockets, the NBD wire format, scheduling, metrics, and any async runtime.

pub mod backend;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod error;
pub mod extent;
pub mod info;
pub mod op;
pub mod payload;
pub mod progress;
pub mod range;
pub mod reply;
pub mod wait;

pub use backend::Backend;
pub use error::{Error, Kind};
pub use extent::{Extent, ExtentKind};
pub use info::{BlockSizes, Capabilities, Home, Info};
pub use op::{Io, Op, Zeroes};
pub use payload::Payload;
pub use progress::{NoProgress, Progress};
pub use range::ByteRange;
pub use reply::{Piece, Reply, Sink, Stored, fill_fresh};
