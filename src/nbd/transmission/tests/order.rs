//! Order and durability.

use std::sync::Arc;

use nbdgate_api::{Backend, Capabilities, Kind, Op};
use nbdgate_layers::{Action, Fault, Limit, Limits, Record, Rule, Survivors, Volatile};
use nbdgate_memory::Memory;

use super::{Server, client::*, pattern};

fn memory() -> Arc<dyn Backend> {
    Arc::new(Memory::new(1 << 20).unwrap())
}

fn without(take: impl Fn(&mut Capabilities)) -> Arc<Limit> {
    let mut capabilities = Capabilities::ALL;
    take(&mut capabilities);
    Arc::new(Limit::new(memory(), Limits { capabilities, ..Limits::default() }).unwrap())
}

fn read(backend: &dyn Backend, offset: u64, length: u64) -> Vec<u8> {
    nbdgate_api::wait::read(backend, nbdgate_api::ByteRange::new(offset, length).unwrap()).unwrap()
}

#[test]
fn flush_covers_writes_answered_on_any_connection() {
    let disk = Arc::new(Volatile::new(memory()).unwrap());
    let server = Server::new(disk.clone());
    let (mut one, mut other) = (server.connect(Style::Simple), server.connect(Style::Extended));
    one.write(0, pattern(1, 8192));
    assert_eq!(other.call(Request::flush()).error(), 0);
    one.write(8192, pattern(2, 8192));
    let left = disk.crash(Survivors::None).unwrap();
    assert_eq!(read(&*left, 0, 8192), pattern(1, 8192));
    assert_eq!(read(&*left, 8192, 8192), vec![0; 8192], "the layer does lose what was not flushed");
}

#[test]
fn fua_is_durable_before_its_reply() {
    // By the backend itself, and by a flush above one that has no FUA.
    for fua in [true, false] {
        let disk = Arc::new(Volatile::new(memory()).unwrap());
        let capabilities = Capabilities { fua, ..Capabilities::ALL };
        let limited = Arc::new(Limit::new(disk.clone(), Limits { capabilities, ..Limits::default() }).unwrap());
        let mut client = Server::new(limited.clone()).connect(Style::Structured);
        client.write(4096, pattern(2, 1024));
        assert_eq!(client.call(Request::write(0, pattern(1, 1024)).flags(FUA)).error(), 0);
        assert_eq!(client.call(Request::new(WRITE_ZEROES, 4096, 512).flags(FUA)).error(), 0);
        assert_eq!(client.call(Request::new(TRIM, 512, 512).flags(FUA)).error(), 0);
        assert_eq!(limited.violations(), 0);
        let left = disk.crash(Survivors::None).unwrap();
        assert_eq!(read(&*left, 0, 512), pattern(1, 1024)[..512]);
        assert_eq!(read(&*left, 512, 512), [0; 512]);
        assert_eq!(read(&*left, 4096, 512), [0; 512]);
    }
}

#[test]
fn write_zeroes_reads_back_as_zeros() {
    for disk in [without(|_| ()), without(|has| has.write_zeroes = false)] {
        let mut client = Server::new(disk.clone()).connect(Style::Simple);
        for flags in [0, NO_HOLE, FUA] {
            client.write(0, pattern(1, 1 << 20));
            assert_eq!(client.call(Request::new(WRITE_ZEROES, 1000, 700_000).flags(flags)).error(), 0);
            let mut expected = pattern(1, 1 << 20);
            expected[1000..701_000].fill(0);
            assert!(client.read(0, 1 << 20) == expected);
        }
        assert_eq!(disk.violations(), 0);
    }
}

#[test]
fn fast_zero_is_fast_or_enotsup_and_changes_nothing() {
    let slow = [without(|has| has.write_zeroes = false), without(|has| has.fast_zero = false)];
    for (disk, error) in [(without(|_| ()), 0), (slow[0].clone(), ENOTSUP), (slow[1].clone(), ENOTSUP)] {
        let record = Arc::new(Record::new(disk));
        let mut client = Server::new(record.clone()).connect(Style::Extended);
        client.write(0, pattern(1, 4096));
        record.clear();
        assert_eq!(client.call(Request::new(WRITE_ZEROES, 0, 4096).flags(FAST_ZERO)).error(), error);
        assert_eq!(record.count(|request| matches!(request.op, Op::Write { .. })), 0, "writing is not fast");
        let expected = if error == 0 { vec![0; 4096] } else { pattern(1, 4096) };
        assert_eq!(client.read(0, 4096), expected);
    }
}

#[test]
fn cache_changes_no_bytes() {
    for disk in [without(|_| ()), without(|has| has.cache = false)] {
        let mut client = Server::new(disk.clone()).connect(Style::Structured);
        client.write(0, pattern(1, 4096));
        assert_eq!(client.call(Request::new(CACHE, 0, 1 << 20)).error(), 0);
        assert_eq!(client.read(0, 4096), pattern(1, 4096));
        assert_eq!(disk.violations(), 0);
    }
}

#[test]
fn after_a_failed_flush_nothing_is_promised_any_more_and_reads_go_on() {
    for style in STYLES {
        let fault = Fault::new(memory(), 1);
        fault.add(Rule::new(Action::Fail(Kind::Io), |op| matches!(op, Op::Flush)));
        let server = Server::new(Arc::new(fault));
        let (mut client, mut other) = (server.connect(style), server.connect(Style::Simple));
        client.write(0, pattern(1, 512));
        assert_eq!(client.call(Request::flush()).error(), EIO);
        let requests = [
            Request::flush(),
            Request::write(0, [9; 512]),
            Request::write(0, [9; 512]).flags(FUA),
            Request::new(TRIM, 0, 512),
            Request::new(WRITE_ZEROES, 0, 512),
        ];
        for request in requests {
            assert_eq!(client.call(request.clone()).error(), EIO, "{request:?}");
            assert_eq!(other.call(request).error(), EIO, "on the other connection");
        }
        assert_eq!(client.read(0, 512), pattern(1, 512));
        assert_eq!(client.call(Request::new(CACHE, 0, 512)).error(), 0);
        assert!(server.export.scheduler().is_latched());
    }
}

#[test]
fn overlapping_writes_take_effect_in_the_order_of_their_coming() {
    let fault = Arc::new(Fault::new(memory(), 3));
    fault.add(Rule::new(Action::HoldFor(4), |op| matches!(op, Op::Write { .. })).always());
    let mut client = Server::new(fault.clone()).connect(Style::Simple);
    let cookies: Vec<u64> = (0..40_u8).map(|i| client.send(Request::write(u64::from(i) * 100, [i; 512]))).collect();
    for cookie in cookies {
        while client.unanswered() > 0 && !client.has(cookie) {
            fault.release();
            std::thread::yield_now();
            client.take_what_is_there();
        }
        assert_eq!(client.answer(cookie).error(), 0);
    }
    let bytes = client.read(0, 4412);
    for (at, byte) in bytes.iter().enumerate() {
        let newest = (at / 100).min(39);
        assert_eq!(usize::from(*byte), newest, "at {at}");
    }
}
