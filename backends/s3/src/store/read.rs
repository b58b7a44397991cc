//! Reading objects and ranges of them.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use object_store::{GetOptions, ObjectStore};

use super::{Patience, Store, StoreError, attempt::Label, hedge::Heard};
use crate::{
    format::FormatError,
    observer::{Cause, Method},
};

impl Store {
    /// The bytes of `range` that the object has (all of it without a range), tried until `patience` ends.
    ///
    /// A missing object is an answer and not retried; a body that was cut is retried.
    pub(crate) async fn get(
        &self,
        cause: Cause,
        key: &str,
        range: Option<Range<u64>>,
        patience: Patience,
    ) -> Result<Bytes, StoreError> {
        self.get_heard(cause, key, range, patience, &Heard::new()).await
    }

    /// As [`get`](Self::get), and notes when the first byte came.
    pub(super) async fn get_heard(
        &self,
        cause: Cause,
        key: &str,
        range: Option<Range<u64>>,
        patience: Patience,
        heard: &Heard,
    ) -> Result<Bytes, StoreError> {
        let mut attempt = 0;
        loop {
            let length = range.as_ref().map_or(0, |range| range.end - range.start);
            let limit = patience.attempt(self.time_for(length));
            let error = match self.get_noted(cause, key, range.clone(), attempt, limit, heard).await {
                Ok(bytes) => return Ok(bytes),
                Err(error @ (StoreError::NotFound(_) | StoreError::Unusable { .. } | StoreError::NoBucket { .. })) => {
                    return Err(error);
                }
                Err(error) if patience.ends_with(&error) => return Err(error),
                Err(error) => error,
            };
            let limit = patience.attempt(self.attempt_timeout);
            // Stores refuse a range behind the end with all kinds of errors: ask for the size.
            if let Some(range) = &range
                && attempt == 0
                && self.size(cause, key, limit).await.is_ok_and(|size| size <= range.start)
            {
                return Ok(Bytes::new());
            }
            attempt += 1;
            let lasting = error.is_lasting() && attempt > 1;
            if !patience.wait(self.pause(attempt), lasting).await {
                return Err(error);
            }
        }
    }

    /// As [`get`](Self::get), and makes of the bytes what `check` does. Bytes that it refuses are asked for twice more:
    /// they may have been damaged on the way.
    pub(crate) async fn get_checked<T>(
        &self,
        cause: Cause,
        key: &str,
        range: Option<Range<u64>>,
        patience: Patience,
        check: impl Fn(&Bytes) -> Result<T, FormatError>,
    ) -> Result<Result<T, FormatError>, StoreError> {
        for _ in 0..2 {
            let checked = check(&self.get(cause, key, range.clone(), patience).await?);
            let Err(error) = checked else { return Ok(checked) };
            tracing::warn!(object = self.name_of(key), %error, "an object failed its check; asking again");
        }
        Ok(check(&self.get(cause, key, range, patience).await?))
    }

    pub(super) async fn get_once(
        &self,
        cause: Cause,
        key: &str,
        range: Option<Range<u64>>,
        attempt: u32,
        limit: Duration,
    ) -> Result<Bytes, StoreError> {
        self.get_noted(cause, key, range, attempt, limit, &Heard::new()).await
    }

    async fn get_noted(
        &self,
        cause: Cause,
        key: &str,
        range: Option<Range<u64>>,
        attempt: u32,
        limit: Duration,
        heard: &Heard,
    ) -> Result<Bytes, StoreError> {
        let side = self.side(key);
        let (path, client) = (side.path(key), side.client());
        let request = async {
            let result = client.get_opts(&path, GetOptions { range: range.map(Into::into), ..GetOptions::default() });
            let result = result.await?;
            heard.now();
            let promised = result.range.end - result.range.start;
            let bytes = result.bytes().await?;
            if bytes.len() as u64 == promised {
                return Ok(bytes);
            }
            let source = format!("the body was cut at {} of {promised} bytes", bytes.len()).into();
            Err(object_store::Error::Generic { store: "object store", source })
        };
        let label = Label::new(Method::Get, cause, attempt);
        let received = |bytes: &Bytes| bytes.len() as u64;
        self.attempt(key, label, limit, received, request).await.map_err(|failed| failed.into_error(self.name_of(key)))
    }

    /// Whether an object is there, asked once.
    pub(crate) async fn exists(&self, cause: Cause, key: &str, limit: Duration) -> Result<bool, StoreError> {
        match self.size(cause, key, limit).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn size(&self, cause: Cause, key: &str, limit: Duration) -> Result<u64, StoreError> {
        let side = self.side(key);
        let (path, client) = (side.path(key), side.client());
        let request = async {
            let result = client.get_opts(&path, GetOptions { head: true, ..GetOptions::default() }).await?;
            Ok(result.meta.size)
        };
        let label = Label::new(Method::Get, cause, 0);
        self.attempt(key, label, limit, |_| 0, request).await.map_err(|failed| failed.into_error(self.name_of(key)))
    }
}
