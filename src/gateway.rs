//! The composition root: from a configuration to a running gateway, and back to nothing.
//!
//! ```text
//! listeners (service runtime) ──socket──► I/O thread: handshake ──► I/O thread the export prefers: transmission
//! ```
//!
//! Start: every listener is bound, exports are opened, I/O threads start, clients are accepted; a failure undoes what was
//! done. Stop: no more
//! connections, requests in flight finish, every export is flushed and closed; a second signal or the deadline
//! cuts that short, and the exit says so.

mod listen;
mod open;
mod serve;
mod stop;
mod threads;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::runtime::Runtime;

use self::{
    listen::{Bound, Listener},
    stop::{Signals, Stop},
    threads::IoThreads,
};
use crate::{
    config::{Config, IoEngine},
    export::Registry,
    metrics::{MetricsServer, ServerMetrics},
    nbd::transmission::Limits,
    scheduler::permits::Budget,
};

/// Threads of the service runtime: accepting, metrics, object requests.
const SERVICE_THREADS: usize = 2;
/// Time for snapshots that clients left just now to be closed, at the end of a clean stop.
const SNAPSHOTS_CLOSING: Duration = Duration::from_secs(10);
/// Cost that one connection may have in flight, in bytes: a request of the longest kind, and one waiting.
const CONNECTION_COST: u32 = 80 << 20;

/// What every connection needs to know.
#[derive(Debug)]
pub(crate) struct Shared {
    exports: Registry,
    limits: Limits,
    handshake_timeout: Duration,
    busy_poll: Duration,
    stopping: AtomicBool,
    metrics: ServerMetrics,
}

/// Serves `config` until a signal ends it.
///
/// # Errors
/// It could not start, or it could not stop cleanly; then the text says what may be lost.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let service = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SERVICE_THREADS)
        .thread_name("nbdgate-service")
        .enable_all()
        .build()
        .context("cannot start the service runtime")?;
    let outcome = serve(config, &service);
    // Blocking tasks that hang on a dead device must not keep the process from ending. Those of a clean stop are snapshots
    // being closed, which the process must not end under: RocksDB aborts then.
    service.shutdown_timeout(if outcome.is_ok() { SNAPSHOTS_CLOSING } else { Duration::ZERO });
    outcome
}

fn serve(config: &Config, service: &Runtime) -> anyhow::Result<()> {
    let mut signals = service.block_on(async { Signals::install() })?;
    let choice = match config.io_engine {
        IoEngine::Auto => nbdgate_io::EngineChoice::Auto,
        IoEngine::Uring => nbdgate_io::EngineChoice::Uring,
        IoEngine::Epoll => nbdgate_io::EngineChoice::Epoll,
    };
    let engine = choice.resolve().context(
        "io_uring was asked for by name and is not allowed here (containers' default seccomp profiles forbid it): \
         use --io-engine auto or epoll",
    )?;
    let server = service.block_on(async { MetricsServer::start(config.metrics) })?;
    // Bound before anything is opened, for to open a disk in an object store is to take it from who serves it now.
    let bound = config.listen.iter().map(listen::bind).collect::<anyhow::Result<Vec<_>>>()?;
    let total = u32::try_from(config.limits.memory).unwrap_or(u32::MAX);
    let total_budget = Budget::new(total);
    let exports = service.block_on(open::exports(config, total, server.metrics()))?;
    let threads = config.io_threads.or_else(|| std::thread::available_parallelism().ok());
    let threads = threads.map_or(1, std::num::NonZero::get);
    let shared = Arc::new(Shared {
        exports,
        limits: Limits { total: total_budget, connection: CONNECTION_COST },
        handshake_timeout: config.limits.handshake_timeout,
        busy_poll: config.busy_poll,
        stopping: AtomicBool::new(false),
        metrics: ServerMetrics::new(),
    });
    shared.metrics.set_io_threads(engine_name(engine), u32::try_from(threads).unwrap_or(u32::MAX));
    let started = start(config, bound, service, engine, threads, &shared);
    let (io_threads, listeners) = match started {
        Ok(started) => started,
        Err(error) => {
            let _closed = stop::close_exports(&shared.exports, Instant::now() + config.shutdown_timeout);
            return Err(error);
        }
    };
    server.ready();
    tracing::info!(%engine, threads, exports = shared.exports.iter().count(), "serving");
    service.block_on(signals.first());
    tracing::info!("stopping: requests in flight are finished, exports flushed; a second signal ends at once");
    server.stopping();
    let stop = Stop { deadline: Instant::now() + config.shutdown_timeout, signals };
    stop.run(service, &shared, listeners, io_threads)
}

/// As a label.
const fn engine_name(engine: nbdgate_io::Engine) -> &'static str {
    match engine {
        nbdgate_io::Engine::Uring => "uring",
        nbdgate_io::Engine::Epoll => "epoll",
    }
}

fn start(
    config: &Config,
    bound: Vec<Bound>,
    service: &Runtime,
    engine: nbdgate_io::Engine,
    threads: usize,
    shared: &Arc<Shared>,
) -> anyhow::Result<(Arc<IoThreads>, Vec<Listener>)> {
    let io_threads = Arc::new(IoThreads::start(engine, threads, shared)?);
    let slots = config.limits.connections.get();
    let accept = listen::Accept::new(shared.clone(), io_threads.clone(), slots);
    let listeners = bound
        .into_iter()
        .map(|socket| {
            tracing::info!(address = %socket, "listening");
            Listener::start(service, socket, accept.clone())
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok((io_threads, listeners))
}
