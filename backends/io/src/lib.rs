//! Threads and files: the only crate that names tokio-uring.
//!
//! - [`Engine`]: how an I/O thread runs, on io_uring where the kernel allows it and on epoll elsewhere.
//! - [`File`]: positional file I/O from any thread. What the page cache can take or give is done inline, the
//!   rest on the thread's ring, or in the file's own [bounded pool](pool).
//! - [`Buffer`]: aligned memory for large reads, recycled by size.
//! - [`gate`], [`inside`] and [`shared_sync`]: what every backend on blocking storage needs, to close and to flush.
//! - [`waiting`]: whether a thread is in a call that a device may keep it in after all.
//!
//! Invariant: nothing here waits for a device on the thread that called it while the device and its file system answer,
//! and every operation's callback is run exactly once, or dropped with its runtime.
//!
//! Absent by design: exports, requests, and of the backend contract all but its errors.

pub mod buffer;
pub mod busy_poll;
mod cached;
pub mod engine;
pub mod file;
pub mod gate;
pub mod inside;
pub mod pool;
mod ring;
pub mod shared_sync;
mod stall;
pub mod waiting;

pub use buffer::Buffer;
pub use engine::{Engine, EngineChoice, probe};
pub use file::File;
