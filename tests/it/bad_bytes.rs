//! Clients that send nonsense: the gateway hangs up or answers with an error, and serves the others.

use std::{
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
};

use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};

use crate::{
    client::{
        CMD_DISC, CMD_FLUSH, CMD_READ, CMD_WRITE, Client, GREETING_BYTES, OPT_EXPORT_NAME, OPT_LIST, entrance, option,
        request, stamped,
    },
    gateway::Gateway,
    setup::{Engine, Setup, Storage},
};

on_every_engine! {
    random_bytes_in_every_phase_end_only_their_connection,
    a_session_cut_at_any_byte_leaves_nothing_behind,
    absurd_lengths_are_survived,
}

const SIZE: u64 = 4 << 20;
/// More than the gateway takes at once, in bytes.
const LONG: usize = 64 << 10;

fn random_bytes_in_every_phase_end_only_their_connection(engine: Engine) {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let setup = Setup::new(Storage::Memory, engine, SIZE);
    let gateway = setup.serve();
    let mut good = Client::enter(gateway.connect()).expect("served");
    let flags = 3_u32.to_be_bytes().to_vec();
    for round in 0..200_u64 {
        let mut noise = vec![0; random.random_range(1..LONG)];
        random.fill_bytes(&mut noise);
        let known = random.random_range(1..=10);
        let length = random.random_range(0..200);
        let start: Vec<u8> = match round % 5 {
            0 => vec![],                                                                     // instead of flags
            1 => flags.clone(),                                                              // instead of an option
            2 => [flags.clone(), option(known, &noise[..length.min(noise.len())])].concat(), // as an option's data
            3 => entrance(),                                                                 // instead of a request
            _ => [entrance(), request(random.random_range(0..8), 1, random.next_u64(), random.next_u32())].concat(),
        };
        send_and_hang_up(&gateway, &[start, noise].concat());
        good.write(round % 8 * 512, &stamped(round, 512)).expect("a good client goes on");
        assert_eq!(good.read(round % 8 * 512, 512).expect("read"), stamped(round, 512));
    }
    gateway.stop();
}

fn a_session_cut_at_any_byte_leaves_nothing_behind(engine: Engine) {
    let setup = Setup::new(Storage::Memory, engine, SIZE);
    let gateway = setup.serve();
    let write = [request(CMD_WRITE, 7, 0, 512), vec![0xaa; 512]].concat();
    let before_payload = [entrance(), request(CMD_FLUSH, 6, 0, 0)].concat();
    let list = option(OPT_LIST, b"");
    let whole = [&before_payload[..4], &list[..], &before_payload[4..], &write[..]].concat();
    for length in 0..whole.len() {
        send_and_hang_up(&gateway, &whole[..length]);
    }
    let mut client = Client::enter(gateway.connect()).expect("served");
    assert_eq!(client.read(0, 512).expect("read"), [0; 512], "a write whose payload was cut changed the disk");
    send_and_hang_up(&gateway, &[whole, request(CMD_DISC, 8, 0, 0)].concat());
    assert_eq!(client.read(0, 512).expect("read"), [0xaa; 512], "a whole one did");
    gateway.stop();
}

fn absurd_lengths_are_survived(engine: Engine) {
    let setup = Setup::new(Storage::Memory, engine, SIZE);
    let gateway = setup.serve();
    let mut absurd_option = option(OPT_EXPORT_NAME, b"");
    absurd_option[12..].copy_from_slice(&u32::MAX.to_be_bytes());
    let handshake = [&3_u32.to_be_bytes()[..], &absurd_option, &vec![0; LONG]].concat();
    send_and_hang_up(&gateway, &handshake);
    // What is too long to be taken is an error or the end, and is never taken for requests.
    let inner = request(CMD_WRITE, 9, 0, 512);
    let payload = [&inner.repeat(1000)[..], &vec![0xbb; LONG]].concat();
    send_and_hang_up(&gateway, &[entrance(), request(CMD_WRITE, 8, 0, u32::MAX), payload].concat());
    send_and_hang_up(&gateway, &[entrance(), request(CMD_READ, 8, 0, u32::MAX)].concat());
    let mut client = Client::enter(gateway.connect()).expect("served");
    assert_eq!(client.read(0, 4096).expect("read"), [0; 4096], "a payload was taken for requests");
    let resident = resident_bytes(&gateway);
    assert!(resident < 256 << 20, "{resident} bytes are resident");
    gateway.stop();
}

/// Sends all that the gateway takes, says no more, and reads until it hangs up.
fn send_and_hang_up(gateway: &Gateway, bytes: &[u8]) {
    let mut stream = gateway.connect();
    let mut greeting = [0; GREETING_BYTES];
    stream.read_exact(&mut greeting).expect("a greeting");
    let mut reader = stream.try_clone().expect("a second handle");
    let drain = std::thread::spawn(move || read_to_the_end(&mut reader));
    // It may have hung up already, and may do so at any byte.
    let _refused = stream.write_all(bytes);
    let _gone = stream.shutdown(Shutdown::Write);
    drain.join().expect("the gateway hung up in time");
}

fn read_to_the_end(stream: &mut UnixStream) {
    let mut answers = Vec::new();
    match stream.read_to_end(&mut answers) {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
        Err(error) => panic!("the gateway did not hang up: {error}"),
    }
}

/// Memory of the gateway, in bytes.
pub(crate) fn resident_bytes(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") << 10
}
