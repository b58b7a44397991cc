//! BLOCK_STATUS, and the scans that fill the extent cache.

use nbdgate_api::{ByteRange, Extent, ExtentKind};
use nbdgate_io::File;
use rustix::{
    fs::SeekFrom,
    io::{Errno, Result},
};

use crate::{
    disk::{Disk, Pending},
    extents::{Asker, STRETCHES, Scan},
};

/// Regions scanned for one request at most; what is told then is a prefix (B8).
const SCANS: usize = 512;

pub(crate) fn submit(request: Pending, range: ByteRange, req_one: bool) {
    let disk = &request.ticket;
    let Some(cache) = &disk.extents else {
        return answer(request, vec![Extent { range, kind: ExtentKind::Data }], req_one);
    };
    let known = cache.known(range);
    if let Some(told) = told(range, &known.zeros, known.unknown)
        && (req_one || known.unknown.is_none())
    {
        return answer(request, told, req_one);
    }
    let file = disk.file.clone();
    file.run(move |_| {
        let told = look(&request.ticket, range, req_one);
        answer(request, told, req_one);
    });
}

fn answer(request: Pending, mut extents: Vec<Extent>, req_one: bool) {
    if req_one {
        extents.truncate(1);
    }
    request.reply.extents(extents);
    request.end(Ok(()));
}

/// The extents of `range` as far as they are known; `None` if its first byte is not.
fn told(range: ByteRange, zeros: &[Extent], unknown: Option<u64>) -> Option<Vec<Extent>> {
    let end = unknown.unwrap_or(range.end());
    if end == range.offset() {
        return None;
    }
    let mut told = Vec::new();
    let mut at = range.offset();
    let data = |start, end| Extent { range: ByteRange::between(start, end), kind: ExtentKind::Data };
    for zero in zeros.iter().take_while(|zero| zero.range.offset() < end) {
        if at < zero.range.offset() {
            data(at, zero.range.offset()).push_onto(&mut told);
        }
        zero.push_onto(&mut told);
        at = zero.range.end();
    }
    if at < end {
        data(at, end).push_onto(&mut told);
    }
    Some(told)
}

/// Scans until the range is known, or the limit is reached, or somebody else scans; tells at least one extent.
fn look(disk: &Disk, range: ByteRange, req_one: bool) -> Vec<Extent> {
    if let Some(cache) = &disk.extents {
        for _ in 0..SCANS {
            let known = cache.known(range);
            let enough = known.unknown.is_none() || (req_one && known.unknown != Some(range.offset()));
            let scan = known.unknown.filter(|_| !enough).and_then(|at| cache.begin_scan(at, Asker::Status));
            let Some(scan) = scan else { break };
            self::scan(disk, &scan);
        }
        let known = cache.known(range);
        if let Some(told) = told(range, &known.zeros, known.unknown) {
            return told;
        }
    }
    // Being scanned by somebody else, or too fragmented to be cached.
    let (holes, until) = walk(&disk.file, range);
    let zeros: Vec<_> = holes.into_iter().map(|range| Extent { range, kind: ExtentKind::Hole }).collect();
    told(range, &zeros, Some(until).filter(|until| *until < range.end()))
        .unwrap_or_else(|| vec![Extent { range, kind: ExtentKind::Data }])
}

/// Tells the cache of zeros that a mutation made. What lies around them is looked at first, so that they are
/// remembered for what they are: a file system tells allocated zeros as holes.
pub(crate) fn set_zeros(disk: &Disk, extent: Extent) {
    let Some(cache) = &disk.extents else { return };
    for at in [extent.range.offset(), extent.range.end() - 1] {
        let unknown = cache.known(ByteRange::between(at, at + 1)).unknown;
        if let Some(scan) = unknown.and_then(|at| cache.begin_scan(at, Asker::Read)) {
            self::scan(disk, &scan);
        }
    }
    cache.set_zeros(extent);
}

/// Fills the cache.
pub(crate) fn scan(disk: &Disk, scan: &Scan) {
    let Some(cache) = &disk.extents else { return };
    let (holes, until) = walk(&disk.file, scan.range);
    cache.end_scan(scan, &holes, until);
}

/// The holes of a range, and up to where they are told: its end, or before where there are more than can be
/// listed. Where the kernel cannot tell, all is data.
fn walk(file: &File, range: ByteRange) -> (Vec<ByteRange>, u64) {
    let mut holes = Vec::new();
    let mut at = range.offset();
    while at < range.end() {
        if holes.len() == STRETCHES {
            return (holes, at);
        }
        let Ok(hole) = rustix::fs::seek(file, SeekFrom::Hole(at)) else { break };
        if hole >= range.end() {
            break;
        }
        let Ok(data) = data_after(file, hole) else { break };
        let end = data.min(range.end());
        // A file that changes meanwhile may answer anything.
        if hole < at || end <= hole {
            break;
        }
        holes.push(ByteRange::between(hole, end));
        at = end;
    }
    (holes, range.end())
}

/// Where a hole ends; the end of the file where no data follow. What lies behind that, in an image that somebody cut
/// short below the gateway, is no hole: it is for a read to fail on.
fn data_after(file: &File, hole: u64) -> Result<u64> {
    match rustix::fs::seek(file, SeekFrom::Data(hole)) {
        Err(Errno::NXIO) => rustix::fs::seek(file, SeekFrom::End(0)),
        outcome => outcome,
    }
}
