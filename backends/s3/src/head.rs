//! Reading the heads of segments: prelude and meta, verified, asked for once more if they are bad.

use bytes::{Bytes, BytesMut};
use nbdgate_api::{Error, Kind};

use crate::{
    format::{FormatError, Object, Prelude, object::HEAD_FETCH},
    observer::Cause,
    store::{Patience, Store, StoreError},
};

/// Where heads come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads<'a> {
    pub(crate) store: &'a Store,
    pub(crate) cause: Cause,
    pub(crate) patience: Patience,
}

/// Why an object could not be read.
#[derive(Debug)]
pub(crate) enum Bad {
    Store(StoreError),
    Bytes(FormatError),
}

impl Heads<'_> {
    /// Reads the head of a segment and makes of it what `parse` does.
    pub(crate) async fn read<T>(
        &self,
        object: Object,
        parse: impl Fn(&Bytes) -> Result<T, FormatError>,
    ) -> Result<T, Error> {
        self.examine(object, parse).await.map_err(|bad| bad.tell(self.store, object))
    }

    /// The same for whoever tells a missing object from a bad one.
    pub(crate) async fn examine<T>(
        &self,
        object: Object,
        parse: impl Fn(&Bytes) -> Result<T, FormatError>,
    ) -> Result<T, Bad> {
        let mut result = self.once(object, &parse).await;
        if let Err(Bad::Bytes(error)) = &result {
            tracing::warn!(%error, "the head of a segment is bad; asking again");
            result = self.once(object, &parse).await;
        }
        result
    }

    async fn once<T>(&self, object: Object, parse: impl Fn(&Bytes) -> Result<T, FormatError>) -> Result<T, Bad> {
        let head = self.bytes(object).await?;
        parse(&head).map_err(Bad::Bytes)
    }

    /// Usually one request, two if the meta is long.
    async fn bytes(&self, object: Object) -> Result<Bytes, Bad> {
        let key = object.key();
        let get = |range| self.store.get(self.cause, &key, Some(range), self.patience.renewed());
        let first = get(0..HEAD_FETCH).await.map_err(Bad::Store)?;
        let prelude = Prelude::parse(&object.name.expected(object.volume), &first).map_err(Bad::Bytes)?;
        let have = first.len() as u64;
        if prelude.head_len() <= have || have < HEAD_FETCH {
            return Ok(first);
        }
        let rest = get(have..prelude.head_len()).await.map_err(Bad::Store)?;
        let mut all = BytesMut::from(first);
        all.extend_from_slice(&rest);
        Ok(all.freeze())
    }
}

impl Bad {
    /// The error of whoever needs the object.
    pub(crate) fn tell(self, store: &Store, object: Object) -> Error {
        let name = store.name_of(&object.key());
        match self {
            // Something live refers to it, so this is damage and not a hole.
            Self::Store(StoreError::NotFound(_)) => Error::new(Kind::Io, format!("the object {name} is missing")),
            Self::Store(error) => error.tell(&format!("reading {name}")),
            Self::Bytes(error) => Error::new(Kind::Io, format!("the object {name} is damaged")).with_source(error),
        }
    }
}
