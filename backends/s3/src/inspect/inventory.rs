//! Which objects a volume has, by listing.
//!
//! A large directory is listed shard by shard, so that each listing is short and none depends on the order in which a
//! store answers.

use futures_util::{StreamExt, TryStreamExt, stream};
use nbdgate_api::Error;

use super::Inspect;
use crate::{
    format::ObjectName,
    observer::Cause,
    store::{StoreError, list::Listed},
};

/// Directories with more objects are listed by shard.
const FEW: usize = 2000;

/// Shards listed at once.
const PARALLEL: usize = 16;

/// Objects listed in one shard at the most: 256 times as many make a disk of more than 10 PiB.
const SHARD_MAX: usize = 1 << 20;

/// A listed object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) name: ObjectName,
    /// Bytes.
    pub(crate) size: u64,
}

/// What was found under a directory.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Sorted by name.
    pub(crate) entries: Vec<Entry>,
    /// Keys that no writer of this format makes.
    pub(crate) foreign: Vec<String>,
}

impl Inspect {
    /// Everything in `l`, `g`, `p`, `m` or `snap`.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn inventory(&self, directory: &str) -> Result<Listing, Error> {
        let prefix = format!("v/{}/{directory}", self.volume);
        let mut listed = self.listed(&prefix, FEW + 1).await?;
        if listed.len() > FEW {
            let shards = (0..=u8::MAX).map(|shard| format!("{prefix}/{shard:02x}"));
            let lists = stream::iter(shards).map(|shard| async move { self.listed(&shard, SHARD_MAX).await });
            let sharded = matches!(directory, "l" | "g" | "p");
            listed = if sharded {
                lists.buffer_unordered(PARALLEL).try_concat().await?
            } else {
                self.listed(&prefix, usize::MAX).await?
            };
        }
        let mut listing = Listing::default();
        let below = format!("v/{}/", self.volume);
        for Listed { key, size, .. } in listed {
            match key.strip_prefix(&below).and_then(ObjectName::parse) {
                Some(name) => listing.entries.push(Entry { name, size }),
                None => listing.foreign.push(key),
            }
        }
        listing.entries.sort_unstable_by_key(|entry| entry.name);
        listing.foreign.sort_unstable();
        Ok(listing)
    }

    async fn listed(&self, prefix: &str, limit: usize) -> Result<Vec<Listed>, Error> {
        match self.store.list(Cause::Scrub, prefix, None, limit, self.patience.renewed()).await {
            Ok(listed) => Ok(listed),
            Err(StoreError::NotFound(_)) => Ok(Vec::new()),
            Err(error) => Err(error.tell(&format!("listing {}", self.store.name_of(prefix)))),
        }
    }
}
