//! The I/O threads, and how sockets reach them.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::Context;
use nbdgate_api::Home;
use nbdgate_io::{Engine, busy_poll};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{
    Shared,
    serve::{Arrival, Local},
};
use crate::{export::Export, metrics::Pulse};

/// A fixed set of threads, each with its own runtime.
#[derive(Debug)]
pub(super) struct IoThreads {
    /// Bounded by the limit on connections, one arrival each.
    doors: Vec<UnboundedSender<ToThread>>,
    handles: Mutex<Vec<JoinHandle<()>>>,
    next: AtomicUsize,
}

#[derive(Debug)]
enum ToThread {
    Serve(Arrival),
    Stop,
}

impl IoThreads {
    /// Starts `count` threads.
    pub(super) fn start(engine: Engine, count: usize, shared: &Arc<Shared>) -> anyhow::Result<Self> {
        let (doors, rooms): (Vec<_>, Vec<_>) = (0..count).map(|_| unbounded_channel()).unzip();
        let mut handles = Vec::with_capacity(count);
        for (index, room) in rooms.into_iter().enumerate() {
            let local = Local { shared: shared.clone(), doors: Doors(doors.clone()), index };
            let pulse = shared.heartbeat.pulse(format!("nbdgate-io-{index}"));
            let handle = std::thread::Builder::new()
                .name(format!("nbdgate-io-{index}"))
                .spawn(move || {
                    if let Err(error) = engine.run(thread(room, local, pulse)) {
                        tracing::error!(%error, index, "an I/O thread could not start; its connections are refused");
                    }
                })
                .context("cannot start an I/O thread")?;
            handles.push(handle);
        }
        Ok(Self { doors, handles: Mutex::new(handles), next: AtomicUsize::new(0) })
    }

    /// Hands a new socket to the next thread in turn.
    pub(super) fn serve(&self, arrival: Arrival) {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.doors.len();
        // A thread that is gone drops the socket, which is all that can be done for it.
        let _gone = self.doors[index].send(ToThread::Serve(arrival));
    }

    /// Asks every thread to finish its connections and end.
    pub(super) fn stop(&self) {
        for door in &self.doors {
            let _gone = door.send(ToThread::Stop);
        }
    }

    /// Whether all threads have ended.
    pub(super) fn is_finished(&self) -> bool {
        self.handles.lock().iter().all(JoinHandle::is_finished)
    }
}

/// Where an I/O thread hands connections on to its siblings.
#[derive(Clone, Debug)]
pub(super) struct Doors(Vec<UnboundedSender<ToThread>>);

impl Doors {
    /// The thread where connections of `export` live, if it prefers one.
    pub(super) fn home(&self, export: &Export) -> Option<usize> {
        match export.info().home {
            Home::Spread => None,
            Home::OneThread => {
                let name = export.name().as_str().bytes();
                let hash = name.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
                });
                usize::try_from(hash % self.0.len() as u64).ok()
            }
        }
    }

    /// Hands a connection to thread `index`.
    pub(super) fn hand_over(&self, index: usize, arrival: Arrival) {
        let _gone = self.0[index].send(ToThread::Serve(arrival));
    }
}

async fn thread(mut room: UnboundedReceiver<ToThread>, local: Local, pulse: Pulse) {
    let local = Rc::new(local);
    let limit = local.shared.busy_poll;
    let mut tasks = tokio::task::JoinSet::new();
    let stop = Rc::new(super::serve::Live::default());
    pulse.excuse(nbdgate_io::waiting::of_this_thread());
    tokio::task::spawn_local(pulse.clone().run());
    if !limit.is_zero() {
        tokio::task::spawn_local(busy_poll::run(limit));
    }
    loop {
        tokio::select! {
            biased;
            message = room.recv() => match message {
                Some(ToThread::Serve(arrival)) => {
                    tasks.spawn_local(super::serve::connection(arrival, local.clone(), stop.clone()));
                }
                Some(ToThread::Stop) | None => break,
            },
            Some(ended) = tasks.join_next() => log_panic(ended),
        }
    }
    stop.stop();
    while let Some(ended) = tasks.join_next().await {
        log_panic(ended);
    }
    pulse.retire();
}

/// A panic in one connection must not take the others with it; it is a bug all the same.
fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection ended by a panic");
    }
}
