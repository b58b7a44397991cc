//! Many clients, slow ones, and greedy ones: none of them disturbs the others.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::{
    bad_bytes::resident_bytes,
    client::{CMD_READ, Client, entrance, request, stamped},
    gateway::Gateway,
    process::{args, run},
    setup::{Engine, Setup, Storage},
};

on_every_engine! {
    a_thousand_connections_are_served_at_once,
    connections_over_the_limit_are_refused_until_there_is_room,
    a_slow_handshake_is_ended_at_its_deadline,
    a_client_that_never_reads_disturbs_no_other,
}

const SIZE: u64 = 64 << 20;

fn a_thousand_connections_are_served_at_once(engine: Engine) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // The gateway inherits it.
    setrlimit(Resource::Nofile, limit).expect("a process may raise its limit up to the hard one");
    let setup = Setup::new(Storage::Memory, engine, SIZE);
    let gateway = setup.serve_with("", &["--handshake-timeout=60s"]);
    let streams: Vec<UnixStream> = (0..1000).map(|_| gateway.connect()).collect();
    let mut clients: Vec<Client> =
        streams.into_iter().map(|stream| Client::enter(stream).expect("every one is served")).collect();
    for (number, client) in (0..).zip(&mut clients) {
        client.write(number * 4096, &stamped(number, 4096)).expect("written");
    }
    for (number, client) in (0..).zip(clients.iter_mut().rev()) {
        let number = 999 - number;
        assert_eq!(client.read(number * 4096, 4096).expect("read"), stamped(number, 4096));
    }
    run("nbdinfo", args![gateway.uri(crate::gateway::Transport::Tcp)]).ok();
    // With all of them connected.
    gateway.stop();
}

fn connections_over_the_limit_are_refused_until_there_is_room(engine: Engine) {
    let setup = Setup::new(Storage::Memory, engine, SIZE);
    let mut gateway = setup.serve_with("", &["--max-connections=8"]);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::enter(gateway.connect()).expect("there is room")).collect();
    for _ in 0..20 {
        assert!(Client::enter(gateway.connect()).is_err(), "there is no room");
    }
    gateway.wait_for_log("max-connections");
    for client in &mut clients {
        client.write(0, &[1; 512]).expect("those within are served");
    }
    clients.pop();
    let deadline = Instant::now() + Duration::from_secs(30);
    while Client::enter(gateway.connect()).is_err() {
        assert!(Instant::now() < deadline, "the place of a client that left is never given again");
    }
    gateway.stop();
}

fn a_slow_handshake_is_ended_at_its_deadline(engine: Engine) {
    let setup = Setup::new(Storage::Memory, engine, SIZE);
    let mut gateway = setup.serve_with("", &["--handshake-timeout=1s"]);
    let started = Instant::now();
    let mut slow = TcpStream::connect(("127.0.0.1", gateway.port())).expect("accepted");
    let mut silent = gateway.connect();
    let bytes = entrance().repeat(100);
    for byte in bytes.chunks(1) {
        // The pace is what is tested; nothing waits for it.
        std::thread::sleep(Duration::from_millis(50));
        if slow.write_all(byte).is_err() {
            break;
        }
        let mut other = Client::enter(gateway.connect()).expect("others are served meanwhile");
        other.write(0, &[1; 512]).expect("and written for");
    }
    let mut greeting = Vec::new();
    let _reset = slow.read_to_end(&mut greeting);
    silent.read_to_end(&mut greeting).expect("one that says nothing is ended, too");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    gateway.wait_for_log("did not finish within 1s");
    gateway.stop();
}

fn a_client_that_never_reads_disturbs_no_other(engine: Engine) {
    let setup = Setup::new(Storage::Memory, engine, SIZE);
    let gateway = setup.serve();
    let greedy: Vec<UnixStream> = (0..5).map(|_| ask_and_never_read(&gateway)).collect();
    let mut client = Client::enter(gateway.connect()).expect("served");
    for number in 0..200_u64 {
        client.write(number << 12, &stamped(number, 4096)).expect("written");
        assert_eq!(client.read(number << 12, 4096).expect("read"), stamped(number, 4096));
    }
    assert_eq!(client.read(0, 1 << 20).expect("a long one").len(), 1 << 20);
    client.flush().expect("flushed");
    let resident = resident_bytes(&gateway);
    assert!(resident < 512 << 20, "{resident} bytes are resident");
    drop(greedy);
    assert_eq!(client.size, SIZE);
    gateway.stop();
}

/// A client with as many requests for data under way as the gateway takes, none of which it reads.
pub(crate) fn ask_and_never_read(gateway: &Gateway) -> UnixStream {
    let mut stream = gateway.connect();
    stream.write_all(&entrance()).expect("it haggles");
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a deadline");
    for number in 0..100_000 {
        match stream.write_all(&request(CMD_READ, number, 0, 1 << 20)) {
            Ok(()) => {}
            Err(error) => {
                assert!(is_full(&error), "{error}");
                return stream;
            }
        }
    }
    panic!("the gateway takes requests without end");
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
