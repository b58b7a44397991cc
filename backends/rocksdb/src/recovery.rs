//! A look at a database before it is opened: whether it is a disk's, of a format that is known, and whether its log still has
//! what was flushed. Nothing is changed, so whoever is refused can still do something about it.

use std::{path::Path, sync::Arc};

use nbdgate_api::{Error, Kind};

use crate::{Shared, database::Database, meta::Meta};

/// What the database at `path` says it is. `flushed` is the number up to which FLUSHes were acknowledged.
///
/// # Errors
/// It is foreign, from the future or damaged, or its log ends before `flushed`.
pub(crate) fn inspect(path: &Path, name: &str, flushed: u64, shared: &Arc<Shared>) -> Result<Meta, Error> {
    let database = Database::open_meta(path, name, shared)?;
    let meta = Meta::read(&database)?;
    let found = database.sequence();
    if found < flushed {
        let text = format!(
            "the log of {name} is damaged or incomplete: changes up to {flushed} were flushed, and it ends at {found}. Nothing \
             was changed: bring the lost files back, go back to a snapshot, or remove {name}/flushed to accept the loss"
        );
        return Err(Error::new(Kind::Io, text));
    }
    Ok(meta)
}
