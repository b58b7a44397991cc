//! What a gateway leaves behind for the next one: everything after a stop, what was flushed after a crash.

use std::{
    io,
    os::unix::net::UnixStream,
    sync::mpsc::{Sender, channel},
};

use crate::{
    client::{Client, stamped},
    gateway::TRANSPORTS,
    image::Image,
    process::{args, run},
    setup::{Engine, Setup, Storage},
};

on_every_lasting_setup! {
    a_stop_keeps_every_write_and_hole,
    flushed_writes_survive_crashes,
}

/// A gateway on the host of the last one may take a disk over, as after a crash that left it hanging.
#[test]
#[cfg(feature = "object-log")]
fn a_gateway_whose_disk_was_taken_over_acknowledges_nothing_more() {
    let setup = Setup::new(Storage::ObjectLog, Engine::Epoll, 1 << 20);
    let first = setup.serve();
    let mut client = Client::enter(first.connect()).expect("served");
    client.write(0, &stamped(1, BLOCK)).expect("written");
    client.flush().expect("flushed");
    let second = tempfile::tempdir().expect("a folder for its socket");
    let export = format!("--export=={},on-unclean=serve", setup.uri());
    let second = crate::gateway::Gateway::start(second.path(), &[&export]);
    let mut other = Client::enter(second.connect()).expect("served");
    assert_eq!(other.read(0, BLOCK).expect("readable"), stamped(1, BLOCK));
    other.write(0, &stamped(2, BLOCK)).expect("written");
    other.flush().expect("flushed");
    // It may take a write, but must not say that it is durable.
    let _accepted = client.write(0, &stamped(3, BLOCK));
    client.flush().expect_err("it was fenced");
    assert_eq!(other.read(0, BLOCK).expect("readable"), stamped(2, BLOCK));
    second.stop();
    first.crash();
    let third = setup.serve_after_crash();
    let mut client = Client::enter(third.connect()).expect("served");
    assert_eq!(client.read(0, BLOCK).expect("readable"), stamped(2, BLOCK));
    third.stop();
}

const BLOCK: usize = 4096;
const BLOCKS: u64 = 64;

fn a_stop_keeps_every_write_and_hole(storage: Storage, engine: Engine) {
    let image = Image::patchy();
    let setup = Setup::new(storage, engine, image.size());
    let gateway = setup.serve();
    let mut client = Client::enter(gateway.connect()).expect("served");
    for (offset, length, data) in Image::patchy_extents() {
        if data {
            client.write(offset, image.part(offset, length)).expect("written");
        }
    }
    // Neither a flush nor a goodbye: the stop is to see to it.
    gateway.stop();
    let source = setup.path("source.img");
    image.write_to(&source);
    for _ in 0..2 {
        let gateway = setup.serve();
        for transport in TRANSPORTS {
            let strict = args!["compare", "-s", "-f", "raw", "-F", "raw", source, gateway.uri(transport)];
            run("qemu-img", strict).ok();
        }
        gateway.stop();
    }
}

/// What a client knows of its writes: the number of the last one sent, and of the last one before a flush that was
/// answered.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    sent: u64,
    flushed: u64,
}

fn flushed_writes_survive_crashes(storage: Storage, engine: Engine) {
    let setup = Setup::new(storage, engine, BLOCKS * BLOCK as u64);
    let mut known = Known::default();
    let mut gateway = setup.serve();
    for round in 1..=4 {
        let stream = gateway.connect();
        let (flushes, flushed) = channel();
        let writer = std::thread::spawn(move || write_until_cut(&stream, known, &flushes));
        // The writer goes on while the gateway is killed.
        assert_eq!(flushed.iter().take(15 * round).count(), 15 * round);
        gateway.crash();
        known = writer.join().expect("the writer ended");
        gateway = setup.serve_after_crash();
        let mut client = Client::enter(gateway.connect()).expect("served again");
        let numbers: Vec<u64> = (0..BLOCKS).map(|block| number_in(&mut client, block)).collect();
        for (block, &number) in (0..).zip(&numbers) {
            let due = (1..=known.flushed).rev().find(|number| number % BLOCKS == block).unwrap_or(0);
            assert!(number >= due, "block {block}: write {due} was flushed, {number} is there; {known:?}");
            assert!(number == 0 || (number <= known.sent && number % BLOCKS == block), "block {block}: {number}");
        }
        // What is there now is what the next round builds on.
        client.flush().expect("flushed");
        known.flushed = numbers.iter().copied().max().unwrap_or(0).min(known.flushed);
    }
    gateway.stop();
}

/// Writes numbered blocks, with a flush after every few of them, until the gateway is gone.
fn write_until_cut(stream: &UnixStream, mut known: Known, flushes: &Sender<()>) -> Known {
    let mut go_on = || -> io::Result<()> {
        let mut client = Client::enter(stream.try_clone()?)?;
        loop {
            for _ in 0..=known.sent % 7 {
                known.sent += 1;
                client.write(place_of(known.sent), &stamped(known.sent, BLOCK))?;
            }
            client.flush()?;
            known.flushed = known.sent;
            let _enough_were_counted = flushes.send(());
        }
    };
    go_on().expect_err("it ends with the gateway only");
    known
}

/// Where a numbered write goes.
fn place_of(number: u64) -> u64 {
    number % BLOCKS * BLOCK as u64
}

/// The number in a block, which must fill all of it.
fn number_in(client: &mut Client, block: u64) -> u64 {
    let bytes = client.read(place_of(block), BLOCK).expect("readable");
    let number = u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"));
    assert_eq!(bytes, stamped(number, BLOCK), "block {block} is torn");
    number
}
