//! The stored bytes that writes of parts of extents are laid over.
//!
//! They are brought into the cache before a mutation is queued, by as many threads as there are mutations, and read from there
//! by the committer, of which there is one. What the cache has lost meanwhile the committer waits for.

use std::{collections::HashMap, sync::Arc};

use nbdgate_api::{ByteRange, Error};

use crate::{
    database::Tier,
    disk::Core,
    failure::{failed, would_wait},
    pinned::{self, Got},
};

/// The extents of which a mutation of `range` leaves something, and that are not in memory: two at most.
pub(crate) fn missing(core: &Arc<Core>, range: ByteRange) -> Vec<u64> {
    let extents = core.extents_of(range);
    let (first, last) = (extents.start, extents.end - 1);
    let is_part = |index: &u64| core.part(*index..*index + 1, range).length() < core.extent;
    let ends = [Some(first), Some(last).filter(|last| *last != first)].into_iter().flatten();
    let parts = ends.filter(is_part).filter(|index| core.presence.has(*index));
    parts
        .filter(|index| pinned::get(&core.database, *index, Tier::Memory).is_err_and(|error| would_wait(&error)))
        .collect()
}

/// Brings extents into the cache. What fails here fails again for whoever needs it.
pub(crate) fn fetch(core: &Arc<Core>, extents: &[u64]) {
    for index in extents {
        if let Err(error) = pinned::get(&core.database, *index, Tier::Device) {
            tracing::debug!(disk = core.name, index, %error, "cannot read an extent ahead of a write");
        }
    }
}

/// The bytes of extents that are present, in ascending order; none for zeros. For the committer alone.
///
/// # Errors
/// One of them cannot be read, is damaged, or is not there.
pub(crate) fn read(core: &Arc<Core>, needed: &[u64]) -> Result<HashMap<u64, Vec<u8>>, Error> {
    let got = pinned::get_all(&core.database, needed.iter().copied());
    needed.iter().zip(got).map(|(index, got)| Ok((*index, base(core, *index, got)?))).collect()
}

/// Only the committer deletes, so what is said to be there now and is not is lost.
fn base(core: &Core, index: u64, got: Got<'_>) -> Result<Vec<u8>, Error> {
    let tried = || format!("cannot read extent {index} of {}", core.name);
    let value = got.map_err(|error| failed(tried(), error))?.ok_or_else(|| core.lost(index))?;
    core.check_length(index, value.bytes().len())?;
    Ok(value.bytes().to_vec())
}
