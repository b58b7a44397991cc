//! Raw image files and block devices as a backend.
//!
//! - Reads: what the extent cache knows as a hole is answered without I/O; the rest from the page cache inline, else
//!   from the ring or the file's pool.
//! - Writes: into the page cache inline where that does not wait, else in the pool; with FUA by RWF_DSYNC.
//! - FLUSH: fdatasync, shared by all that wait for one; a failed one is final.
//! - TRIM and WRITE_ZEROES: fallocate, with written zeros where the file system has nothing better.
//!
//! Durability: an ended FLUSH, and an ended mutation with FUA, is in stable storage as far as fdatasync and the
//! device's own flush go; other mutations are in the page cache and survive the process, not the host.
//!
//! The image belongs to this process while it is open: nobody else may write to it, which open-file-description locks
//! in QEMU's scheme see to among programs that lock (one writer or many readers), and exclusive opening of block
//! devices. A file changed behind the lock's back is out of scope: what was a hole is served as zeros until it is
//! opened again.

mod device;
mod disk;
mod extents;
mod lock;
mod open;
mod read;
mod status;
mod write;
mod zero;

pub use disk::FileDisk;
pub use open::OpenOptions;
