//! The mutations: WRITE, TRIM and WRITE_ZEROES.
//!
//! Each tells the extent cache after it changed the file, or may have, and before its reply ends.

use std::io;

use bytes::Bytes;
use nbdgate_api::{ByteRange, Error, Extent, ExtentKind, Kind, Payload, Reply, Zeroes};

use crate::{
    disk::{self, Disk, Inside, Pending},
    status,
    zero::{self, Way},
};

pub(crate) fn submit(inside: Inside<'_>, reply: Reply, offset: u64, mut payload: Payload, fua: bool) {
    let range = ByteRange::between(offset, offset + payload.len());
    if fua && let Err(error) = inside.sync.check() {
        return reply.end(Err(error));
    }
    let now = if fua { Ok(0) } else { inside.file.write_now(payload.slices(), offset) };
    if let Ok(count) = now
        && count as u64 == payload.len()
    {
        set_data(&inside, range);
        return reply.end(Ok(()));
    }
    let mutation = Mutation::new(inside.pending(reply), range);
    let now = match now {
        Ok(count) => count,
        Err(error) => {
            let error = mutation.failed(error, "write");
            return mutation.end_data(Err(error));
        }
    };
    let file = mutation.disk().file.clone();
    // Direct I/O gathers the bytes in memory of its own at once.
    if !file.is_direct() {
        payload.detach();
    }
    file.write(Slices(payload), now, offset, fua, move |outcome| {
        let outcome = outcome.map_err(|error| mutation.failed(error, "write"));
        if fua && let Err(error) = &outcome {
            latch(mutation.disk(), error);
        }
        mutation.end_data(outcome);
    });
}

pub(crate) fn trim(request: Pending, range: ByteRange, fua: bool) {
    let mutation = Mutation::new(request, range);
    let file = mutation.disk().file.clone();
    file.run(move |file| {
        let outcome = mutation.disk().zeroing.punch(file, range).or_else(|error| match error.kind() {
            // A device that claimed it could: zeros are what the reply promises (B7).
            io::ErrorKind::Unsupported => zero::write(file, range).map(|()| Way::Written),
            _ => Err(error),
        });
        mutation.end_zeros(outcome, "trim", fua);
    });
}

pub(crate) fn zero(request: Pending, range: ByteRange, zeroes: Zeroes, fua: bool) {
    let mutation = Mutation::new(request, range);
    let file = mutation.disk().file.clone();
    file.run(move |file| {
        let outcome = mutation.disk().zeroing.zero(file, range, zeroes);
        mutation.end_zeros(outcome, "zero", fua);
    });
}

fn set_data(disk: &Disk, range: ByteRange) {
    if let Some(extents) = &disk.extents {
        extents.set_data(range);
    }
}

/// A durable write whose data may be lost: later flushes would not tell.
fn latch(disk: &Disk, error: &Error) {
    if error.kind() == Kind::Io {
        disk.sync.latch(error);
        tracing::error!(image = disk.name, error = error.chain(), "flushes fail until the image is opened again");
    }
}

/// A mutation under way. Lost, it counts as data, because it may have changed anything.
#[derive(Debug)]
struct Mutation {
    request: Option<Pending>,
    range: ByteRange,
}

impl Mutation {
    fn new(request: Pending, range: ByteRange) -> Self {
        Self { request: Some(request), range }
    }

    fn disk(&self) -> &Disk {
        &self.request.as_ref().expect("taken by the end alone").ticket
    }

    fn failed(&self, error: io::Error, tried: &str) -> Error {
        self.disk().failed(error, &format!("{tried} {} of", self.range))
    }

    /// The range holds data now, or may hold anything.
    fn end_data(mut self, outcome: Result<(), Error>) {
        set_data(self.disk(), self.range);
        if let Some(request) = self.request.take() {
            request.end(outcome);
        }
    }

    fn end_zeros(mut self, outcome: io::Result<Way>, tried: &str, fua: bool) {
        let way = match outcome {
            Ok(way) => way,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                // Refused before anything changed, so what is known stays.
                let error = self.failed(error, tried);
                return self.request.take().expect("ended once").end(Err(error));
            }
            Err(error) => {
                let error = self.failed(error, tried);
                return self.end_data(Err(error));
            }
        };
        let kind = match way {
            Way::Punched => ExtentKind::Hole,
            Way::Zeroed | Way::Written => ExtentKind::Zero,
        };
        status::set_zeros(self.disk(), Extent { range: self.range, kind });
        let request = self.request.take().expect("ended once");
        if fua { disk::flush(request) } else { request.end(Ok(())) }
    }
}

impl Drop for Mutation {
    fn drop(&mut self) {
        if let Some(request) = &self.request {
            set_data(&request.ticket, self.range);
        }
    }
}

/// A payload as slices.
struct Slices(Payload);

impl AsRef<[Bytes]> for Slices {
    fn as_ref(&self) -> &[Bytes] {
        self.0.slices()
    }
}
