//! How a connection ends while requests are in flight.

use std::{net::Shutdown, sync::Arc};

use nbdgate_api::{Backend, Op};
use nbdgate_layers::{Action, Fault, Rule};
use nbdgate_memory::Memory;

use super::{End, Server, client::*, until};

/// A disk whose reads wait for the test.
fn holding() -> (Arc<Fault>, Server) {
    let fault = Arc::new(Fault::new(Arc::new(Memory::new(1 << 20).unwrap()), 1));
    fault.add(Rule::new(Action::Hold, |op| matches!(op, Op::Read(_))).always());
    (fault.clone(), Server::new(fault))
}

/// Ends a connection with three reads in flight by `end`; all of them are answered.
fn answered_before(end: impl Fn(&mut Client), expected: impl Fn(&End) -> bool) {
    for style in STYLES {
        let (fault, server) = holding();
        let mut client = server.connect(style);
        let cookies: Vec<u64> = (0..3).map(|i| client.send(Request::new(READ, i * 4096, 4096))).collect();
        until("three reads are held", || fault.held().len() == 3);
        end(&mut client);
        fault.release_all();
        for cookie in cookies {
            assert_eq!(client.answer(cookie).content(), vec![0; 4096]);
        }
        let end = client.end();
        assert!(expected(&end), "{end:?}");
        server.assert_all_given_back();
    }
}

#[test]
fn disc_finishes_what_is_in_flight_and_has_no_reply() {
    answered_before(
        |client| {
            let style = client.style;
            client.send_bytes(&Request::new(DISC, 0, 0).cookie(9).bytes(style));
            // Behind a DISC nothing counts.
            client.send_bytes(&Request::new(READ, 0, 512).cookie(10).bytes(style));
        },
        |end| matches!(end, End::Disconnect),
    );
}

#[test]
fn a_stop_answers_what_is_in_flight() {
    answered_before(|client| client.queue().stop(), |end| matches!(end, End::Stopped));
}

#[test]
fn a_half_closed_client_gets_what_is_in_flight() {
    answered_before(|client| client.socket().shutdown(Shutdown::Write).unwrap(), |end| matches!(end, End::Closed));
}

#[test]
fn an_idle_connection_stops_at_once() {
    let server = Server::memory(1 << 20);
    let client = server.connect(Style::Simple);
    client.queue().stop();
    assert!(matches!(client.end(), End::Stopped));
}

#[test]
fn a_stop_does_not_wait_for_a_payload_that_has_not_come() {
    for length in [1000, 200_000] {
        let server = Server::memory(1 << 20);
        let mut client = server.connect(Style::Simple);
        client.read(0, 512);
        let bytes = Request::write(0, vec![1; length]).bytes(Style::Simple);
        client.send_bytes(&bytes[..500]);
        client.queue().stop();
        assert!(matches!(client.end(), End::Stopped));
        server.assert_all_given_back();
        assert_eq!(server.connect(Style::Simple).read(0, 512), [0; 512]);
    }
}

#[test]
fn a_client_that_vanishes_is_waited_for_until_its_requests_have_ended() {
    let (fault, server) = holding();
    let mut client = server.connect(Style::Structured);
    for _ in 0..3 {
        client.send(Request::new(READ, 0, 4096));
    }
    until("three reads are held", || fault.held().len() == 3);
    client.socket().shutdown(Shutdown::Both).unwrap();
    assert_ne!(server.export.budget().available(), server.export.budget().limit());
    fault.release_all();
    assert!(matches!(client.why(), End::Closed | End::Io(_)));
    server.assert_all_given_back();
}

#[test]
fn a_closed_backend_is_eshutdown() {
    let disk = Arc::new(Memory::new(1 << 20).unwrap());
    let mut client = Server::new(disk.clone()).connect(Style::Extended);
    client.write(0, [1; 512]);
    disk.close().unwrap();
    assert_eq!(client.call(Request::new(READ, 0, 512)).error(), ESHUTDOWN);
    assert_eq!(client.call(Request::write(0, [1; 512])).error(), ESHUTDOWN);
}

#[test]
fn a_connection_that_is_dropped_gives_its_permits_back_and_late_answers_harm_nobody() {
    let (fault, server) = holding();
    let (mut near, far) = tokio::io::duplex(1 << 16);
    let shape = server.shape(Style::Simple);
    let connection = super::Connection::new(far, server.export.clone(), shape, bytes::BytesMut::new(), &server.limits);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        use tokio::io::AsyncWriteExt;
        let running = tokio::task::LocalSet::new();
        let task = running.spawn_local(connection.run());
        running
            .run_until(async {
                near.write_all(&Request::new(READ, 0, 4096).cookie(1).bytes(Style::Simple)).await.unwrap();
                while fault.held().is_empty() {
                    tokio::task::yield_now().await;
                }
                task.abort();
                assert!(task.await.unwrap_err().is_cancelled());
            })
            .await;
    });
    server.assert_all_given_back();
    fault.release_all();
    fault.clear();
    assert_eq!(server.connect(Style::Simple).read(0, 512), [0; 512]);
}
