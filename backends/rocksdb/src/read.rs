//! READ: holes from presence, what memtables and the cache hold inline, the rest in the pool.

use nbdgate_api::ByteRange;
use nbdgate_io::Buffer;

use crate::{
    database::Tier,
    disk::{Core, Pending},
    failure::{failed, is_corruption, would_wait},
    levels::count,
    pinned::{self, Got, Value},
};

/// Pieces of up to this many bytes are copied: pinning costs more.
const COPIED: u64 = 4 << 10;
/// How often an extent that is said to be there, and is not, is looked for: it may be deleted and written again meanwhile.
const LOOKS: u32 = 64;

pub(crate) fn submit(request: Pending, range: ByteRange) {
    let core = &*request.ticket;
    let extents = core.extents_of(range);
    if extents.end - extents.start > 1 {
        return many(request, range);
    }
    let index = extents.start;
    if !core.presence.has(index) {
        request.reply.hole(range);
        return request.end(Ok(()));
    }
    let is_settled = match pinned::get(&core.database, index, Tier::Memory) {
        Ok(Some(value)) => {
            deliver(&request, index, range, value);
            true
        }
        Ok(None) => false,
        Err(error) if would_wait(&error) => false,
        Err(error) => {
            fail(&request, index, range, error);
            true
        }
    };
    if is_settled {
        count(&core.counters.reads_inline);
        return request.end(Ok(()));
    }
    wait(request, range, vec![index]);
}

/// A read of several extents.
fn many(request: Pending, range: ByteRange) {
    let core = &*request.ticket;
    let extents = core.extents_of(range);
    let mut missing = Vec::new();
    let mut at = extents.start;
    while at < extents.end {
        let (present, end) = core.presence.run(at, extents.end);
        if present {
            for index in at..end {
                match pinned::get(&core.database, index, Tier::Memory) {
                    Ok(Some(value)) => deliver(&request, index, range, value),
                    Ok(None) => missing.push(index),
                    Err(error) if would_wait(&error) => missing.push(index),
                    Err(error) => fail(&request, index, range, error),
                }
            }
        } else {
            request.reply.hole(core.part(at..end, range));
        }
        at = end;
    }
    if missing.is_empty() {
        count(&core.counters.reads_inline);
        request.end(Ok(()));
    } else {
        wait(request, range, missing);
    }
}

/// Reads `missing` where waiting is allowed.
fn wait(request: Pending, range: ByteRange, missing: Vec<u64>) {
    let core = request.ticket.shared().clone();
    core.pool.run(move || {
        let core = &*request.ticket;
        count(&core.counters.reads_pooled);
        let got = pinned::get_all(&core.database, missing.iter().copied());
        for (index, got) in missing.iter().copied().zip(got) {
            settle(&request, index, range, got);
        }
        request.end(Ok(()));
    });
}

fn settle<'a>(request: &'a Pending, index: u64, range: ByteRange, mut got: Got<'a>) {
    let core = &*request.ticket;
    for _ in 0..LOOKS {
        match got {
            Ok(Some(value)) => return deliver(request, index, range, value),
            Ok(None) if !core.presence.has(index) => return request.reply.hole(core.part(index..index + 1, range)),
            // Deleted, and written again since.
            Ok(None) => got = pinned::get(&core.database, index, Tier::Device),
            Err(error) => return fail(request, index, range, error),
        }
    }
    request.reply.fail(core.part(index..index + 1, range), core.lost(index));
}

/// Delivers what the range has of an extent.
fn deliver(request: &Pending, index: u64, range: ByteRange, value: Value<'_>) {
    let core = &*request.ticket;
    let part = core.part(index..index + 1, range);
    if let Err(error) = core.check_length(index, value.bytes().len()) {
        return request.reply.fail(part, error);
    }
    if value.bytes().is_empty() {
        return request.reply.hole(part);
    }
    let start = usize::try_from(part.offset() % core.extent).expect("inside an extent");
    let end = start + usize::try_from(part.length()).expect("inside an extent");
    if part.length() <= COPIED {
        return request.reply.copy(part.offset(), &value.bytes()[start..end]);
    }
    match value.into_lent() {
        Ok(bytes) => request.reply.data(part.offset(), bytes.slice(start..end)),
        Err(value) => {
            let mut buffer = Buffer::new(end - start);
            buffer.copy_from_slice(&value.bytes()[start..end]);
            request.reply.data(part.offset(), buffer.freeze());
        }
    }
}

fn fail(request: &Pending, index: u64, range: ByteRange, error: rocksdb::Error) {
    let core = &*request.ticket;
    if is_corruption(&error) {
        count(&core.counters.corruptions);
        tracing::error!(disk = core.name, index, %error, "an extent fails its check");
    }
    let tried = format!("cannot read extent {index} of {}", core.name);
    request.reply.fail(core.part(index..index + 1, range), failed(tried, error));
}

/// Reads ahead into the cache. A hint: a failure is not told.
pub(crate) fn cache(request: Pending, range: ByteRange) {
    let core = request.ticket.shared().clone();
    core.pool.run(move || {
        let core: &Core = &request.ticket;
        let present = core.presence.present_in(core.extents_of(range));
        let got = pinned::get_all(&core.database, present.take(core.cacheable()));
        let failures = got.filter(Result::is_err).count();
        if failures > 0 {
            tracing::debug!(disk = core.name, failures, "cannot read ahead");
        }
        request.end(Ok(()));
    });
}
