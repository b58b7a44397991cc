//! Aligned memory for reads, recycled by size.
//!
//! A fresh 128 KiB allocation is mapped, faulted in and unmapped again each time, which costs more than reading
//! it from the page cache. So each thread keeps what was dropped on it, in classes of powers of two, up to
//! [`KEPT_BYTES`]. From [`SHARED_FROM`] on all threads keep together, up to [`SHARED_BYTES`]: a write that was received
//! on one thread and done on another would leave the first without, and a lock costs little beside so many bytes. Larger
//! buffers than [`LARGEST_KEPT`] are allocated and freed each time.
//!
//! Invariant: every byte of a buffer is initialised. A recycled one holds what it held before, which its owner
//! overwrites; it never leaves the process except as what was read into it.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    cell::RefCell,
    fmt,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

use bytes::Bytes;
use parking_lot::Mutex;

/// Alignment of every buffer in bytes; enough for direct I/O on every device with sectors up to it.
pub const ALIGNMENT: usize = 4096;
/// The largest size in bytes that is recycled.
pub const LARGEST_KEPT: usize = 1 << 20;
/// The bytes that one thread keeps for reuse, of sizes below [`SHARED_FROM`].
pub const KEPT_BYTES: usize = 8 << 20;
/// The least size in bytes that threads share.
pub const SHARED_FROM: usize = 256 << 10;
/// The bytes that all threads together keep for reuse, of sizes from [`SHARED_FROM`] on.
pub const SHARED_BYTES: usize = 32 << 20;

const CLASSES: usize = (LARGEST_KEPT / ALIGNMENT).ilog2() as usize + 1;

/// Owned, aligned, initialised memory of a fixed length.
pub struct Buffer {
    memory: NonNull<u8>,
    capacity: usize,
    length: usize,
}

// SAFETY: the memory is owned by the buffer alone, as a Vec's is.
#[expect(unsafe_code, reason = "a pointer that is owned like a Vec's")]
unsafe impl Send for Buffer {}
// SAFETY: shared references only read.
#[expect(unsafe_code, reason = "a pointer that is owned like a Vec's")]
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A buffer of `length` bytes of unspecified content.
    pub fn new(length: usize) -> Self {
        let capacity = length.next_power_of_two().max(ALIGNMENT);
        let kept = class(capacity).and_then(take);
        Self { memory: kept.unwrap_or_else(|| allocate(capacity)), capacity, length }
    }

    /// A buffer of `length` zeros.
    pub fn zeroed(length: usize) -> Self {
        let mut buffer = Self::new(length);
        buffer.fill(0);
        buffer
    }

    /// The buffer as shared bytes; its memory is recycled when the last of them is dropped.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `length <= capacity` bytes are allocated, initialised and owned by self.
        #[expect(unsafe_code, reason = "view of owned memory")]
        unsafe {
            std::slice::from_raw_parts(self.memory.as_ptr(), self.length)
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and self is borrowed exclusively.
        #[expect(unsafe_code, reason = "view of owned memory")]
        unsafe {
            std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.length)
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let (memory, capacity) = (self.memory, self.capacity);
        if !class(capacity).is_some_and(|class| put(class, memory)) {
            free(memory, capacity);
        }
    }
}

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept::new(KEPT_BYTES)) };
}

static SHARED: Mutex<Kept> = Mutex::new(Kept::new(SHARED_BYTES));

fn take(class: usize) -> Option<NonNull<u8>> {
    if ALIGNMENT << class >= SHARED_FROM {
        return SHARED.lock().take(class);
    }
    KEPT.try_with(|kept| kept.try_borrow_mut().ok()?.take(class)).ok().flatten()
}

/// Keeps memory of a class; `false` if there is enough of it.
fn put(class: usize, memory: NonNull<u8>) -> bool {
    if ALIGNMENT << class >= SHARED_FROM {
        return SHARED.lock().put(class, memory);
    }
    KEPT.try_with(|kept| kept.try_borrow_mut().is_ok_and(|mut kept| kept.put(class, memory))).unwrap_or(false)
}

/// What is kept.
struct Kept {
    classes: [Vec<NonNull<u8>>; CLASSES],
    bytes: usize,
    most: usize,
}

// SAFETY: the memory is owned by the lists alone, as a Vec's is.
#[expect(unsafe_code, reason = "pointers that are owned like a Vec's")]
unsafe impl Send for Kept {}

impl Kept {
    const fn new(most: usize) -> Self {
        Self { classes: [const { Vec::new() }; CLASSES], bytes: 0, most }
    }

    fn take(&mut self, class: usize) -> Option<NonNull<u8>> {
        let memory = self.classes[class].pop()?;
        self.bytes -= ALIGNMENT << class;
        Some(memory)
    }

    fn put(&mut self, class: usize, memory: NonNull<u8>) -> bool {
        let room = self.bytes + (ALIGNMENT << class) <= self.most;
        if room {
            self.classes[class].push(memory);
            self.bytes += ALIGNMENT << class;
        }
        room
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for (class, list) in self.classes.iter_mut().enumerate() {
            for memory in list.drain(..) {
                free(memory, ALIGNMENT << class);
            }
        }
    }
}

/// The class of a capacity, `None` where it is too large to keep.
fn class(capacity: usize) -> Option<usize> {
    (capacity <= LARGEST_KEPT).then(|| (capacity / ALIGNMENT).ilog2() as usize)
}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, ALIGNMENT).expect("capacity is a power of two that length rounds up to")
}

fn allocate(capacity: usize) -> NonNull<u8> {
    let layout = layout(capacity);
    // SAFETY: the layout's size is at least ALIGNMENT, so not zero.
    #[expect(unsafe_code, reason = "aligned allocation")]
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}

fn free(memory: NonNull<u8>, capacity: usize) {
    // SAFETY: every pointer here came from `allocate` with the same capacity, and its owner gave it up.
    #[expect(unsafe_code, reason = "counterpart of allocate")]
    unsafe {
        dealloc(memory.as_ptr(), layout(capacity));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_buffers_are_reused_on_the_thread() {
        let first = Buffer::new(20_000);
        let address = first.as_ptr();
        drop(first.freeze().slice(10..20));
        let second = Buffer::new(32_768);
        assert_eq!(second.as_ptr(), address, "same class, same memory");
        assert_eq!(second.len(), 32_768);
    }

    #[test]
    fn a_long_buffer_comes_back_from_another_thread() {
        // The only test that asks for this class, and what is kept last is taken first.
        let first = Buffer::new(400_000);
        let address = first.as_ptr() as usize;
        std::thread::spawn(move || drop(first)).join().unwrap();
        assert_eq!(Buffer::new(400_000).as_ptr() as usize, address);
    }

    #[test]
    fn every_buffer_is_aligned_and_has_its_length() {
        for length in [0, 1, 511, 4096, 4097, LARGEST_KEPT, LARGEST_KEPT + 1] {
            let mut buffer = Buffer::zeroed(length);
            assert_eq!((buffer.len(), buffer.as_ptr() as usize % ALIGNMENT), (length, 0));
            assert!(buffer.iter().all(|byte| *byte == 0));
            buffer.fill(0xAA);
        }
    }

    #[test]
    fn a_thread_keeps_no_more_than_its_limit() {
        let all: Vec<_> = (0..2 * KEPT_BYTES / ALIGNMENT).map(|_| Buffer::new(1)).collect();
        drop(all);
        KEPT.with_borrow(|kept| {
            assert!(kept.bytes <= KEPT_BYTES);
            assert_eq!(kept.classes[0].len() * ALIGNMENT, KEPT_BYTES);
        });
    }

    #[test]
    fn all_threads_together_keep_no_more_than_their_limit() {
        let all: Vec<_> = (0..2 * SHARED_BYTES / LARGEST_KEPT).map(|_| Buffer::new(LARGEST_KEPT)).collect();
        drop(all);
        let shared = SHARED.lock();
        assert!(shared.bytes > SHARED_BYTES - LARGEST_KEPT && shared.bytes <= SHARED_BYTES);
    }
}
