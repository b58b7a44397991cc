//! What the kernel tells of an open image and of the device below it.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{FileTypeExt, MetadataExt},
};

use rustix::fs::{AtFlags, FallocateFlags, SeekFrom, StatxFlags};

/// Alignment of direct I/O where the kernel does not tell; no device needs more.
const DIRECT_FALLBACK: u32 = 4096;

/// Facts about an open image.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, named at every use")]
pub(crate) struct Facts {
    pub(crate) size: u64,
    /// The logical block of a block device, 1 for a file.
    pub(crate) sector: u32,
    pub(crate) rotational: bool,
    /// Holes can be told from data.
    pub(crate) seeks_holes: bool,
    /// Space can be given back, and reads as zeros then.
    pub(crate) punches: bool,
    /// Ranges can be zeroed without writing them, and stay allocated.
    pub(crate) zeroes: bool,
}

impl Facts {
    /// Asks the kernel; changes nothing.
    pub(crate) fn of(file: &fs::File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if metadata.file_type().is_block_device() {
            Self::of_device(file, &metadata)
        } else {
            Ok(Self::of_file(file, &metadata))
        }
    }

    fn of_file(file: &fs::File, metadata: &fs::Metadata) -> Self {
        let size = metadata.len();
        // At the end of an image there is nothing to punch, so this only asks whether it could be done.
        let behind = size.next_multiple_of(1 << 20);
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Self {
            size,
            sector: 1,
            rotational: is_rotational(metadata.dev()),
            seeks_holes: size > 0 && seeks_holes(file),
            punches: rustix::fs::fallocate(file, punch, behind, 4096).is_ok(),
            // Asking would allocate space; learnt from the first use.
            zeroes: true,
        }
    }

    fn of_device(file: &fs::File, metadata: &fs::Metadata) -> io::Result<Self> {
        let size = rustix::fs::seek(file, SeekFrom::End(0))?;
        let zeroes = queue(metadata.rdev(), "write_zeroes_max_bytes").is_some_and(|limit| limit > 0);
        Ok(Self {
            size,
            sector: rustix::fs::ioctl_blksszget(file)?,
            rotational: is_rotational(metadata.rdev()),
            seeks_holes: false,
            punches: zeroes,
            zeroes,
        })
    }

    /// The alignment of direct I/O in bytes.
    pub(crate) fn direct_alignment(&self, file: &fs::File) -> io::Result<u32> {
        if self.sector > 1 {
            return Ok(self.sector);
        }
        let told = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
        match told {
            Ok(told) if told.stx_mask & StatxFlags::DIOALIGN.bits() != 0 => match told.stx_dio_offset_align {
                0 => Err(ErrorKind::Unsupported.into()),
                align => Ok(align.max(told.stx_dio_mem_align.min(DIRECT_FALLBACK)).next_power_of_two()),
            },
            _ => Ok(DIRECT_FALLBACK),
        }
    }
}

/// File systems without an answer of their own say that all is data up to the end, which is an answer.
fn seeks_holes(file: &fs::File) -> bool {
    rustix::fs::seek(file, SeekFrom::Hole(0)).is_ok()
}

fn is_rotational(device: u64) -> bool {
    queue(device, "rotational") == Some(1)
}

/// A number from the block queue of a device, or of the disk that it is a partition of.
fn queue(device: u64, name: &str) -> Option<u64> {
    let base = format!("/sys/dev/block/{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let read = |path: String| fs::read_to_string(path).ok()?.trim().parse().ok();
    read(format!("{base}/queue/{name}")).or_else(|| read(format!("{base}/../queue/{name}")))
}
