//! One client on an I/O thread: handshake, a move to the export's thread if it has one, transmission.

use std::{
    cell::{Cell, RefCell},
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use nbdgate_io::busy_poll::Working;
use slab::Slab;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::{Shared, threads::Doors};
use crate::{
    metrics::{Handshake, OpenConnection},
    nbd::{
        handshake::{self, Ended, Haggled, Outcome, Terms, TlsPolicy},
        proto::reply::ReplyStyle,
        transmission::{Connection, End, Queue, Socket, Stream},
    },
    status::Style,
};

/// A client on its way to an I/O thread.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) socket: Socket,
    pub(super) peer: String,
    /// Its place among the connections.
    pub(super) place: (OwnedSemaphorePermit, OpenConnection),
    /// What its handshake came to, if that is over.
    pub(super) haggled: Option<Haggled>,
    /// Its place among the handshakes, until that is over.
    pub(super) handshake: Option<OwnedSemaphorePermit>,
}

/// What the connections of one I/O thread share.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) shared: Arc<Shared>,
    pub(super) doors: Doors,
    /// Of this thread.
    pub(super) index: usize,
}

/// The connections of one thread, for the day they are asked to stop.
#[derive(Debug, Default)]
pub(super) struct Live {
    queues: RefCell<Slab<Arc<Queue>>>,
    stopping: Cell<bool>,
    stop: Notify,
}

impl Live {
    /// Ends handshakes, and asks connections in transmission to finish what is in flight.
    pub(super) fn stop(&self) {
        self.stopping.set(true);
        self.stop.notify_waiters();
        for (_, queue) in self.queues.borrow().iter() {
            queue.stop();
        }
    }

    fn enter(self: &Rc<Self>, queue: Arc<Queue>) -> Entry {
        if self.stopping.get() {
            queue.stop();
        }
        Entry { live: self.clone(), key: self.queues.borrow_mut().insert(queue) }
    }
}

/// A connection's entry among the live ones.
struct Entry {
    live: Rc<Live>,
    key: usize,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.live.queues.borrow_mut().remove(self.key);
    }
}

/// Serves one client to its end.
pub(super) async fn connection(arrival: Arrival, local: Rc<Local>, live: Rc<Live>) {
    let Arrival { socket, peer, place, haggled, handshake } = arrival;
    let mut stream = match Stream::attach(socket) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, peer, "cannot take a connection"),
    };
    let haggled = match haggled {
        Some(haggled) => haggled,
        None => match haggle(&mut stream, &local, &live, &peer).await {
            Some(haggled) => haggled,
            None => return,
        },
    };
    drop(handshake);
    match local.doors.home(&haggled.export) {
        Some(home) if home != local.index => match stream.detach() {
            Ok(socket) => {
                let moved = Arrival { socket, peer, place, haggled: Some(haggled), handshake: None };
                local.doors.hand_over(home, moved);
            }
            Err(error) => tracing::warn!(%error, peer, "cannot move a connection to its thread"),
        },
        _ => {
            transmit(stream, haggled, &local, &live, &peer).await;
            drop(place);
        }
    }
}

async fn haggle(stream: &mut Stream, local: &Local, live: &Live, peer: &str) -> Option<Haggled> {
    let shared = &local.shared;
    let terms = Terms { exports: &shared.exports, tls: TlsPolicy::Off, stopping: &shared.stopping };
    let started = Instant::now();
    let stopped = live.stop.notified();
    if live.stopping.get() {
        return None;
    }
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(shared.handshake_timeout, handshake::haggle(stream, terms)) => outcome,
        () = stopped => return None,
    };
    let told = match outcome {
        Ok(Outcome::Transmission(haggled)) => {
            shared.metrics.handshake_ended(Handshake::Transmission, started.elapsed());
            return Some(haggled);
        }
        Ok(Outcome::StartTls(_)) => unreachable!("TLS is off and never acknowledged"),
        Ok(Outcome::Ended(ended @ (Ended::Aborted | Ended::Closed))) => {
            shared.metrics.handshake_ended(Handshake::Aborted, started.elapsed());
            tracing::debug!(peer, reason = %ended, "handshake ended");
            return None;
        }
        Ok(Outcome::Ended(ended)) => {
            shared.metrics.handshake_ended(Handshake::Failed, started.elapsed());
            ended.to_string()
        }
        Err(_elapsed) => {
            shared.metrics.handshake_ended(Handshake::Timeout, started.elapsed());
            format!("client did not finish within {:?}", shared.handshake_timeout)
        }
    };
    tracing::info!(peer, reason = told, "handshake failed");
    None
}

/// As the status page calls it.
const fn style(style: ReplyStyle) -> Style {
    match style {
        ReplyStyle::Simple => Style::Simple,
        ReplyStyle::Structured => Style::Structured,
        ReplyStyle::Extended => Style::Extended,
    }
}

async fn transmit(stream: Stream, haggled: Haggled, local: &Local, live: &Rc<Live>, peer: &str) {
    let export = haggled.export.clone();
    tracing::info!(peer, export = %export.name(), style = ?haggled.style, "client connected");
    let _listed = local.shared.status.clients().enter(peer, export.name(), style(haggled.style));
    let shape = haggled.shape();
    let connection = Connection::new(stream, haggled.export, shape, haggled.leftover, &local.shared.limits)
        .with_bitmaps(haggled.bitmaps);
    let _entry = live.enter(connection.queue().clone());
    match Working(pin!(connection.run())).await {
        End::Disconnect | End::Closed | End::Stopped => {
            tracing::info!(peer, export = %export.name(), "client disconnected");
        }
        End::Protocol(text) => {
            tracing::warn!(peer, export = %export.name(), reason = text, "client broke the protocol");
        }
        End::Io(error) => tracing::info!(peer, export = %export.name(), %error, "connection lost"),
    }
}
