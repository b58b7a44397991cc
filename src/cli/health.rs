//! `nbdgate health`: whether a gateway serves its clients, for whoever has no HTTP client at hand.
//!
//! A container image without a shell is the case: its health check runs this very program. Nothing is printed when all is
//! well; what is wrong goes to standard error, and the exit code is 1.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, anyhow};
use clap::Args;
use tokio::time;

use super::{Failure, http};
use crate::config::HostPort;

/// Time for the gateway to answer.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
pub(super) struct Health {
    /// The address of the gateway's --metrics
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:9810")]
    metrics: HostPort,
}

impl Health {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let address = self.metrics.resolve().map_err(|invalid| Failure::Usage(invalid.into()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start a runtime")?;
        Ok(runtime.block_on(serves(address, PATIENCE))?)
    }
}

/// Fails unless /healthz is answered with 200 in time.
async fn serves(address: SocketAddr, patience: Duration) -> anyhow::Result<()> {
    let answered = time::timeout(patience, http::get(address, "/healthz")).await;
    let (status, body) =
        answered.map_err(|_| anyhow!("http://{address}/healthz did not answer within {patience:?}"))??;
    if status.is_success() {
        return Ok(());
    }
    Err(anyhow!("http://{address}/healthz answered {status}: {}", body.trim()))
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    /// What is made of a server that answers with these bytes, and keeps the connection open.
    async fn told(answer: &str) -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let address = listener.local_addr().expect("its address");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a client");
            stream.write_all(answer.as_bytes()).await.expect("sent");
            stream
        };
        let (_stream, told) = tokio::join!(serve, serves(address, Duration::from_millis(200)));
        told
    }

    #[tokio::test]
    async fn only_a_gateway_that_serves_is_healthy() {
        told("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nserving\n").await.expect("healthy");
        let starting = told("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\nstarting\n").await;
        let starting = starting.expect_err("not yet").to_string();
        assert!(starting.contains("/healthz answered 503") && starting.ends_with(": starting"), "{starting}");
    }

    #[tokio::test]
    async fn a_gateway_that_is_silent_or_absent_is_not() {
        let silent = told("").await.expect_err("silent").to_string();
        assert!(silent.contains("did not answer within 200ms"), "{silent}");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let address = listener.local_addr().expect("its address");
        drop(listener);
        let absent = serves(address, PATIENCE).await.expect_err("nobody there");
        assert!(format!("{absent:#}").contains("refused"), "{absent:#}");
    }
}
