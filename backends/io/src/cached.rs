//! Whether a stretch of a file is in the page cache: cachestat(2), of Linux 6.5.

use std::os::fd::{AsFd, AsRawFd};

/// The system call's number, one for all architectures.
const CACHESTAT: libc::c_long = 451;
/// Bytes of a page.
const PAGE: u64 = 4096;

/// `struct cachestat_range`.
#[repr(C)]
struct Range {
    offset: u64,
    length: u64,
}

/// `struct cachestat`, in pages.
#[repr(C)]
#[derive(Default)]
struct Told {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Whether all pages of the stretch are in the page cache; they may still be on their way from the device. `None` where
/// the kernel cannot tell.
pub(crate) fn is_cached(file: impl AsFd, offset: u64, length: u64) -> Option<bool> {
    let range = Range { offset, length };
    let mut told = Told::default();
    let descriptor = file.as_fd().as_raw_fd();
    // SAFETY: both structures have the layout that the kernel documents and live across the call, which reads the first
    // and writes the second; the descriptor is open while `file` is borrowed.
    #[expect(unsafe_code, reason = "a system call that no crate wraps")]
    let code =
        unsafe { libc::syscall(CACHESTAT, descriptor, std::ptr::from_ref(&range), std::ptr::from_mut(&mut told), 0) };
    let pages = (offset + length).div_ceil(PAGE) - offset / PAGE;
    (code == 0).then_some(told.cached >= pages)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_was_written_is_cached_and_a_hole_is_not() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 40_000]).unwrap();
        file.set_len(1 << 20).unwrap();
        // Kernels before 6.5 cannot tell, and nothing else follows from it.
        let Some(cached) = is_cached(&file, 100, 39_000) else { return };
        assert!(cached);
        assert_eq!(is_cached(&file, 0, 1 << 20), Some(false));
    }
}
