//! The longest payloads.

use std::{io::Write, sync::Arc, thread};

use nbdgate_layers::{Limit, Limits};
use nbdgate_memory::Memory;

use super::{End, Server, client::*, pattern};

const MAXIMUM: usize = 32 << 20;

/// Sends from a thread, so that the server's replies cannot block it.
fn send_aside(client: &mut Client, request: Request) -> (u64, thread::JoinHandle<()>) {
    let request = request.cookie(7_000 + client.unanswered() as u64);
    client.expect(&request);
    let (bytes, mut socket) = (request.bytes(client.style), client.socket().try_clone().unwrap());
    (request.cookie, thread::spawn(move || socket.write_all(&bytes).unwrap()))
}

#[test]
fn reads_and_writes_of_32_mib_work_in_every_style() {
    let data = pattern(5, MAXIMUM);
    for style in STYLES {
        let server = Server::memory(MAXIMUM as u64 + 4096);
        let mut client = server.connect(style);
        let (cookie, sent) = send_aside(&mut client, Request::write(77, data.clone()));
        assert_eq!(client.answer(cookie).error(), 0);
        sent.join().unwrap();
        assert!(client.read(77, MAXIMUM as u64) == data);
        assert_eq!(client.read(0, 77), [0; 77]);
        let unaligned = client.read(4096, MAXIMUM as u64);
        assert!(unaligned[..MAXIMUM - 4019] == data[4019..]);
        assert!(matches!(client.close(), End::Closed));
        server.assert_all_given_back();
    }
}

#[test]
fn a_read_over_the_maximum_payload_is_refused() {
    for (style, error) in [(Style::Simple, EINVAL), (Style::Structured, EOVERFLOW), (Style::Extended, EOVERFLOW)] {
        let mut client = Server::memory(64 << 20).connect(style);
        assert_eq!(client.call(Request::new(READ, 0, MAXIMUM as u64 + 1)).error(), error);
    }
}

#[test]
fn a_write_over_the_maximum_payload_is_drained_without_memory_for_it() {
    for style in STYLES {
        let limits = Limits { maximum_payload: 1 << 20, ..Limits::default() };
        let small = Limit::new(Arc::new(Memory::new(64 << 20).unwrap()), limits).unwrap();
        // A budget of 2 MiB: 32 MiB could never be admitted.
        let server = Server::bounded(Arc::new(small), 2 << 20, 2 << 20, 2 << 20);
        let mut client = server.connect(style);
        let (cookie, sent) = send_aside(&mut client, Request::write(0, vec![1; MAXIMUM]));
        assert_eq!(client.answer(cookie).error(), EINVAL);
        sent.join().unwrap();
        assert_eq!(client.read(0, 4096), [0; 4096]);
        client.send_bytes(&Request::new(WRITE, 0, MAXIMUM as u64 + 1).bytes(style));
        assert!(matches!(client.end(), End::Protocol(_)));
        server.assert_all_given_back();
    }
}

#[test]
fn reads_of_64_kib_are_served_whatever_the_maximum_payload() {
    for style in STYLES {
        let limits = Limits { maximum_payload: 4096, ..Limits::default() };
        let small = Arc::new(Limit::new(Arc::new(Memory::new(1 << 20).unwrap()), limits).unwrap());
        let server = Server::bounded(small.clone(), 1 << 20, 1 << 20, 1 << 20);
        let mut client = server.connect(style);
        client.write(60_000, pattern(1, 4096));
        assert_eq!(client.read(0, 65_536)[60_000..64_096], pattern(1, 4096));
        assert_eq!(small.violations(), 0, "a backend is never asked for more than its maximum payload (C2)");
    }
}
