//! Put-if-absent with the rules of OBJECT-LOG §6.5: build the bytes once, send the same bytes again, and
//! believe nothing but `Ok` and what is read back.

use std::time::Duration;

use bytes::Bytes;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};

use super::{
    Patience, Store, StoreError,
    attempt::{Created, Failed, Label},
    traffic::is_bulk,
};
use crate::{
    format::{
        names::parse_name_object,
        prelude::{PRELUDE_LEN, Prelude},
    },
    observer::{Cause, Method},
};

/// So much of an object is read back and compared: all of a manifest, prelude and meta of a segment.
const HEAD: u64 = 64 << 10;

/// So often the same bytes are read back before they are believed to be another's, though they look damaged.
const CERTAIN: u32 = 6;

/// Whose object stands at the key.
#[derive(Debug)]
pub(crate) enum Placed {
    /// Ours.
    Mine,
    /// Another one; its first bytes.
    Other(Bytes),
}

impl Store {
    /// Places `payload` at `key`, or learns what stands there. Ends with an error only when `patience` does; the
    /// object may then be there or come to be there later.
    pub(crate) async fn place(
        &self,
        cause: Cause,
        key: &str,
        payload: &PutPayload,
        patience: Patience,
    ) -> Result<Placed, StoreError> {
        let mut attempt = 0;
        let mut other: Option<(Bytes, u32)> = None;
        loop {
            let failure = match self.create(cause, key, payload, attempt, patience).await {
                Created::Ok => return Ok(Placed::Mine),
                Created::Exists => None,
                Created::Unclear(error) if patience.ends_with(&error) => return Err(error),
                Created::Unclear(error) => Some(error),
            };
            attempt += 1;
            let conflict = failure.is_none();
            if let Some(error) = failure {
                let lasting = error.is_lasting() && attempt > 1;
                if attempt == 1 || attempt.is_multiple_of(16) {
                    tracing::warn!(%error, attempt, "a put has no clear outcome; looking again");
                }
                if !patience.wait(self.pause(attempt), lasting).await {
                    return Err(error);
                }
            }
            match self.head(cause, key, attempt, patience).await {
                Ok(found) if starts_with(payload, &found) => return Ok(Placed::Mine),
                // Bytes that were damaged on the way are not another's object, not even if it happens twice.
                Ok(found) => {
                    let before = other.take().filter(|(bytes, _)| *bytes == found).map_or(0, |(_, times)| times);
                    let is_credible = is_credible(payload, &found);
                    if before + 1 >= if is_credible { 2 } else { CERTAIN } {
                        return Ok(Placed::Other(found));
                    }
                    other = Some((found, before + 1));
                    if !is_credible && !patience.wait(self.pause(attempt), false).await {
                        let why = "what was read back is damaged".to_owned();
                        return Err(StoreError::Unavailable { key: self.name_of(key), why });
                    }
                }
                // A 409 while another request is under way.
                Err(error @ StoreError::NotFound(_)) if conflict => {
                    if !patience.wait(self.pause(attempt), false).await {
                        return Err(error);
                    }
                }
                Err(StoreError::NotFound(_)) => {}
                Err(error) if patience.ends_with(&error) => return Err(error),
                Err(error) => {
                    let lasting = error.is_lasting() && attempt > 1;
                    if !patience.wait(self.pause(attempt), lasting).await {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// One put-if-absent, for `place` and for the probe.
    pub(super) async fn create(
        &self,
        cause: Cause,
        key: &str,
        payload: &PutPayload,
        attempt: u32,
        patience: Patience,
    ) -> Created {
        let sent = payload.content_length() as u64;
        let side = self.side(key);
        let _permit = if is_bulk(cause) { Some(side.traffic.enter(cause, sent).await) } else { None };
        if let Some(levels) = side.moved() {
            self.observer.uploads(&levels);
        }
        let label = Label { sent, ..Label::new(Method::Put, cause, attempt) };
        let limit = patience.attempt(self.time_for(sent));
        let path = side.path(key);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let client = side.client();
        let put = client.put_opts(&path, payload.clone(), options);
        match self.attempt(key, label, limit, |_| 0, put).await {
            Ok(_) => Created::Ok,
            Err(Failed::Exists) => Created::Exists,
            Err(Failed::Other(error)) => Created::Unclear(error),
        }
    }

    /// One put-if-absent without reading back: `Some(true)` if it made the object, `Some(false)` if one was there,
    /// `None` if the outcome is unclear.
    pub(crate) async fn race(
        &self,
        key: &str,
        payload: &PutPayload,
        patience: Patience,
    ) -> Result<Option<bool>, StoreError> {
        match self.create(Cause::Probe, key, payload, 0, patience).await {
            Created::Ok => Ok(Some(true)),
            Created::Exists => Ok(Some(false)),
            Created::Unclear(
                error @ (StoreError::Denied { .. }
                | StoreError::Unusable { .. }
                | StoreError::NoBucket { .. }
                | StoreError::NotFound(_)),
            ) => Err(error),
            Created::Unclear(_) => Ok(None),
        }
    }

    async fn head(&self, cause: Cause, key: &str, attempt: u32, patience: Patience) -> Result<Bytes, StoreError> {
        let limit = patience.attempt(self.attempt_timeout).max(Duration::from_millis(1));
        self.get_once(cause, key, Some(0..HEAD), attempt, limit).await
    }
}

/// Whether `found` can be the object of another: whole by its own crcs, and not what only we say of ourselves.
fn is_credible(payload: &PutPayload, found: &[u8]) -> bool {
    if let Ok(prelude) = Prelude::read(found) {
        let meta = prelude.meta_within(found);
        let ours = payload.iter().next().is_some_and(|ours| ours.get(..PRELUDE_LEN) == found.get(..PRELUDE_LEN));
        return !ours && meta.is_none_or(|meta| crc32c::crc32c(meta) == prelude.meta_crc);
    }
    parse_name_object(found).is_ok()
}

/// Whether `found`, the first bytes of an object, are those of `payload`: all of it, if it is shorter than `HEAD`.
fn starts_with(payload: &PutPayload, found: &[u8]) -> bool {
    let expected = payload.content_length().min(usize::try_from(HEAD).expect("64 KiB"));
    if found.len() != expected {
        return false;
    }
    let mut rest = found;
    for chunk in payload {
        let here = chunk.len().min(rest.len());
        if rest[..here] != chunk[..here] {
            return false;
        }
        rest = &rest[here..];
    }
    rest.is_empty()
}
