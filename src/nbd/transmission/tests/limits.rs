//! Memory is bounded, whatever a client does.

use std::{
    io::{ErrorKind, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nbdgate_api::{ByteRange, Extent, ExtentKind, Op};
use nbdgate_layers::{Action, Fault, Limit, Limits, Record, Rule};
use nbdgate_memory::Memory;

use super::{End, MIB, Scripted, Server, client::*, until};

/// Bytes that two sockets' buffers may hold, generously.
const SOCKETS: u64 = 2 << 20;

/// Sends `bytes` again and again until the server takes no more; the bytes taken. Never more than 256 MiB.
fn flood(client: &Client, bytes: &[u8]) -> u64 {
    client.socket().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let block = bytes.repeat(1 + 65_536 / bytes.len());
    let mut taken = 0;
    let mut rest: &[u8] = &[];
    while taken < 256 << 20 {
        if rest.is_empty() {
            rest = &block;
        }
        match client.socket().write(rest) {
            Ok(count) => {
                taken += count as u64;
                rest = &rest[count..];
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                break;
            }
        }
    }
    taken
}

#[test]
fn a_full_budget_makes_requests_wait() {
    let fault = Arc::new(Fault::new(Arc::new(Memory::new(1 << 20).unwrap()), 1));
    fault.add(Rule::new(Action::Hold, |op| matches!(op, Op::Read(_))));
    let record = Arc::new(Record::new(fault.clone()));
    let limits = Limits { maximum_payload: 65_536, ..Limits::default() };
    let disk = Arc::new(Limit::new(record.clone(), limits).unwrap());
    // One read of the maximum payload and nothing beside it.
    let server = Server::bounded(disk, 65_536 + 512, MIB, MIB);
    let (mut one, mut other) = (server.connect(Style::Simple), server.connect(Style::Simple));
    let read = one.send(Request::new(READ, 0, 65_536));
    until("the read is held", || fault.held().len() == 1);
    assert_eq!(server.export.budget().available(), 0);
    let write = other.send(Request::write(0, [1; 512]));
    let second = one.send(Request::new(READ, 0, 512));
    assert!(fault.release());
    assert_eq!(other.answer(write).error(), 0, "waiting is no error");
    assert_eq!(one.answer(read).error(), 0);
    assert_eq!(one.answer(second).error(), 0);
    let log = record.requests();
    assert_eq!(log.len(), 3);
    // The other client had nothing in flight, so its short write may pass beside the budget; the second read may not.
    let second = log.iter().find(|request| matches!(request.op, Op::Read(range) if range.length() == 512));
    assert!(log[0].ended_before(second.expect("it was answered")), "a read began while the budget was full");
    assert!(matches!((one.close(), other.close()), (End::Closed, End::Closed)));
    server.assert_all_given_back();
}

#[test]
fn a_client_that_never_reads_holds_no_more_than_its_limit_and_nobody_up() {
    for style in STYLES {
        let record = Arc::new(Record::new(Arc::new(Memory::new(64 << 20).unwrap())));
        let server = Server::bounded(record.clone(), 128 * MIB, 128 * MIB, 40 * MIB);
        let mut greedy = server.connect(style);
        greedy.read(0, 512);
        nbdgate_api::wait::write(&*record, 0, vec![1; 32 << 20]).unwrap();
        record.clear();
        flood(&greedy, &Request::new(READ, 0, 32 << 20).cookie(5).bytes(style));
        let asked: u64 = record.requests().iter().filter_map(|request| request.op.range()).map(ByteRange::length).sum();
        assert!(asked <= (40 << 20) + SOCKETS, "{asked} bytes were read for a client that takes none");
        let mut other = server.connect(style);
        assert_eq!(other.read(0, 1 << 20), vec![1; 1 << 20]);
        other.write(33 << 20, [2; 4096]);
        assert!(matches!(greedy.close(), End::Io(_) | End::Closed | End::Protocol(_)));
        assert!(matches!(other.close(), End::Closed));
        server.assert_all_given_back();
    }
}

#[test]
fn a_flood_of_invalid_requests_is_bounded() {
    for style in STYLES {
        let server = Server::bounded(Arc::new(Memory::new(1 << 20).unwrap()), 64 * MIB, 64 * MIB, 33 * MIB);
        let greedy = server.connect(style);
        let taken = flood(&greedy, &Request::new(999, 0, 1).bytes(style));
        // As many requests as the limit pays for, and what the sockets and the input buffer hold.
        let most = (33 << 20) / 512 * 32 + 4 * SOCKETS;
        assert!(taken <= most, "{taken} bytes of invalid requests were taken");
        let mut other = server.connect(style);
        assert_eq!(other.read(0, 512), [0; 512]);
        assert!(matches!(other.close(), End::Closed));
        assert!(matches!(greedy.close(), End::Io(_) | End::Closed | End::Protocol(_)));
        server.assert_all_given_back();
    }
}

#[test]
fn block_status_replies_that_nobody_reads_are_bounded() {
    let count = Arc::new(AtomicU64::new(0));
    let counter = count.clone();
    // 4096 descriptors each: 64 KiB for a request of 32 bytes.
    let backend = Scripted::new(1 << 30, move |io| {
        counter.fetch_add(1, Ordering::SeqCst);
        let extent = |i: u64| Extent {
            range: ByteRange::new(i * 4096, 4096).unwrap(),
            kind: if i.is_multiple_of(2) { ExtentKind::Data } else { ExtentKind::Hole },
        };
        io.reply.extents((0..4096).map(extent).collect());
        io.reply.end(Ok(()));
    });
    let server = Server::bounded(backend, 64 * MIB, 64 * MIB, 33 * MIB);
    let greedy = server.connect(Style::Extended);
    flood(&greedy, &Request::new(BLOCK_STATUS, 0, 1 << 30).bytes(Style::Extended));
    let bytes = count.load(Ordering::SeqCst) * (64 << 10);
    assert!(bytes <= (33 << 20) + SOCKETS, "{bytes} bytes of descriptors for a client that takes none");
    assert!(matches!(greedy.close(), End::Io(_) | End::Closed | End::Protocol(_)));
    server.assert_all_given_back();
}

#[test]
fn what_a_busy_connection_once_needed_is_not_kept_from_others() {
    let fault = Arc::new(Fault::new(Arc::new(Memory::new(16 << 20).unwrap()), 1));
    let limits = Limits { maximum_payload: 4 << 20, ..Limits::default() };
    let disk = Arc::new(Limit::new(fault.clone(), limits).unwrap());
    let server = Server::bounded(disk, 5 * MIB, 5 * MIB, 5 * MIB);
    let (mut busy, mut other) = (server.connect(Style::Simple), server.connect(Style::Simple));
    // Four megabytes at once, and from then on always a small read in flight.
    busy.read(0, 4 << 20);
    fault.add(Rule::new(Action::Hold, |op| matches!(op, Op::Read(range) if range.length() == 512)).always());
    let first = busy.send(Request::new(READ, 0, 512));
    until("a small read is held", || fault.held().len() == 1);
    let large = busy.send(Request::new(READ, 0, 4 << 20));
    assert_eq!(busy.answer(large).content().len(), 4 << 20);
    assert_eq!(other.read(0, 4 << 20).len(), 4 << 20);
    fault.release_all();
    assert_eq!(busy.answer(first).error(), 0);
}
