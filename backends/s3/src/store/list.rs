//! Listing names, and deleting what only we can have made.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    sync::Arc,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};

use super::{Patience, Store, StoreError, attempt::Label, side::Side};
use crate::observer::{Cause, Method};

/// One listed object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its key, without the root's prefix.
    pub(crate) key: String,
    /// When it was made, by the store's clock, in milliseconds since 1970; informational.
    pub(crate) unix_ms: u64,
    /// Its length in bytes.
    pub(crate) size: u64,
}

/// One listing of one bucket.
#[derive(Clone, Copy)]
struct Asked<'a> {
    side: &'a Side,
    cause: Cause,
    prefix: &'a str,
    after: Option<&'a str>,
    limit: usize,
}

impl Store {
    /// Up to `limit` objects whose keys begin with `prefix`, a whole number of components, and come after
    /// `after`; sorted. A store that is really empty answers like a missing prefix: with nothing.
    pub(crate) async fn list(
        &self,
        cause: Cause,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        patience: Patience,
    ) -> Result<Vec<Listed>, StoreError> {
        let mut all = Vec::new();
        for side in self.sides(prefix) {
            let asked = Asked { side: &side, cause, prefix, after, limit };
            all.extend(self.list_side(&asked, patience).await?);
        }
        // Directories and directory buckets are not listed in order.
        all.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        all.truncate(limit);
        Ok(all)
    }

    async fn list_side(&self, asked: &Asked<'_>, patience: Patience) -> Result<Vec<Listed>, StoreError> {
        let mut attempt = 0;
        loop {
            let error = match self.list_once(asked, attempt, patience).await {
                Ok(list) => return Ok(list),
                Err(error) if patience.ends_with(&error) => return Err(error),
                Err(error @ StoreError::NotFound(_)) if patience.is_bounded() => return Err(error),
                Err(error) => error,
            };
            attempt += 1;
            let lasting = error.is_lasting() && attempt > 1;
            if !patience.wait(self.pause(attempt), lasting).await {
                return Err(error);
            }
        }
    }

    async fn list_once(&self, asked: &Asked<'_>, attempt: u32, patience: Patience) -> Result<Vec<Listed>, StoreError> {
        let Asked { side, cause, prefix, after, limit } = *asked;
        let path = side.path(prefix);
        let path = (!path.as_ref().is_empty()).then_some(path);
        let client = side.client();
        let stream = match after {
            Some(after) => client.list_with_offset(path.as_ref(), &side.path(after)),
            None => client.list(path.as_ref()),
        };
        let request = async {
            let list: Vec<Listed> = stream
                .try_filter_map(async |meta| {
                    let unix_ms = u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0);
                    Ok(side.key(&meta.location).map(|key| Listed { key, unix_ms, size: meta.size }))
                })
                .take(limit)
                .try_collect()
                .await?;
            Ok(list)
        };
        let label = Label::new(Method::List, cause, attempt);
        let time = patience.attempt(self.attempt_timeout);
        self.attempt(prefix, label, time, |_| 0, request)
            .await
            .map_err(|failed| failed.into_error(self.name_of(prefix)))
    }

    /// Deletes many objects with as few requests as the store allows, and returns the keys of those that may still be
    /// there. One that is gone already is fine.
    pub(crate) async fn delete_all(&self, cause: Cause, keys: &[String], patience: Patience) -> Vec<String> {
        let mut left = Vec::new();
        let mut rest = keys.to_vec();
        // The log may be in a store of its own.
        while let Some(first) = rest.first() {
            let side = self.side(first);
            let (here, there): (Vec<_>, Vec<_>) = rest.into_iter().partition(|key| Arc::ptr_eq(&self.side(key), &side));
            left.extend(self.delete_in(&side, cause, &here, patience).await);
            rest = there;
        }
        left
    }

    async fn delete_in(&self, side: &Side, cause: Cause, keys: &[String], patience: Patience) -> VecDeque<String> {
        let paths: Vec<Result<Path, object_store::Error>> = keys.iter().map(|key| Ok(side.path(key))).collect();
        let client = side.client();
        let deleting = client.delete_stream(stream::iter(paths).boxed());
        let request = async {
            let (mut gone, mut failure) = (HashSet::new(), None);
            for result in deleting.collect::<Vec<_>>().await {
                match result {
                    Ok(path) => drop(gone.insert(path)),
                    Err(error) => failure = Some(error),
                }
            }
            if gone.is_empty()
                && let Some(error) = failure
            {
                Err(error)
            } else {
                Ok(gone)
            }
        };
        let label = Label::new(Method::Delete, cause, 0);
        let limit = patience.attempt(self.attempt_timeout);
        let name = keys.first().map_or("", String::as_str);
        let gone = self.attempt(name, label, limit, |_| 0, request).await.unwrap_or_default();
        let mut left = keys.iter().filter(|key| !gone.contains(&side.path(key))).cloned().collect::<VecDeque<_>>();
        // One by one, which tells what was wrong with each, and takes one that is gone for deleted.
        while let Some(key) = left.front() {
            if let Err(error) = self.delete(cause, key, patience).await {
                tracing::debug!(%error, "an object could not be deleted");
                break;
            }
            left.pop_front();
        }
        left
    }

    /// The names of the folders in a folder, sorted; of both stores if the log has its own.
    pub(crate) async fn folders(
        &self,
        cause: Cause,
        folder: &str,
        patience: Patience,
    ) -> Result<Vec<String>, StoreError> {
        let mut names = BTreeSet::new();
        for side in self.sides(folder) {
            names.append(&mut self.folders_of(&side, cause, folder, patience).await?);
        }
        Ok(names.into_iter().collect())
    }

    async fn folders_of(
        &self,
        side: &Side,
        cause: Cause,
        folder: &str,
        patience: Patience,
    ) -> Result<BTreeSet<String>, StoreError> {
        let path = side.path(folder);
        let mut attempt = 0;
        loop {
            let label = Label::new(Method::List, cause, attempt);
            let time = patience.attempt(self.attempt_timeout);
            let client = side.client();
            let request = client.list_with_delimiter(Some(&path));
            let error = match self.attempt(folder, label, time, |_| 0, request).await {
                Ok(listed) => {
                    let names = listed.common_prefixes.iter().filter_map(Path::filename).map(str::to_owned);
                    return Ok(names.collect());
                }
                Err(failed) => failed.into_error(self.name_of(folder)),
            };
            if patience.ends_with(&error) {
                return Err(error);
            }
            attempt += 1;
            if !patience.wait(self.pause(attempt), error.is_lasting()).await {
                return Err(error);
            }
        }
    }

    /// Deletes an object; one that is gone already is fine.
    pub(crate) async fn delete(&self, cause: Cause, key: &str, patience: Patience) -> Result<(), StoreError> {
        let side = self.side(key);
        let path: Path = side.path(key);
        let mut attempt = 0;
        loop {
            let label = Label::new(Method::Delete, cause, attempt);
            let time = patience.attempt(self.attempt_timeout);
            let client = side.client();
            let request = client.delete(&path);
            let error = match self.attempt(key, label, time, |()| 0, request).await {
                Ok(()) => return Ok(()),
                Err(failed) => failed.into_error(self.name_of(key)),
            };
            match error {
                StoreError::NotFound(_) => return Ok(()),
                StoreError::Unusable { .. } | StoreError::NoBucket { .. } => return Err(error),
                _ => {}
            }
            if patience.ends_with(&error) {
                return Err(error);
            }
            attempt += 1;
            let lasting = error.is_lasting() && attempt > 1;
            if !patience.wait(self.pause(attempt), lasting).await {
                return Err(error);
            }
        }
    }
}
