//! Looks at every HTTP answer: refusals for load and the store's clock.
//!
//! The client repeats a 503 by itself and then says nothing of it, so the answers are seen where they arrive.
//! Nothing is changed here, neither requests nor answers.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use object_store::{
    ClientOptions,
    client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector},
};

use super::{date, traffic::Traffic};

/// Makes clients whose answers are looked at.
#[derive(Debug)]
pub(super) struct Watching(pub(super) Arc<Traffic>);

#[derive(Debug)]
struct Watched {
    inner: HttpClient,
    traffic: Arc<Traffic>,
}

impl HttpConnector for Watching {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Watched { inner, traffic: Arc::clone(&self.0) }))
    }
}

#[async_trait::async_trait]
impl HttpService for Watched {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.inner.execute(request).await?;
        if matches!(response.status().as_u16(), 429 | 503) {
            self.traffic.refused();
        }
        let date = response.headers().get("date").and_then(|date| date::unix_ms(date.to_str().ok()?));
        if let Some(theirs) = date {
            let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            self.traffic.clock_told(i64::try_from(ours).unwrap_or(i64::MAX).saturating_sub(theirs));
        }
        Ok(response)
    }
}
