//! What else may be served at the endpoint's address.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use http_body_util::Full;
use hyper::{Response, body::Bytes};

use super::Health;
use crate::metrics::Metrics;

/// A GET or HEAD of something that the endpoint itself does not have.
#[derive(Clone, Debug)]
pub struct Asked {
    /// As it was sent: with its leading slash, percent-encoded.
    pub path: String,
    /// What stands behind the question mark.
    pub query: Option<String>,
    /// What is measured.
    pub metrics: Metrics,
    /// How the gateway is.
    pub health: Health,
}

/// An answer on its way; it must not take longer than a connection may.
pub type Answering = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;

/// Answers what the endpoint itself does not have, with 404 if need be. Cheap to clone.
#[derive(Clone)]
pub struct Site(Arc<dyn Fn(Asked) -> Answering + Send + Sync>);

impl Site {
    /// Answers with `answer`.
    pub fn new(answer: impl Fn(Asked) -> Answering + Send + Sync + 'static) -> Self {
        Self(Arc::new(answer))
    }

    pub(super) fn answer(&self, asked: Asked) -> impl Future<Output = Response<Full<Bytes>>> + Send + use<> {
        (self.0)(asked)
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").finish_non_exhaustive()
    }
}
