//! Positional file I/O from any thread, in two steps.
//!
//! 1. *Now*: [`File::read_now`] and [`File::write_now`] do what can be done without waiting for a device:
//!    they copy from and to the page cache.
//! 2. *Later*: [`File::read`], [`File::write`] and [`File::run`] take the rest to the thread's ring, where there
//!    is one and the ring is better at it, else to the file's [pool](crate::pool), and answer by callback.
//!
//! ```text
//!                  now                                        later
//!  buffered read   preadv2(RWF_NOWAIT)                        ring, else pool
//!  buffered write  pwritev2(RWF_NOWAIT) where supported;      pool
//!                  pwrite, watched for stalls, on ext4, tmpfs
//!  direct I/O      -                                          ring, else pool
//!  durable write   -                                          pool: pwritev2(RWF_DSYNC), else write + fdatasync
//!  all else        -                                          pool
//! ```
//!
//! The kernel serves buffered writes, syncs and allocation on a ring by its own worker threads, so the ring wins
//! nothing over the pool there. How far *now* goes is learnt per file from what the kernel answers.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use rustix::{
    fs::{FileType, OFlags},
    io::{Errno, ReadWriteFlags, preadv2, pwrite, pwritev2},
};

use crate::{Buffer, cached, pool::Pool, ring, stall::Stall, waiting};

/// The longest write in bytes that is copied to the page cache inline.
pub const INLINE_WRITE: usize = 256 << 10;
/// The longest write in bytes into the page cache in one call. The page cache keeps what one call brings in one
/// unit, and ext4 walks over all blocks of a unit at each later write to it: a 4 KiB write into a unit of 1 MiB
/// and more costs ten times as much as one into a small unit.
const PIECE: usize = 128 << 10;
/// Slices handed to the kernel at a time: IOV_MAX of Linux.
const SLICES: usize = 1024;
/// A write that covers part of a page has to read the rest of it.
const PAGE: u64 = 4096;

/// An open file or block device; clones share it. Closed with the last clone.
#[derive(Clone, Debug)]
pub struct File(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    descriptor: OwnedFd,
    identity: u64,
    direct: bool,
    reads: AtomicU8,
    writes: AtomicU8,
    /// The file system takes RWF_DSYNC.
    dsync: AtomicBool,
    /// The kernel can tell what is in the page cache.
    tells_cached: AtomicBool,
    stall: Stall,
    pool: Pool,
}

/// What can be done without waiting: `reads` and `writes` hold one of these.
mod now {
    /// Ask the kernel not to wait.
    pub(super) const NOWAIT: u8 = 0;
    /// The kernel cannot be asked, and hardly waits on this file system.
    pub(super) const INLINE: u8 = 1;
    /// Nothing.
    pub(super) const NOTHING: u8 = 2;
}

impl File {
    /// Takes over an open file; whether it does direct I/O is seen from its O_DIRECT flag.
    ///
    /// # Errors
    /// The descriptor cannot be asked for its flags or file system.
    pub fn new(file: impl Into<OwnedFd>) -> io::Result<Self> {
        static IDENTITY: AtomicU64 = AtomicU64::new(0);
        let descriptor = file.into();
        let direct = rustix::fs::fcntl_getfl(&descriptor)?.contains(OFlags::DIRECT);
        let reads = match (direct, file_system(&descriptor)?) {
            (true, _) => now::NOTHING,
            (false, FileSystem::Memory) => now::INLINE,
            (false, _) => now::NOWAIT,
        };
        Ok(Self(Arc::new(Inner {
            descriptor,
            identity: IDENTITY.fetch_add(1, Relaxed),
            direct,
            reads: AtomicU8::new(reads),
            writes: AtomicU8::new(if direct { now::NOTHING } else { now::NOWAIT }),
            dsync: AtomicBool::new(true),
            tells_cached: AtomicBool::new(true),
            stall: Stall::default(),
            pool: Pool::new("nbdgate-file"),
        })))
    }

    /// Whether anything can be read without waiting.
    pub fn reads_now(&self) -> bool {
        self.0.reads.load(Relaxed) != now::NOTHING
    }

    /// The file itself, for bytes that the kernel shall send from its page cache; `None` where that might wait for the
    /// device, as far as can be told.
    pub fn to_send(&self, offset: u64, length: usize) -> Option<Arc<dyn AsFd + Send + Sync>> {
        if self.0.reads.load(Relaxed) == now::NOTHING || !self.0.tells_cached.load(Relaxed) {
            return None;
        }
        match cached::is_cached(self, offset, length as u64) {
            // Pages that are on their way count as cached. They come in order.
            Some(true) if self.read_now(&mut [0], offset + length as u64 - 1) == 1 => {}
            Some(_) => return None,
            None => {
                self.0.tells_cached.store(false, Relaxed);
                return None;
            }
        }
        Some(self.0.clone())
    }

    /// Reads what can be had without waiting, from `offset` on, and tells how many bytes that was. Errors are
    /// told by the [`read`](Self::read) of the rest.
    pub fn read_now(&self, target: &mut [u8], offset: u64) -> usize {
        let flags = match self.0.reads.load(Relaxed) {
            now::NOWAIT => ReadWriteFlags::NOWAIT,
            now::INLINE => ReadWriteFlags::empty(),
            _ => return 0,
        };
        match preadv2(&self.0.descriptor, &mut [IoSliceMut::new(target)], offset, flags) {
            Ok(count) => count,
            Err(Errno::OPNOTSUPP | Errno::INVAL) => {
                self.0.reads.store(now::NOTHING, Relaxed);
                0
            }
            Err(_) => 0,
        }
    }

    /// Fills `buffer` from byte `start` of it on with the file's bytes from `offset` on, then hands it to `done`,
    /// on this thread (later) or on another. `UnexpectedEof` if the file ends before.
    pub fn read(
        &self,
        mut buffer: Buffer,
        start: usize,
        offset: u64,
        done: impl FnOnce(Buffer, io::Result<()>) + Send + 'static,
    ) {
        if let Some(file) = ring::attach(self.0.identity, &self.0.descriptor) {
            return file.read(buffer, start, offset, done);
        }
        self.run(move |file| {
            let outcome = file.read_blocking(&mut buffer[start..], offset);
            done(buffer, outcome);
        });
    }

    /// Fills `target` from `offset` on, waiting for the device.
    ///
    /// # Errors
    /// As the device says; `UnexpectedEof` if the file ends before.
    pub fn read_blocking(&self, mut target: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !target.is_empty() {
            match rustix::io::pread(&self.0.descriptor, &mut *target, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    target = &mut target[count..];
                    offset += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Writes what the page cache takes without waiting, at `offset`, and tells how many bytes that was.
    ///
    /// # Errors
    /// As the kernel says: no space, a broken device.
    pub fn write_now(&self, slices: &[Bytes], offset: u64) -> io::Result<usize> {
        let length: usize = slices.iter().map(Bytes::len).sum();
        let mode = self.0.writes.load(Relaxed);
        if mode == now::NOTHING || length > INLINE_WRITE || slices.len() > SLICES {
            return Ok(0);
        }
        if mode == now::NOWAIT {
            // Even so it waits where the file system is frozen.
            match waiting::for_device(|| self.write_pieces(slices, length, offset, ReadWriteFlags::NOWAIT)) {
                Err(Errno::AGAIN | Errno::INTR) => return Ok(0),
                Err(Errno::OPNOTSUPP | Errno::INVAL) => self.learn_writes(),
                outcome => return Ok(outcome?),
            }
        }
        if self.0.writes.load(Relaxed) != now::INLINE || !self.edges_are_cached(offset, length as u64) {
            return Ok(0);
        }
        let Some(start) = self.0.stall.begin() else { return Ok(0) };
        let outcome = waiting::for_device(|| self.write_pieces(slices, length, offset, ReadWriteFlags::empty()));
        self.0.stall.end(start);
        match outcome {
            Err(Errno::INTR) => Ok(0),
            outcome => Ok(outcome?),
        }
    }

    /// Writes `slices` from byte `start` of them on, so that their first byte lands at `offset`; with `durable`
    /// they are on the device when `done` is called, on this thread (later) or on another.
    pub fn write(
        &self,
        slices: impl AsRef<[Bytes]> + Send + 'static,
        start: usize,
        offset: u64,
        durable: bool,
        done: impl FnOnce(io::Result<()>) + Send + 'static,
    ) {
        if self.0.direct {
            let buffer = gather(slices.as_ref());
            drop(slices);
            return self.write_direct(buffer, start, offset, durable, done);
        }
        self.run(move |file| done(file.write_blocking(slices.as_ref(), start, offset, durable)));
    }

    /// Writes `slices` from byte `start` of them on, waiting for the device.
    ///
    /// # Errors
    /// As the device says.
    pub fn write_blocking(&self, slices: &[Bytes], start: usize, offset: u64, durable: bool) -> io::Result<()> {
        let length: usize = slices.iter().map(Bytes::len).sum();
        let mut flags =
            if durable && self.0.dsync.load(Relaxed) { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
        let mut done = start;
        while done < length {
            match self.write_vectored(slices, done, offset, flags) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP) if flags.contains(ReadWriteFlags::DSYNC) => {
                    self.0.dsync.store(false, Relaxed);
                    flags = ReadWriteFlags::empty();
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        if durable && !flags.contains(ReadWriteFlags::DSYNC) {
            rustix::fs::fdatasync(&self.0.descriptor)?;
        }
        Ok(())
    }

    /// Runs `job` on a thread that may wait for the device.
    pub fn run(&self, job: impl FnOnce(&Self) + Send + 'static) {
        let this = self.clone();
        self.0.pool.run(move || job(&this));
    }

    /// Whether other clones of it are alive, operations under way among them.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Whether it was opened for direct I/O.
    pub fn is_direct(&self) -> bool {
        self.0.direct
    }

    fn write_direct(
        &self,
        buffer: Buffer,
        start: usize,
        offset: u64,
        durable: bool,
        done: impl FnOnce(io::Result<()>) + Send + 'static,
    ) {
        if !durable && let Some(file) = ring::attach(self.0.identity, &self.0.descriptor) {
            return file.write(buffer, start, offset + start as u64, |_, outcome| done(outcome));
        }
        self.run(move |file| {
            done(file.write_blocking(&[buffer.freeze()], start, offset, durable));
        });
    }

    /// Writes from the start until the kernel takes no more, and tells how many bytes that was.
    fn write_pieces(
        &self,
        slices: &[Bytes],
        length: usize,
        offset: u64,
        flags: ReadWriteFlags,
    ) -> Result<usize, Errno> {
        let mut done = 0;
        while done < length {
            match self.write_vectored(slices, done, offset, flags) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(errno) if done == 0 => return Err(errno),
                // Told again by whoever tries the rest.
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// One attempt to write what comes after byte `skip` of `slices`, whose first byte belongs at `offset`.
    fn write_vectored(
        &self,
        slices: &[Bytes],
        mut skip: usize,
        offset: u64,
        flags: ReadWriteFlags,
    ) -> Result<usize, Errno> {
        let offset = offset + skip as u64;
        let mut room = self.piece(offset);
        if let [slice] = slices {
            let part = &slice[skip..];
            let part = &part[..part.len().min(room)];
            if flags.is_empty() {
                // Spares the kernel the list.
                return pwrite(&self.0.descriptor, part, offset);
            }
            return pwritev2(&self.0.descriptor, &[IoSlice::new(part)], offset, flags);
        }
        let mut list = Vec::with_capacity(slices.len().min(SLICES));
        for slice in slices {
            if skip >= slice.len() {
                skip -= slice.len();
                continue;
            }
            let part = &slice[skip..];
            let part = &part[..part.len().min(room)];
            list.push(IoSlice::new(part));
            room -= part.len();
            skip = 0;
            if room == 0 || list.len() == SLICES {
                break;
            }
        }
        pwritev2(&self.0.descriptor, &list, offset, flags)
    }

    /// The most bytes to write at `offset` in one call.
    fn piece(&self, offset: u64) -> usize {
        if self.0.direct {
            return usize::MAX;
        }
        PIECE - usize::try_from(offset % PIECE as u64).expect("below PIECE")
    }

    /// Non-blocking writes are not to be had; decides what to do instead.
    fn learn_writes(&self) {
        let mode = match file_system(&self.0.descriptor) {
            Ok(FileSystem::Memory | FileSystem::Local) => now::INLINE,
            Ok(FileSystem::Other) | Err(_) => now::NOTHING,
        };
        self.0.writes.store(mode, Relaxed);
    }

    /// Whether the pages that a write covers in part are in the page cache, so that it need not read them.
    fn edges_are_cached(&self, offset: u64, length: u64) -> bool {
        let end = offset + length;
        let cached = |at: u64| self.read_now(&mut [0], at) == 1;
        (offset.is_multiple_of(PAGE) || cached(offset)) && (end.is_multiple_of(PAGE) || cached(end - 1))
    }
}

impl AsFd for Inner {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.descriptor.as_fd()
    }
}

/// Kinds of file systems by how long a write into the page cache may take.
enum FileSystem {
    /// Never writes back to a device.
    Memory,
    /// A local disk, or its file system.
    Local,
    /// Anything, also over a network or in user space.
    Other,
}

fn file_system(descriptor: &OwnedFd) -> io::Result<FileSystem> {
    // A block device's node lies on a memory file system, which says nothing of the device.
    if FileType::from_raw_mode(rustix::fs::fstat(descriptor)?.st_mode) == FileType::BlockDevice {
        return Ok(FileSystem::Local);
    }
    Ok(match rustix::fs::fstatfs(descriptor)?.f_type {
        libc::TMPFS_MAGIC | RAMFS_MAGIC => FileSystem::Memory,
        libc::EXT4_SUPER_MAGIC | libc::XFS_SUPER_MAGIC | libc::BTRFS_SUPER_MAGIC | F2FS_MAGIC => FileSystem::Local,
        _ => FileSystem::Other,
    })
}

const RAMFS_MAGIC: i64 = 0x8584_58f6;
const F2FS_MAGIC: i64 = 0xF2F5_2010;

fn gather(slices: &[Bytes]) -> Buffer {
    let mut buffer = Buffer::new(slices.iter().map(Bytes::len).sum());
    let mut rest = &mut buffer[..];
    for slice in slices {
        let (head, tail) = rest.split_at_mut(slice.len());
        head.copy_from_slice(slice);
        rest = tail;
    }
    buffer
}
