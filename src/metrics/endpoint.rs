//! The HTTP endpoint: GET /metrics, GET /healthz and GET /livez, and what a [`Site`] adds.
//!
//! One small task, apart from the data path. A client gets one connection's worth of patience: small headers that come at
//! once, one deadline for the whole exchange, no keep-alive. What takes work to answer is answered to few at a time; probes
//! of life and health never wait behind it, nor behind clients that say nothing: who probes restarts what does not answer.

mod places;
mod site;

use std::{convert::Infallible, io, net, net::SocketAddr, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time,
};
use tracing::{debug, warn};

use self::places::{Place, Places};
pub use self::site::{Answering, Asked, Site};
use super::{Heartbeat, Metrics};

/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Time for a request's head: who asks has it ready.
const HEAD_DEADLINE: Duration = Duration::from_secs(1);
/// Time for a connection, from its first byte to its last.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(10);
/// Pause after the system refused to accept: out of file descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PROMETHEUS_TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// What /healthz tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Exports are being opened: 503.
    Starting,
    /// Clients are served: 200.
    Serving,
    /// Requests in flight are being finished: 503.
    Stopping,
}

/// A bound endpoint.
#[derive(Debug)]
pub struct Endpoint {
    listener: net::TcpListener,
    metrics: Metrics,
    heartbeat: Heartbeat,
    site: Option<Site>,
    deadline: Duration,
}

/// The endpoint's address could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics on {address}: choose another --metrics address, or stop what uses this one")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

impl Endpoint {
    /// Binds the address; connections wait until [`run`](Self::run).
    ///
    /// # Errors
    /// The address is in use, or not of this machine, or not allowed.
    pub fn bind(address: SocketAddr, metrics: Metrics, heartbeat: Heartbeat) -> Result<Self, BindError> {
        let bind = || {
            let listener = net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener = bind().map_err(|source| BindError { address, source })?;
        Ok(Self { listener, metrics, heartbeat, site: None, deadline: CONNECTION_DEADLINE })
    }

    /// Serves a site too.
    #[must_use]
    pub fn with_site(self, site: Option<Site>) -> Self {
        Self { site, ..self }
    }

    /// Where it listens; with port 0, the port that the system chose.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the sender of `health` is dropped, then drops what is open. Needs a tokio runtime with I/O and
    /// time.
    ///
    /// # Errors
    /// The runtime does not take the listener.
    pub async fn run(self, mut health: watch::Receiver<Health>) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let places = Places::default();
        let mut connections = JoinSet::new();
        let gone = health.clone();
        let accept = async {
            loop {
                let place = places.connection().await;
                while connections.try_join_next().is_some() {}
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let host = Host {
                            metrics: self.metrics.clone(),
                            health: gone.clone(),
                            heartbeat: self.heartbeat.clone(),
                            site: self.site.clone(),
                            place,
                        };
                        connections.spawn(async move {
                            if time::timeout(self.deadline, exchange(stream, host)).await.is_err() {
                                debug!("a client of the metrics endpoint took too long");
                            }
                        });
                    }
                    Err(error) => {
                        warn!(%error, "cannot accept a client of the metrics endpoint");
                        time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accept => {}
            () = async { while health.changed().await.is_ok() {} } => {}
        }
        Ok(())
    }
}

/// What answers.
struct Host {
    metrics: Metrics,
    health: watch::Receiver<Health>,
    heartbeat: Heartbeat,
    site: Option<Site>,
    place: Place,
}

/// One request and its response.
async fn exchange(stream: TcpStream, host: Host) {
    let host = &host;
    let answer =
        service_fn(|request: Request<Incoming>| async move { Ok::<_, Infallible>(respond(&request, host).await) });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = served {
        debug!(%error, "a client of the metrics endpoint was not served");
    }
}

async fn respond(request: &Request<Incoming>, host: &Host) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let is_own = matches!(path, "/metrics" | "/healthz" | "/livez");
    if !is_own && host.site.is_none() {
        return text(StatusCode::NOT_FOUND, absent(path));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let health = *host.health.borrow();
    match (path, &host.site) {
        ("/livez", _) => match host.heartbeat.hung() {
            None => text(StatusCode::OK, "alive\n"),
            Some(thread) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{thread} hangs\n")),
        },
        ("/healthz", _) => match health {
            Health::Starting => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
            Health::Serving => text(StatusCode::OK, "serving\n"),
            Health::Stopping => text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        },
        _ if !host.place.turn().await => {
            let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "many ask at once: try again\n");
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
            response
        }
        (_, Some(site)) if !is_own => {
            let query = request.uri().query().map(str::to_owned);
            site.answer(Asked { path: path.to_owned(), query, metrics: host.metrics.clone(), health }).await
        }
        _ => {
            let mut response = Response::new(Full::from(host.metrics.render()));
            response.headers_mut().insert(CONTENT_TYPE, PROMETHEUS_TEXT);
            response
        }
    }
}

/// Why there is nothing, where no site is served.
fn absent(path: &str) -> &'static str {
    if path == "/status" || path.starts_with("/status.") || path.starts_with("/status/") {
        return "not found: the status page is off; start nbdgate with --status-page\n";
    }
    "not found: ask for /metrics, /healthz or /livez\n"
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

#[cfg(test)]
mod tests;
