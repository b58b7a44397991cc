//! The HTTP endpoint: GET /metrics and GET /healthz, and nothing else.
//!
//! One small task, apart from the data path. A client gets one connection's worth of patience: few connections at a
//! time, small headers, one deadline for the whole exchange, no keep-alive. More clients wait in the listen queue.

use std::{convert::Infallible, io, net, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time,
};
use tracing::{debug, warn};

use super::Metrics;

/// Connections at one time.
const MAX_CONNECTIONS: usize = 16;
/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 << 10;
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
    pub fn bind(address: SocketAddr, metrics: Metrics) -> Result<Self, BindError> {
        let bind = || {
            let listener = net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener = bind().map_err(|source| BindError { address, source })?;
        Ok(Self { listener, metrics, deadline: CONNECTION_DEADLINE })
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
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        let gone = health.clone();
        let accept = async {
            loop {
                let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
                while connections.try_join_next().is_some() {}
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let (metrics, health) = (self.metrics.clone(), gone.clone());
                        connections.spawn(async move {
                            let _slot = slot;
                            if time::timeout(self.deadline, exchange(stream, metrics, health)).await.is_err() {
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

/// One request and its response.
async fn exchange(stream: TcpStream, metrics: Metrics, health: watch::Receiver<Health>) {
    let answer = service_fn(|request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &metrics, *health.borrow());
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_DEADLINE)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = served {
        debug!(%error, "a client of the metrics endpoint was not served");
    }
}

fn respond(method: &Method, path: &str, metrics: &Metrics, health: Health) -> Response<Full<Bytes>> {
    let is_known = matches!(path, "/metrics" | "/healthz");
    if !is_known {
        return text(StatusCode::NOT_FOUND, "not found: ask for /metrics or /healthz\n");
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if path == "/metrics" {
        let mut response = Response::new(Full::from(metrics.render()));
        response.headers_mut().insert(CONTENT_TYPE, PROMETHEUS_TEXT);
        return response;
    }
    match health {
        Health::Starting => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Health::Serving => text(StatusCode::OK, "serving\n"),
        Health::Stopping => text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

#[cfg(test)]
mod tests;
