//! The composition root: from a configuration to a running gateway, and back to nothing.
//!
//! ```text
//! listeners (service runtime) ──socket──► I/O thread: handshake ──► I/O thread the export prefers: transmission
//! ```
//!
//! Start: every listener is bound, exports are opened, I/O threads start, clients are accepted; a failure undoes what was
//! done. Stop: no more
//! connections, requests in flight finish, every export is flushed and closed; a second signal or the deadline
//! cuts that short, and the exit says so. A signal while exports are opened ends that, and closes those that are open.

mod listen;
mod lookout;
mod notify;
mod open;
mod passed;
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
    lookout::Lookout,
    open::Opened,
    passed::Passed,
    stop::{Signals, Stop},
    threads::IoThreads,
};
use crate::{
    config::{Config, IoEngine},
    export::Registry,
    metrics::{Heartbeat, MetricsServer, ServerMetrics},
    nbd::transmission::Limits,
    scheduler::permits::Budget,
    status::Status,
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
    status: Arc<Status>,
    heartbeat: Heartbeat,
}

/// Serves `config` until a signal ends it.
///
/// # Errors
/// It could not start, or it could not stop cleanly; then the text says what may be lost.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let passed = Passed::from_environment();
    let service = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SERVICE_THREADS)
        .thread_name("nbdgate-service")
        .enable_all()
        .build()
        .context("cannot start the service runtime")?;
    let outcome = serve(config, passed, &service);
    // Blocking tasks that hang on a dead device must not keep the process from ending. Those of a clean stop are snapshots
    // being closed, which the process must not end under: RocksDB aborts then.
    service.shutdown_timeout(if outcome.is_ok() { SNAPSHOTS_CLOSING } else { Duration::ZERO });
    outcome
}

fn serve(config: &Config, passed: Passed, service: &Runtime) -> anyhow::Result<()> {
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
    let status = Arc::new(Status::default());
    let site = config.status_page.then(|| status.site());
    let (heartbeat, notify) = Lookout::prepare()?;
    let server = service.block_on(async { MetricsServer::start(config.metrics, heartbeat.clone(), site) })?;
    service.spawn(heartbeat.pulse("nbdgate-service").run());
    let lookout = Lookout::start(heartbeat, notify, server.metrics().clone())?;
    // Bound before anything is opened, for to open a disk in an object store is to take it from who serves it now.
    let bound = listen::bind_all(config, passed)?;
    let total = u32::try_from(config.limits.memory).unwrap_or(u32::MAX);
    let total_budget = Budget::new(total);
    let exports = match service.block_on(open::exports(config, total, server.metrics(), &status, &mut signals))? {
        Opened::All(exports) => exports,
        Opened::Cut(unfinished) => {
            tracing::info!("stopping before all exports are open; a second signal ends at once");
            return stopping(config, &server, &lookout, signals).before_serving(service, unfinished);
        }
    };
    let threads = config.io_threads.or_else(|| std::thread::available_parallelism().ok());
    let threads = threads.map_or(1, std::num::NonZero::get);
    let shared = Arc::new(Shared {
        exports,
        limits: Limits { total: total_budget, connection: CONNECTION_COST },
        handshake_timeout: config.limits.handshake_timeout,
        busy_poll: config.busy_poll,
        stopping: AtomicBool::new(false),
        metrics: ServerMetrics::new(),
        status,
        heartbeat: lookout.heartbeat().clone(),
    });
    shared.metrics.set_io_threads(engine_name(engine), u32::try_from(threads).unwrap_or(u32::MAX));
    let started = start(config, bound, service, engine, threads, &shared);
    let (io_threads, listeners) = match started {
        Ok(started) => started,
        Err(error) => {
            service.block_on(open::undo(&shared.exports, config, &mut signals));
            return Err(error);
        }
    };
    server.ready();
    lookout.ready(shared.exports.iter().count());
    tracing::info!(%engine, threads, exports = shared.exports.iter().count(), "serving");
    service.block_on(signals.first());
    tracing::info!("stopping: requests in flight are finished, exports flushed; a second signal ends at once");
    stopping(config, &server, &lookout, signals).run(service, &shared, listeners, io_threads)
}

/// From here on the gateway ends, and whoever watches it knows.
fn stopping(config: &Config, server: &MetricsServer, lookout: &Lookout, signals: Signals) -> Stop {
    server.stopping();
    let stop = Stop { deadline: Instant::now() + config.shutdown_timeout, signals };
    lookout.stopping(stop.deadline + SNAPSHOTS_CLOSING);
    stop
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
