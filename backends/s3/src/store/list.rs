//! Listing names, and deleting what only we can have made.

use futures_util::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};

use super::{Patience, Store, StoreError, attempt::Label};
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
        let mut attempt = 0;
        loop {
            let error = match self.list_once(cause, prefix, after, limit, attempt, patience).await {
                Ok(list) => return Ok(list),
                Err(error) if patience.ends_with(&error) => return Err(error),
                Err(error @ StoreError::NotFound(_)) if patience.is_bounded() => return Err(error),
                Err(error) => error,
            };
            attempt += 1;
            let denied = error.is_lasting();
            if !patience.wait(self.pause(attempt), denied).await {
                return Err(error);
            }
        }
    }

    async fn list_once(
        &self,
        cause: Cause,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        attempt: u32,
        patience: Patience,
    ) -> Result<Vec<Listed>, StoreError> {
        let path = self.path(prefix);
        let path = (!path.as_ref().is_empty()).then_some(path);
        let stream = match after {
            Some(after) => self.inner.list_with_offset(path.as_ref(), &self.path(after)),
            None => self.inner.list(path.as_ref()),
        };
        let request = async {
            let mut list: Vec<Listed> = stream
                .try_filter_map(async |meta| {
                    let unix_ms = u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0);
                    Ok(self.key(&meta.location).map(|key| Listed { key, unix_ms, size: meta.size }))
                })
                .take(limit)
                .try_collect()
                .await?;
            // Directories and directory buckets are not listed in order.
            list.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            Ok(list)
        };
        let label = Label::new(Method::List, cause, attempt);
        let time = patience.attempt(self.attempt_timeout);
        self.attempt(prefix, label, time, |_| 0, request)
            .await
            .map_err(|failed| failed.into_error(self.name_of(prefix)))
    }

    /// The names of the folders in a folder, sorted.
    pub(crate) async fn folders(
        &self,
        cause: Cause,
        folder: &str,
        patience: Patience,
    ) -> Result<Vec<String>, StoreError> {
        let path = self.path(folder);
        let mut attempt = 0;
        loop {
            let label = Label::new(Method::List, cause, attempt);
            let time = patience.attempt(self.attempt_timeout);
            let request = self.inner.list_with_delimiter(Some(&path));
            let error = match self.attempt(folder, label, time, |_| 0, request).await {
                Ok(listed) => {
                    let names = listed.common_prefixes.iter().filter_map(Path::filename).map(str::to_owned);
                    let mut names: Vec<String> = names.collect();
                    names.sort_unstable();
                    return Ok(names);
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
        let path: Path = self.path(key);
        let mut attempt = 0;
        loop {
            let label = Label::new(Method::Delete, cause, attempt);
            let time = patience.attempt(self.attempt_timeout);
            let request = self.inner.delete(&path);
            let error = match self.attempt(key, label, time, |()| 0, request).await {
                Ok(()) => return Ok(()),
                Err(failed) => failed.into_error(self.name_of(key)),
            };
            match error {
                StoreError::NotFound(_) => return Ok(()),
                StoreError::Unusable { .. } | StoreError::NoBucket { .. } => return Err(error),
                _ => {}
            }
            attempt += 1;
            if !patience.wait(self.pause(attempt), matches!(error, StoreError::Denied { .. })).await {
                return Err(error);
            }
        }
    }
}
