//! The end of a gateway: signals, the order of things, the deadline.

use std::{
    sync::{Arc, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use super::{Shared, listen::Listener, threads::IoThreads};
use crate::export::Registry;

/// How often the end of the I/O threads is looked for.
const POLL: Duration = Duration::from_millis(5);

/// SIGTERM and SIGINT. And SIGXFSZ, which is caught so that a write past the limit on file sizes is an error for its
/// client and not the end of the gateway.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    _file_size: Signal,
}

impl Signals {
    /// From here on these signals no longer end the process by themselves.
    pub(super) fn install() -> anyhow::Result<Self> {
        let install = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
            _file_size: install(SignalKind::from_raw(libc::SIGXFSZ))?,
        })
    }

    /// Waits for the next of them.
    pub(super) async fn first(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A stop in progress.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) deadline: Instant,
    pub(super) signals: Signals,
}

impl Stop {
    /// Stops accepting, lets connections finish, closes every export.
    pub(super) fn run(
        mut self,
        service: &Runtime,
        shared: &Arc<Shared>,
        listeners: Vec<Listener>,
        threads: Arc<IoThreads>,
    ) -> anyhow::Result<()> {
        shared.stopping.store(true, Ordering::Release);
        service.block_on(async {
            for listener in listeners {
                listener.stop().await;
            }
        });
        threads.stop();
        service.block_on(async {
            while !threads.is_finished() {
                tokio::select! {
                    () = tokio::time::sleep(POLL) => {}
                    () = tokio::time::sleep_until(self.deadline.into()) => bail!(
                        "connections did not finish before the shutdown timeout; unflushed writes may be lost"
                    ),
                    () = self.signals.first() => bail!("ended by a second signal; unflushed writes may be lost"),
                }
            }
            Ok(())
        })?;
        drop(threads);
        let exports = shared.clone();
        let deadline = self.deadline;
        let closing = service.spawn_blocking(move || close_exports(&exports.exports, deadline));
        service.block_on(async {
            tokio::select! {
                closed = closing => closed.context("closing the exports panicked")?,
                () = self.signals.first() => bail!("ended by a second signal; unflushed writes may be lost"),
            }
        })?;
        tracing::info!("stopped cleanly");
        Ok(())
    }
}

/// Closes every export side by side; the failures of all of them, and those that are not done by the deadline.
pub(super) fn close_exports(exports: &Registry, deadline: Instant) -> anyhow::Result<()> {
    let (sender, receiver) = mpsc::channel();
    let mut open = Vec::new();
    for export in exports.iter() {
        let (backend, name, sender) = (export.backend().clone(), export.name().clone(), sender.clone());
        open.push(name.clone());
        std::thread::Builder::new()
            .name("nbdgate-close".to_owned())
            .spawn(move || {
                let closed = backend.close();
                // Let go of before anybody is told, or the process may end while this thread takes the backend apart.
                drop(backend);
                let _nobody_waits = sender.send((name, closed));
            })
            .context("cannot start a thread to close an export")?;
    }
    let mut failures = Vec::new();
    while !open.is_empty() {
        let Ok((name, closed)) = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) else {
            failures.extend(open.iter().map(|name| format!("export {:?}: not closed in time", name.as_str())));
            break;
        };
        open.retain(|other| *other != name);
        if let Err(error) = closed {
            failures.push(format!("export {:?}: {}", name.as_str(), error.chain()));
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("unflushed writes may be lost: {}", failures.join("; "))
}
