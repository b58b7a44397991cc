//! Random commands in every style, many in flight, against a plain vector.

use std::{io::Write, sync::Arc, thread};

use nbdgate_api::{Backend, Kind};
use nbdgate_layers::{Action, Fault, Rule, Shuffle, Volatile};
use nbdgate_memory::Memory;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{End, Server, answer::Answer, client::*};

const SIZE: usize = 1 << 18;

/// An offset as an index into a vector.
fn index(offset: u64) -> usize {
    offset.try_into().unwrap()
}

/// The disk as it must be, and what each byte may be while a round of requests is in flight.
struct Model {
    bytes: Vec<u8>,
    may_be: Vec<Vec<u8>>,
}

impl Model {
    /// Applies a mutation; mutations that overlap take effect in the order of their coming.
    fn apply(&mut self, request: &Request) {
        let (from, to) = (index(request.offset), index(request.offset + request.length));
        for at in from..to {
            self.bytes[at] = if request.command == WRITE { request.payload[at - from] } else { 0 };
            self.may_be[at].push(self.bytes[at]);
        }
    }

    fn settle(&mut self) {
        self.may_be = self.bytes.iter().map(|byte| vec![*byte]).collect();
    }

    fn check(&self, answer: &Answer) {
        let from = index(answer.request.offset);
        for (at, byte) in answer.content().iter().enumerate() {
            let may_be = &self.may_be[from + at];
            assert!(may_be.contains(byte), "{byte} at {} is none of {may_be:?}", from + at);
        }
    }
}

fn random_request(rng: &mut StdRng, style: Style) -> (Request, u32) {
    let length = if rng.random_bool(0.1) { rng.random_range(1..100_000) } else { rng.random_range(1..3000) };
    let offset = if rng.random() { rng.random_range(0..20_000) } else { rng.random_range(0..SIZE as u64) };
    let fits = offset + length <= SIZE as u64;
    let fua = if rng.random_bool(0.1) { FUA } else { 0 };
    match rng.random_range(0..10) {
        0..=2 => {
            let df = if style != Style::Simple && rng.random_bool(0.2) { DF } else { 0 };
            (Request::new(READ, offset, length).flags(df), if fits { 0 } else { EINVAL })
        }
        3..=5 => {
            let payload = vec![rng.random(); index(length)];
            (Request::write(offset, payload).flags(fua), if fits { 0 } else { ENOSPC })
        }
        6 => (Request::new(WRITE_ZEROES, offset, length).flags(fua), if fits { 0 } else { ENOSPC }),
        7 => (Request::new(TRIM, offset, length).flags(fua), if fits { 0 } else { EINVAL }),
        8 if style != Style::Simple => (Request::new(BLOCK_STATUS, offset, length), if fits { 0 } else { EINVAL }),
        _ => (Request::flush(), 0),
    }
}

/// Sends a stream in pieces of random lengths, down to single bytes.
fn send_cut(client: &Client, bytes: Vec<u8>, seed: u64) -> thread::JoinHandle<()> {
    let mut socket = client.socket().try_clone().unwrap();
    thread::spawn(move || {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let longest = [1, 40, 5000, 1 << 20][rng.random_range(0..4)];
            let (now, later) = rest.split_at(rng.random_range(1..=longest).min(rest.len()));
            socket.write_all(now).unwrap();
            rest = later;
        }
    })
}

fn run(seed: u64, style: Style, disk: Arc<dyn Backend>) {
    println!("seed {seed}, {style:?}");
    let mut rng = StdRng::seed_from_u64(seed);
    let server = Server::new(disk);
    let mut client = server.connect(style);
    let mut model = Model { bytes: vec![0; SIZE], may_be: Vec::new() };
    for _round in 0..6 {
        model.settle();
        let mut sent = Vec::new();
        let mut bytes = Vec::new();
        for cookie in 1..=rng.random_range(1..60) {
            let (request, error) = random_request(&mut rng, style);
            let request = request.cookie(cookie);
            if error == 0 && matches!(request.command, WRITE | WRITE_ZEROES | TRIM) {
                model.apply(&request);
            }
            client.expect(&request);
            bytes.extend(request.bytes(style));
            sent.push((cookie, error));
        }
        let sender = send_cut(&client, bytes, rng.random());
        for (cookie, error) in sent {
            let answer = client.answer(cookie);
            assert_eq!(answer.error(), error, "{:?}", answer.request.command);
            if error == 0 && answer.request.command == READ {
                model.check(&answer);
            }
        }
        sender.join().unwrap();
        assert!(client.read(0, SIZE as u64) == model.bytes, "after a round");
    }
    assert!(matches!(client.close(), End::Closed));
    server.assert_all_given_back();
}

fn memory() -> Arc<dyn Backend> {
    Arc::new(Memory::new(SIZE as u64).unwrap())
}

#[test]
fn random_commands_agree_with_a_model() {
    for seed in 0..12 {
        run(seed, STYLES[index(seed % 3)], memory());
    }
}

#[test]
fn random_commands_in_random_order_agree_with_a_model() {
    for seed in 100..124 {
        let disk = Shuffle::new(memory(), seed).unwrap();
        run(seed, STYLES[index(seed % 3)], Arc::new(disk));
    }
}

#[test]
fn random_commands_above_a_write_cache_agree_with_a_model() {
    for seed in 200..209 {
        run(seed, STYLES[index(seed % 3)], Arc::new(Volatile::new(memory()).unwrap()));
    }
}

#[test]
fn budgets_are_given_back_whatever_fails() {
    for seed in 300..312 {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let style = STYLES[index(seed % 3)];
        let fault = Fault::new(Arc::new(Shuffle::new(memory(), seed).unwrap()), seed);
        for nth in 1..20 {
            let action = [
                Action::Fail(Kind::NoSpace),
                Action::Lose,
                Action::FailPart(Kind::Io),
                Action::FailPiece(Kind::Io),
                Action::FailAfter(Kind::NoMemory),
            ][rng.random_range(0..5)];
            fault.add(Rule::new(action, |_| true).nth(nth * rng.random_range(1..4)));
        }
        let server = Server::new(Arc::new(fault));
        let mut client = server.connect(style);
        let cookies: Vec<u64> = (0..200)
            .map(|_| {
                let (request, _) = random_request(&mut rng, style);
                client.send(request)
            })
            .collect();
        for cookie in cookies {
            client.answer(cookie);
        }
        assert!(matches!(client.close(), End::Closed));
        server.assert_all_given_back();
    }
}
