//! Random and hostile bytes neither panic a connection nor hang it.

use std::{io::Write, net::Shutdown, sync::Arc};

use nbdgate_layers::Shuffle;
use nbdgate_memory::Memory;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{End, Server, client::*};

/// The connection reads all it is sent, or ends; either way it ends once the client is gone.
fn assert_ends(server: &Server, style: Style, bytes: &[u8]) {
    let client = server.connect(style);
    let mut socket = client.socket().try_clone().unwrap();
    let reader = std::thread::spawn({
        let mut socket = client.socket().try_clone().unwrap();
        move || std::io::copy(&mut socket, &mut std::io::sink())
    });
    // The server may have ended the connection on the first of them.
    let _ = socket.write_all(bytes);
    let _ = socket.shutdown(Shutdown::Write);
    let end = client.why();
    assert!(matches!(end, End::Protocol(_) | End::Closed | End::Disconnect | End::Io(_)), "{end:?}");
    let _ = reader.join().unwrap();
}

#[test]
fn random_bytes_end_the_connection() {
    for seed in 0..60 {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let style = STYLES[rng.random_range(0..3)];
        let server = Server::memory(1 << 20);
        let bytes: Vec<u8> = (0..rng.random_range(0..5000)).map(|_| rng.random()).collect();
        assert_ends(&server, style, &bytes);
        server.assert_all_given_back();
    }
}

#[test]
fn random_fields_behind_a_good_magic_end_with_the_stream() {
    for seed in 0..200 {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let style = STYLES[rng.random_range(0..3)];
        let disk = Shuffle::new(Arc::new(Memory::new(1 << 20).unwrap()), seed).unwrap();
        let server = Server::new(Arc::new(disk));
        let mut bytes = Vec::new();
        for _ in 0..rng.random_range(1..60) {
            let near = [0, 1, 511, 512, 65_536, (1 << 20) - 1, 1 << 20, u64::MAX, u64::from(u32::MAX), 32 << 20];
            let mut number = || if rng.random() { near[rng.random_range(0..10)] } else { rng.random_range(0..1 << 21) };
            let (offset, length) = (number(), number());
            let length = if style == Style::Extended { length } else { length.min(u32::MAX.into()) };
            let command =
                if rng.random_bool(0.9) { [0, 1, 3, 4, 5, 6, 7][rng.random_range(0..7)] } else { rng.random() };
            let flags = if rng.random() { 0 } else { rng.random_range(0..128) };
            let mut request = Request::new(command, offset, length).flags(flags).cookie(rng.random());
            if command == WRITE || flags & PAYLOAD_LEN != 0 {
                request.payload = vec![3; usize::try_from(length.min(100_000)).unwrap()];
            }
            bytes.extend(request.bytes(style));
        }
        assert_ends(&server, style, &bytes);
        server.assert_all_given_back();
    }
}
