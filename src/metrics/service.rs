//! Metrics as the gateway uses them: installed, served if asked for, told of the gateway's health.

use std::net::SocketAddr;

use tokio::sync::watch;
use tracing::{info, warn};

use super::{AlreadyInstalled, BindError, Endpoint, Health, Heartbeat, Metrics, Site};

/// The metrics of a running gateway. Dropping it ends the endpoint.
#[derive(Debug)]
pub struct MetricsServer {
    metrics: Metrics,
    health: watch::Sender<Health>,
    address: Option<SocketAddr>,
}

/// Metrics could not be had.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Two gateways in one process.
    #[error(transparent)]
    Installed(#[from] AlreadyInstalled),
    /// The address could not be had.
    #[error(transparent)]
    Bind(#[from] BindError),
}

impl MetricsServer {
    /// Installs the recorder of the process, before any handle is made, and serves it on `address` from a task of the
    /// tokio runtime it is called in, with `site` beside it. The gateway counts as starting.
    ///
    /// # Errors
    /// The process has a recorder already, or the address cannot be bound.
    pub fn start(address: Option<SocketAddr>, heartbeat: Heartbeat, site: Option<Site>) -> Result<Self, StartError> {
        let metrics = Metrics::install()?;
        Ok(Self::serve(address, metrics, heartbeat, site)?)
    }

    fn serve(
        address: Option<SocketAddr>,
        metrics: Metrics,
        heartbeat: Heartbeat,
        site: Option<Site>,
    ) -> Result<Self, BindError> {
        let (health, watch) = watch::channel(Health::Starting);
        let endpoint = address.map(|address| Endpoint::bind(address, metrics.clone(), heartbeat)).transpose()?;
        let address = endpoint.as_ref().and_then(|endpoint| endpoint.local_address().ok());
        if let Some(address) = address {
            info!(%address, "serving metrics");
        }
        if let Some(endpoint) = endpoint {
            let endpoint = endpoint.with_site(site);
            tokio::spawn(async move {
                if let Err(error) = endpoint.run(watch).await {
                    warn!(%error, "metrics are not served");
                }
            });
        }
        Ok(Self { metrics, health, address })
    }

    /// What is served, to be told what else to look at.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where metrics are served, if they are; with port 0, the port that the system chose.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Clients are served from now on.
    pub fn ready(&self) {
        self.health.send_replace(Health::Serving);
    }

    /// No new clients from now on.
    pub fn stopping(&self) {
        self.health.send_replace(Health::Stopping);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };

    use super::*;

    fn health(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).expect("connected");
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        response.rsplit('\n').nth(1).unwrap_or_default().to_owned()
    }

    #[test]
    fn health_is_told_from_start_to_stop() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let _inside = runtime.enter();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let heartbeat = Heartbeat::new(std::time::Duration::from_mins(1));
        let server = MetricsServer::serve(Some(loopback), Metrics::detached(), heartbeat, None).expect("a free port");
        let address = server.address().expect("it listens");
        assert_eq!(health(address), "starting");
        server.ready();
        assert_eq!(health(address), "serving");
        server.stopping();
        assert_eq!(health(address), "stopping");
    }

    #[test]
    fn without_an_address_nothing_listens() {
        let heartbeat = Heartbeat::new(std::time::Duration::from_mins(1));
        let server = MetricsServer::serve(None, Metrics::detached(), heartbeat, None).expect("nothing to fail");
        server.ready();
        assert_eq!(server.address(), None);
    }
}
