//! One writer or many readers of an image, also against QEMU.
//!
//! Open-file-description locks on single bytes, in the scheme of QEMU's file-posix driver: for each permission
//! that is in use, byte 100 + bit is locked, for each that is denied to others, byte 200 + bit. All these locks are
//! shared ones, so they never collide as locks; after taking them one looks whether somebody else holds the
//! byte that contradicts: 200 + bit for what one uses, 100 + bit for what one denies.
//!
//! | | uses | denies |
//! |---|---|---|
//! | read-only | consistent read | write, resize |
//! | read-write | consistent read, write | write, resize |
//!
//! So: an nbdgate or a QEMU that writes, also one with `share-rw=on`, keeps an nbdgate out, writing or reading. An
//! nbdgate keeps writing QEMUs out, but not those that only read raw: they deny nobody to write. Readers share.
//!
//! The locks are advisory: programs that take none (cp, losetup, nbdkit) are not kept out. They are gone with the
//! process. Two device nodes of one disk count as two images here; against a second writer, and against a
//! mounted file system, a block device is opened exclusively as well.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use nbdgate_api::{Error, Kind};

const USED: i64 = 100;
const DENIED: i64 = 200;
const CONSISTENT_READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// Locks the open image `name` for one writer or for shared reading, until it is closed or
/// [released](release).
///
/// # Errors
/// Somebody else's use contradicts, or the file system has no locks.
pub(crate) fn acquire(image: BorrowedFd<'_>, read_only: bool, name: &str) -> Result<(), Error> {
    let used: &[i64] = if read_only { &[CONSISTENT_READ] } else { &[CONSISTENT_READ, WRITE] };
    let denied = [WRITE, RESIZE];
    let mine = used.iter().map(|bit| USED + bit).chain(denied.iter().map(|bit| DENIED + bit));
    for byte in mine {
        set(image, libc::F_RDLCK, byte, 1).map_err(|error| {
            Error::from_io(error, format!("cannot lock {name}: its file system must support file locks"))
        })?;
    }
    let contradicting = used.iter().map(|bit| DENIED + bit).chain(denied.iter().map(|bit| USED + bit));
    for byte in contradicting {
        let taken =
            is_taken(image, byte).map_err(|error| Error::from_io(error, format!("cannot test the lock of {name}")))?;
        if taken {
            release(image);
            let use_ = if read_only { "written to" } else { "used" };
            return Err(Error::new(
                Kind::Permission,
                format!("{name} is being {use_} by another process: stop it, or open both read-only"),
            ));
        }
    }
    Ok(())
}

/// Gives the locks back; nothing to do if the image is closed anyway.
pub(crate) fn release(image: BorrowedFd<'_>) {
    if let Err(error) = set(image, libc::F_UNLCK, USED, 2 * (DENIED - USED)) {
        tracing::warn!(%error, "cannot unlock an image; closing it will");
    }
}

fn set(image: BorrowedFd<'_>, kind: i32, start: i64, length: i64) -> io::Result<()> {
    control(image, libc::F_OFD_SETLK, &mut span(kind, start, length))
}

fn is_taken(image: BorrowedFd<'_>, byte: i64) -> io::Result<bool> {
    let mut span = span(libc::F_WRLCK, byte, 1);
    control(image, libc::F_OFD_GETLK, &mut span)?;
    Ok(i32::from(span.l_type) != libc::F_UNLCK)
}

fn span(kind: i32, start: i64, length: i64) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(kind).expect("the three kinds are small"),
        l_whence: 0, // SEEK_SET
        l_start: start,
        l_len: length,
        l_pid: 0,
    }
}

fn control(image: BorrowedFd<'_>, command: i32, span: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the descriptor is open while borrowed, and `span` is a valid flock for the call's duration.
    #[expect(unsafe_code, reason = "open-file-description locks have no safe wrapper")]
    let outcome = unsafe { libc::fcntl(image.as_raw_fd(), command, std::ptr::from_mut(span)) };
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
