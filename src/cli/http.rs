//! One GET from the address of a gateway's `--metrics`.

use std::net::SocketAddr;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Bytes of an answer: the metrics of thousands of exports.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// What was answered: the status, and the body as text. Needs a tokio runtime with I/O.
pub(super) async fn get(address: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, String)> {
    let tried = || format!("cannot read http://{address}{path}");
    let stream = TcpStream::connect(address).await.with_context(tried)?;
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.with_context(tried)?;
    let request = Request::get(path).header("host", address.to_string()).body(Empty::<Bytes>::new())?;
    tokio::spawn(connection);
    let response = client.send_request(request).await.with_context(tried)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    let body = body.map_err(anyhow::Error::from_boxed).with_context(tried)?.to_bytes();
    Ok((status, String::from_utf8(body.to_vec()).with_context(tried)?))
}
