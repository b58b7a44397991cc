//! Making ranges zero: by giving space back, by marking it, or by writing.
//!
//! What the file system or device lacks is learnt from the first refusal and not tried again. fallocate on a block
//! device wants whole sectors; the bytes at the edges of a range are written.

use std::{
    io::{self, ErrorKind},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use nbdgate_api::{ByteRange, Zeroes};
use nbdgate_io::{Buffer, File};
use rustix::{fs::FallocateFlags, io::Errno};

use crate::device::Facts;

/// Bytes of zeros written at a time.
const ZEROS: usize = 1 << 20;

/// How a range was made zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Its space was given back.
    Punched,
    /// It is allocated and known to be zeros.
    Zeroed,
    /// Zeros were written.
    Written,
}

/// What can be done, as far as is known.
#[derive(Debug)]
pub(crate) struct Zeroing {
    sector: u64,
    punches: AtomicBool,
    zeroes: AtomicBool,
}

impl Zeroing {
    pub(crate) fn new(facts: &Facts) -> Self {
        Self {
            sector: u64::from(facts.sector),
            punches: AtomicBool::new(facts.punches),
            zeroes: AtomicBool::new(facts.zeroes),
        }
    }

    /// Gives the space back. `Unsupported` has changed nothing.
    pub(crate) fn punch(&self, file: &File, range: ByteRange) -> io::Result<Way> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        self.allocate(file, range, flags, &self.punches).map(|()| Way::Punched)
    }

    /// Makes `range` zeros as WRITE_ZEROES asks. `Unsupported` has changed nothing.
    pub(crate) fn zero(&self, file: &File, range: ByteRange, zeroes: Zeroes) -> io::Result<Way> {
        if !zeroes.no_hole {
            match self.punch(file, range) {
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                outcome => return outcome,
            }
        }
        let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        match self.allocate(file, range, flags, &self.zeroes) {
            Err(error) if error.kind() == ErrorKind::Unsupported && !zeroes.fast => {
                write(file, range).map(|()| Way::Written)
            }
            outcome => outcome.map(|()| Way::Zeroed),
        }
    }

    fn allocate(&self, file: &File, range: ByteRange, flags: FallocateFlags, able: &AtomicBool) -> io::Result<()> {
        if !able.load(Relaxed) {
            return Err(ErrorKind::Unsupported.into());
        }
        let start = range.offset().next_multiple_of(self.sector);
        let end = range.end() / self.sector * self.sector;
        if start >= end {
            // Less than a sector: writing it is as fast as it gets.
            return write(file, range);
        }
        loop {
            match rustix::fs::fallocate(file, flags, start, end - start) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    able.store(false, Relaxed);
                    return Err(ErrorKind::Unsupported.into());
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        // After the middle, which may be refused when nothing has changed yet.
        for edge in [ByteRange::between(range.offset(), start), ByteRange::between(end, range.end())] {
            if !edge.is_empty() {
                write(file, edge)?;
            }
        }
        Ok(())
    }
}

/// Writes zeros, waiting for the page cache or the device.
pub(crate) fn write(file: &File, range: ByteRange) -> io::Result<()> {
    let length = range.length().min(ZEROS as u64);
    let zeros = Buffer::zeroed(usize::try_from(length).expect("at most ZEROS")).freeze();
    for piece in range.pieces(ZEROS as u64) {
        let length = usize::try_from(piece.length()).expect("at most ZEROS");
        file.write_blocking(&[zeros.slice(..length)], 0, piece.offset(), false)?;
    }
    Ok(())
}
