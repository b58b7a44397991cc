//! A connection is polled when there is something to do, and not otherwise.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::BytesMut;
use nbdgate_api::Op;
use nbdgate_layers::{Action, Fault, Rule};
use nbdgate_memory::Memory;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::{Connection, End, MIB, Server, client::*};

/// Counts how often the connection's task is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A connection that is polled by hand.
struct Driven {
    future: Pin<Box<dyn Future<Output = End>>>,
    client: DuplexStream,
    wakes: Arc<Wakes>,
}

impl Driven {
    /// On a stream of `capacity` bytes either way.
    fn new(server: &Server, capacity: usize) -> Self {
        let (client, far) = tokio::io::duplex(capacity);
        let shape = server.shape(Style::Simple);
        let connection = Connection::new(far, server.export.clone(), shape, BytesMut::new(), &server.limits);
        Self { future: Box::pin(connection.run()), client, wakes: Arc::default() }
    }

    /// Polls once; how often the task was woken since the last poll began.
    fn poll(&mut self) -> (bool, usize) {
        let waker = Waker::from(self.wakes.clone());
        let ended = self.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        (ended, self.wakes.0.swap(0, Ordering::SeqCst))
    }

    fn assert_asleep(&mut self) {
        assert_eq!(self.poll(), (false, 0), "nothing happened, so nothing wakes it");
    }

    fn woken(&self) -> usize {
        self.wakes.0.load(Ordering::SeqCst)
    }

    fn send(&mut self, request: &Request) {
        let bytes = request.bytes(Style::Simple);
        let sent = Pin::new(&mut self.client).poll_write(&mut Context::from_waker(Waker::noop()), &bytes);
        assert!(matches!(sent, Poll::Ready(Ok(count)) if count == bytes.len()));
    }

    /// Bytes that the client can read now.
    fn received(&mut self) -> usize {
        let mut buffer = vec![0; 1 << 20];
        let mut target = ReadBuf::new(&mut buffer);
        let _ = Pin::new(&mut self.client).poll_read(&mut Context::from_waker(Waker::noop()), &mut target);
        target.filled().len()
    }
}

fn holding() -> (Arc<Fault>, Server) {
    let fault = Arc::new(Fault::new(Arc::new(Memory::new(64 << 20).unwrap()), 1));
    fault.add(Rule::new(Action::Hold, |op| matches!(op, Op::Read(_))).always());
    (fault.clone(), Server::bounded(fault, 64 * MIB, 64 * MIB, 33 * MIB))
}

#[test]
fn a_request_served_inline_wakes_nobody() {
    let server = Server::memory(1 << 20);
    let mut driven = Driven::new(&server, 1 << 16);
    driven.assert_asleep();
    for _ in 0..3 {
        driven.send(&Request::new(READ, 0, 512));
        assert_eq!(driven.woken(), 1, "by the socket");
        assert_eq!(driven.poll(), (false, 1), "and by nobody since");
        assert_eq!(driven.received(), 16 + 512);
    }
}

#[test]
fn an_answer_from_elsewhere_wakes_once() {
    let (fault, server) = holding();
    let mut driven = Driven::new(&server, 1 << 16);
    driven.send(&Request::new(READ, 0, 512));
    driven.send(&Request::new(READ, 0, 512));
    driven.poll();
    driven.assert_asleep();
    fault.release_all();
    assert_eq!(driven.woken(), 1, "two answers, four events, one waking");
    driven.poll();
    assert_eq!(driven.received(), 2 * (16 + 512));
    driven.assert_asleep();
}

#[test]
fn a_connection_at_its_limit_sleeps() {
    let (fault, server) = holding();
    let mut driven = Driven::new(&server, 1 << 16);
    for _ in 0..3 {
        driven.send(&Request::new(READ, 0, 32 << 20));
    }
    driven.poll();
    driven.assert_asleep();
    assert_eq!(fault.held().len(), 32, "one request of 32 pieces is in flight, the others wait");
}

#[test]
fn a_connection_whose_client_does_not_read_sleeps() {
    let server = Server::memory(1 << 20);
    let mut driven = Driven::new(&server, 4096);
    for _ in 0..3 {
        driven.send(&Request::new(READ, 0, 65_536));
    }
    driven.poll();
    driven.assert_asleep();
    let mut received = 0;
    while received < 3 * (16 + 65_536) {
        let here = driven.received();
        assert!(here > 0, "{received} bytes came");
        received += here;
        // What is left when it has sent everything needs no more room.
        assert!(driven.woken() > 0 || 3 * (16 + 65_536) - received < 4096, "room wakes it");
        driven.poll();
    }
    driven.assert_asleep();
}

#[test]
fn a_connection_that_waits_for_a_shared_budget_is_woken_by_it() {
    let (fault, server) = holding();
    let (mut one, mut other) = (Driven::new(&server, 1 << 16), Driven::new(&server, 1 << 16));
    one.send(&Request::new(READ, 0, 32 << 20));
    one.poll();
    other.send(&Request::new(READ, 0, 32 << 20));
    other.poll();
    other.assert_asleep();
    assert_eq!(fault.held().len(), 32);
    fault.release_all();
    // The client of the first must read before its permits come back.
    while other.woken() == 0 {
        one.poll();
        assert!(one.received() > 0, "the budget never came back");
    }
    other.poll();
    assert_eq!(fault.held().len(), 32, "now the second is in flight");
}

#[test]
fn a_stop_wakes_a_connection_once_and_a_blocked_one_too() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _timers_for_the_last_wait = runtime.enter();
    let (fault, server) = holding();
    let (client, far) = tokio::io::duplex(1 << 16);
    let connection =
        Connection::new(far, server.export.clone(), server.shape(Style::Simple), BytesMut::new(), &server.limits);
    let queue = connection.queue().clone();
    let mut driven = Driven { future: Box::pin(connection.run()), client, wakes: Arc::default() };
    for _ in 0..3 {
        driven.send(&Request::new(READ, 0, 32 << 20));
    }
    driven.poll();
    driven.assert_asleep();
    queue.stop();
    assert_eq!(driven.woken(), 1);
    driven.poll();
    driven.assert_asleep();
    queue.stop();
    driven.poll();
    driven.assert_asleep();
    fault.release_all();
    driven.poll();
    while driven.received() > 0 {
        assert!(!driven.poll().0, "it waits until the client has seen the end");
    }
    let Driven { mut future, client, .. } = driven;
    drop(client);
    let ended = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ended, Poll::Ready(End::Stopped)));
    drop(future);
    server.assert_all_given_back();
}
