//! The end of a gateway, which serves or still opens its exports: signals, the order of things, the deadline.

use std::{
    sync::{Arc, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use nbdgate_api::Backend;
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    task::spawn_blocking,
};

use super::{Shared, listen::Listener, open::Unfinished, threads::IoThreads};
use crate::export::{ExportName, Registry};

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
        let closed = service.block_on(close_unless_signalled(disks(&shared.exports), self.deadline, &mut self.signals));
        closed.context("unflushed writes may be lost")?;
        tracing::info!("stopped cleanly");
        Ok(())
    }
    /// Ends a gateway that opens its exports: closes what is open, and lets what is being opened come to its end and closes
    /// that as well. Nobody was served, so nothing can be lost.
    pub(super) fn before_serving(mut self, service: &Runtime, unfinished: Unfinished) -> anyhow::Result<()> {
        let Unfinished { open, last } = unfinished;
        let ended = async {
            let (closed, last) = tokio::join!(close(disks(&open), self.deadline), last.end(self.deadline));
            let failures = [closed, last].into_iter().filter_map(Result::err);
            let failures = failures.map(|error| format!("{error:#}")).collect::<Vec<_>>();
            if failures.is_empty() { Ok(()) } else { Err(anyhow::anyhow!(failures.join("; "))) }
        };
        service.block_on(async {
            tokio::select! {
                ended = ended => ended.context("stopped before serving, not cleanly"),
                () = self.signals.first() => bail!("ended by a second signal before every export was closed"),
            }
        })?;
        tracing::info!("stopped before serving");
        Ok(())
    }
}

/// Disks that are open, under the names of their exports.
pub(super) type Disks = Vec<(ExportName, Arc<dyn Backend>)>;

/// The disks of all exports.
pub(super) fn disks(exports: &Registry) -> Disks {
    exports.iter().map(|export| (export.name().clone(), export.backend().clone())).collect()
}

/// As [`close`]; a signal cuts it short.
pub(super) async fn close_unless_signalled(
    disks: Disks,
    deadline: Instant,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    tokio::select! {
        closed = close(disks, deadline) => closed,
        () = signals.first() => bail!("ended by a second signal"),
    }
}

/// Closes disks side by side; the failures of all of them, and those that are not done by the deadline.
pub(super) async fn close(disks: Disks, deadline: Instant) -> anyhow::Result<()> {
    spawn_blocking(move || close_on_threads(disks, deadline)).await.context("closing the exports panicked")?
}

fn close_on_threads(disks: Disks, deadline: Instant) -> anyhow::Result<()> {
    let (sender, receiver) = mpsc::channel();
    let mut open = Vec::new();
    for (name, backend) in disks {
        open.push(name.clone());
        let sender = sender.clone();
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
    bail!(failures.join("; "))
}
