//! The thread that writes a journal: whatever the device does, only this thread waits for it.

use std::{
    fs::File,
    io::{self, IoSlice},
    sync::{Arc, mpsc::Receiver},
};

use bytes::Bytes;

use super::Done;

/// Slices of one system call.
const MAX_SLICES: usize = 512;

/// What the thread is asked for, in order.
pub(super) enum Order {
    Write(u64, Vec<Bytes>, Done<()>),
    Sync(Done<()>),
}

/// Executes orders until nobody can give any, or the disk is closed. After the first failure all fail: a second fsync
/// may say "well" although the kernel dropped what the first could not write.
pub(super) fn run(file: &Arc<File>, orders: &Receiver<Option<Order>>) {
    let mut failure: Option<(io::ErrorKind, String)> = None;
    while let Ok(Some(order)) = orders.recv() {
        let (done, outcome) = match (&failure, order) {
            (Some((kind, text)), Order::Write(_, _, done) | Order::Sync(done)) => {
                (done, Err(io::Error::new(*kind, text.clone())))
            }
            (None, Order::Write(offset, slices, done)) => (done, write(file, offset, &slices)),
            (None, Order::Sync(done)) => (done, rustix::fs::fdatasync(file).map_err(io::Error::from)),
        };
        if let (None, Err(error)) = (&failure, &outcome) {
            failure = Some((error.kind(), format!("the journal failed before: {error}")));
        }
        done(outcome);
    }
}

/// Writes all of `slices` from `offset` on.
pub(super) fn write(file: &File, mut offset: u64, slices: &[Bytes]) -> io::Result<()> {
    let mut rest: Vec<&[u8]> = slices.iter().map(|slice| &slice[..]).filter(|slice| !slice.is_empty()).collect();
    let mut first = 0;
    while first < rest.len() {
        let batch: Vec<IoSlice<'_>> = rest[first..].iter().take(MAX_SLICES).map(|slice| IoSlice::new(slice)).collect();
        let mut written = match rustix::io::pwritev(file, &batch, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        offset += written as u64;
        while written > 0 {
            let taken = written.min(rest[first].len());
            written -= taken;
            rest[first] = &rest[first][taken..];
            if rest[first].is_empty() {
                first += 1;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn more_slices_than_one_call_takes_are_written_in_order() {
        let file = tempfile::tempfile().unwrap();
        let slices: Vec<Bytes> = (0..1300_u32).map(|number| number.to_le_bytes().to_vec().into()).collect();
        write(&file, 4096, &slices).unwrap();
        let mut bytes = vec![0; 1300 * 4];
        file.read_exact_at(&mut bytes, 4096).unwrap();
        assert_eq!(bytes, slices.concat());
    }
}
