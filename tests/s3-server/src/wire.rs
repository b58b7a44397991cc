//! One request: its fate, its time on the line, and its answer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::CONTENT_TYPE,
};
use parking_lot::Mutex;
use s3s::{Body, service::S3Service};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{control::control, counters::count, fate::Fate, server::Shared, settings::Settings};

/// Any error that ends a connection.
pub(crate) type Broken = Box<dyn std::error::Error + Send + Sync>;

/// A line of limited bandwidth, shared by all bodies of one direction.
#[derive(Debug, Default)]
pub(crate) struct Line(Mutex<Option<Instant>>);

impl Line {
    /// Waits until so many bytes have passed, behind those that came before.
    async fn pass(&self, bytes: usize, mib_per_second: u64) {
        if mib_per_second == 0 {
            return;
        }
        let time = Duration::from_secs_f64(bytes as f64 / (mib_per_second << 20) as f64);
        let until = {
            let mut free = self.0.lock();
            let now = Instant::now();
            let until = free.map_or(now, |free| free.max(now)) + time;
            *free = Some(until);
            until
        };
        sleep_until(until).await;
    }
}

/// Answers one request, or ends its connection.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    service: S3Service,
    request: Request<Incoming>,
) -> Result<Response<Body>, Broken> {
    if let Some(answer) = control(&shared, request.method(), request.uri()) {
        return Ok(answer);
    }
    count(&shared.counters.requests);
    let settings = shared.settings.lock().clone();
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let method = head.method.clone();
    let fate = shared.die.cast(&method, &settings);
    if fate != Fate::Served {
        count(&shared.counters.faults);
    }
    travel(&shared, &settings, &method, body.len()).await;
    let serve = async move |delay: Duration| {
        sleep(delay).await;
        service.call(Request::from_parts(head, Body::from(body))).await
    };
    match fate {
        Fate::Served => come_back(&shared, &settings, serve(Duration::ZERO).await?).await,
        Fate::Busy => Ok(busy()),
        Fate::Stalled => {
            sleep(Duration::from_millis(settings.stall_ms)).await;
            Err("stalled".into())
        }
        Fate::Cut => cut(serve(Duration::ZERO).await?).await,
        Fate::ReplyLost => {
            serve(Duration::ZERO).await?;
            Err("the reply is lost".into())
        }
        Fate::Late(delay) => {
            tokio::spawn(async move {
                // Nobody hears how it ends.
                let _ = serve(delay).await;
            });
            Err("applied later".into())
        }
    }
}

/// The way of a request: the body arrives, and the store thinks.
async fn travel(shared: &Shared, settings: &Settings, method: &Method, bytes: usize) {
    let put = *method == Method::PUT;
    let thinks = Duration::from_millis(if put { settings.put_ms } else { settings.get_ms });
    let until = Instant::now() + thinks;
    shared.up.pass(bytes, settings.mib_per_second).await;
    sleep_until(until).await;
}

/// The way of an answer.
async fn come_back(shared: &Shared, settings: &Settings, answer: Response<Body>) -> Result<Response<Body>, Broken> {
    if settings.mib_per_second == 0 {
        return Ok(answer);
    }
    let (head, body) = answer.into_parts();
    let bytes = body.collect().await?.to_bytes();
    shared.down.pass(bytes.len(), settings.mib_per_second).await;
    Ok(Response::from_parts(head, Body::from(bytes)))
}

fn busy() -> Response<Body> {
    let text = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    let mut answer = Response::new(Body::from(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    *answer.headers_mut() = HeaderMap::from_iter([(CONTENT_TYPE, "application/xml".parse().expect("a media type"))]);
    answer
}

/// The head of an answer, half of its body, and then nothing more.
async fn cut(answer: Response<Body>) -> Result<Response<Body>, Broken> {
    let (head, body) = answer.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let half = Ok::<_, std::io::Error>(Frame::data(bytes.slice(..bytes.len() / 2)));
    let frames = stream::unfold(Some(half), async |next| {
        if let Some(half) = next {
            return Some((half, None));
        }
        // What was written so far goes out while the body waits.
        tokio::task::yield_now().await;
        Some((Err(std::io::Error::other("cut")), None))
    });
    Ok(Response::from_parts(head, Body::http_body_unsync(StreamBody::new(Box::pin(frames)))))
}
