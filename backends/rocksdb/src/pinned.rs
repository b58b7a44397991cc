//! Values of extents, lent by RocksDB's cache, that can travel to a socket without being copied.
//!
//! RocksDB pins the cache's entry as long as the value is referred to, and both are gone with the database. So what leaves
//! this file owns the database together with the value. What is kept in the cache that way is bounded by
//! [`Shared::lend`](crate::Shared): beyond that, values are copied.

use std::sync::Arc;

use bytes::Bytes;
use rocksdb::DBPinnableSlice;

use crate::{
    database::{Database, Tier},
    tuning,
};

/// The value of an extent.
pub(crate) struct Value<'a> {
    slice: DBPinnableSlice<'a>,
    database: &'a Arc<Database>,
}

/// What RocksDB says of an extent.
pub(crate) type Got<'a> = Result<Option<Value<'a>>, rocksdb::Error>;

/// The value of extent `index`, where `tier` finds it.
pub(crate) fn get(database: &Arc<Database>, index: u64, tier: Tier) -> Got<'_> {
    Ok(database.extent(index, tier)?.map(|slice| Value { slice, database }))
}

/// The values of extents in ascending order, from wherever they are.
pub(crate) fn get_all(database: &Arc<Database>, indexes: impl Iterator<Item = u64>) -> impl Iterator<Item = Got<'_>> {
    let got = database.extents(indexes).into_iter();
    got.map(move |got| Ok(got?.map(|slice| Value { slice, database })))
}

impl Value<'_> {
    /// The bytes for as long as this is there.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.slice
    }

    /// The bytes without a copy.
    ///
    /// # Errors
    /// Replies keep too much of the cache already: the value itself.
    pub(crate) fn into_lent(self) -> Result<Bytes, Self> {
        let charge = tuning::pinned_by(self.slice.len());
        if !self.database.shared.lend(charge) {
            return Err(self);
        }
        let Self { slice, database } = self;
        // SAFETY: the slice borrows nothing but the database (its lifetime is a marker for that), `Lent` keeps the database
        // alive, and drops the slice first. The value's memory is RocksDB's and does not move with the slice.
        #[expect(unsafe_code, reason = "a value and the database that it borrows travel together")]
        let slice = unsafe { std::mem::transmute::<DBPinnableSlice<'_>, DBPinnableSlice<'static>>(slice) };
        Ok(Bytes::from_owner(Lent { slice, database: database.clone(), charge }))
    }
}

/// A value on its way. Fields are dropped in their order: the value before the database.
struct Lent {
    slice: DBPinnableSlice<'static>,
    database: Arc<Database>,
    charge: u64,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.slice
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.database.shared.give_back(self.charge);
    }
}
