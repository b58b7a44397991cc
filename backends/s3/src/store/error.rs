//! What a failed request to the store means for the caller.

use nbdgate_api::{Error, Kind};

/// A request that failed, after all retries its caller had patience for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// There is no such object (or no such bucket).
    #[error("there is no object {0}")]
    NotFound(String),
    /// There is no such bucket.
    #[error("there is no bucket for {key}: {why}")]
    NoBucket { key: String, why: String },
    /// The store refuses these credentials.
    #[error("the store refuses access to {key}")]
    Denied {
        key: String,
        #[source]
        source: object_store::Error,
    },
    /// Timeout, reset, 5xx, cut body: it may work later.
    #[error("the store does not answer for {key}: {why}")]
    Unavailable { key: String, why: String },
    /// The request is wrong and will never work.
    #[error("the store cannot serve {key}")]
    Unusable {
        key: String,
        #[source]
        source: object_store::Error,
    },
}

impl StoreError {
    /// Sorts an error of `object_store`.
    pub(crate) fn sort(key: String, error: object_store::Error) -> Self {
        use object_store::Error as E;
        // The client does not sort everything by status; the texts tell.
        let why = chain(&error);
        let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
        match error {
            _ if says(&["NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"]) => {
                Self::NoBucket { key, why }
            }
            E::NotFound { .. } => Self::NotFound(key),
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => Self::Denied { key, source: error },
            E::NotImplemented { .. } | E::NotSupported { .. } | E::InvalidPath { .. } => {
                Self::Unusable { key, source: error }
            }
            other if says(&["403 Forbidden", "401 Unauthorized"]) => Self::Denied { key, source: other },
            _ => Self::Unavailable { key, why },
        }
    }

    /// Whether someone has to do something before it can work: asked for again at a slower pace.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::NoBucket { .. } | Self::Unusable { .. })
    }

    /// The error of a disk, with what to do about it; `tried` says what failed.
    pub(crate) fn tell(self, tried: &str) -> Error {
        let message = match &self {
            Self::NotFound(_) => tried.to_owned(),
            Self::NoBucket { .. } => format!("{tried} (make the bucket first, or correct its name)"),
            Self::Denied { .. } => format!(
                "{tried} (check the credentials in the environment, AWS_*, GOOGLE_* or AZURE_*, and the rights on the bucket)"
            ),
            Self::Unavailable { .. } => format!("{tried} (check the endpoint and the network)"),
            Self::Unusable { .. } => format!("{tried} (this store lacks what a disk needs)"),
        };
        let kind = if matches!(self, Self::Denied { .. }) { Kind::Permission } else { Kind::Io };
        Error::new(kind, message).with_source(self)
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let part = cause.to_string();
        if !text.contains(&part) {
            text = text + ": " + &part;
        }
        next = cause.source();
    }
    text
}
