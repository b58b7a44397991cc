//! What a connection takes for a request, and what ends it.

use std::io::{Read, Write};

use super::{End, Server, client::*, pattern};

#[test]
fn a_bad_magic_ends_the_connection() {
    for style in STYLES {
        let server = Server::memory(1 << 20);
        let mut client = server.connect(style);
        client.write(0, [1; 512]);
        let mut bytes = Request::new(READ, 0, 512).bytes(style);
        bytes[3] ^= 1;
        client.send_bytes(&bytes);
        assert!(matches!(client.end(), End::Protocol(text) if text.contains("magic")));
        server.assert_all_given_back();
    }
}

#[test]
fn a_refused_write_is_drained() {
    for style in STYLES {
        let server = Server::memory(1 << 20);
        let mut client = server.connect(style);
        // The payload would be a request that overwrites the disk.
        let trap: Vec<u8> = Request::write(0, [0xee; 512]).cookie(666).bytes(style).repeat(200);
        let mut cookies = Vec::new();
        for at in [1 << 20, (1 << 20) - 1, u64::MAX - 4096] {
            cookies.push((client.send(Request::write(at, trap.clone())), ENOSPC));
        }
        cookies.push((client.send(Request::write(0, trap.clone()).flags(DF)), EINVAL));
        cookies.push((client.send(Request::write(0, [])), EINVAL));
        cookies.push((client.send(Request::write(512, pattern(1, 512))), 0));
        for (cookie, error) in cookies {
            assert_eq!(client.answer(cookie).error(), error);
        }
        let expected = [vec![0; 512], pattern(1, 512)].concat();
        assert_eq!(client.read(0, 1024), expected);
        assert!(matches!(client.close(), End::Closed));
        server.assert_all_given_back();
    }
}

#[test]
fn extended_payloads_of_any_command_are_drained() {
    let mut client = Server::memory(1 << 20).connect(Style::Extended);
    let trap = Request::write(0, [0xee; 512]).cookie(666).bytes(Style::Extended);
    for command in [READ, FLUSH, TRIM, CACHE, WRITE_ZEROES, 999] {
        let request = Request { payload: trap.clone(), ..Request::new(command, 0, trap.len() as u64) };
        assert_eq!(client.call(request.flags(PAYLOAD_LEN)).error(), EINVAL);
    }
    assert_eq!(client.read(0, 512), [0; 512]);
}

#[test]
fn a_payload_too_long_to_drain_ends_the_connection() {
    for style in STYLES {
        let server = Server::memory(1 << 20);
        let mut client = server.connect(style);
        client.write(0, [1; 512]);
        // No more than the header comes: the end must not wait for the payload.
        client.send_bytes(&Request::new(WRITE, 0, (32 << 20) + 1).bytes(style));
        assert!(matches!(client.end(), End::Protocol(text) if text.contains("payload")));
        server.assert_all_given_back();
    }
}

#[test]
fn a_stream_cut_at_any_byte_of_a_write_changes_nothing_and_holds_nothing() {
    for style in STYLES {
        let server = Server::memory(1 << 20);
        let bytes = Request::write(0, [7; 40]).bytes(style);
        for end in 0..bytes.len() {
            let client = server.connect(style);
            client.send_bytes(&bytes[..end]);
            client.socket().shutdown(std::net::Shutdown::Write).unwrap();
            assert!(matches!(client.end(), End::Closed), "cut after {end}");
        }
        server.assert_all_given_back();
        assert_eq!(server.connect(style).read(0, 40), [0; 40]);
    }
}

#[test]
fn a_long_payload_may_be_cut_anywhere_too() {
    let server = Server::memory(1 << 20);
    let bytes = Request::write(0, vec![7; 200_000]).bytes(Style::Simple);
    for end in [29, 28 + 65_536, 28 + 131_072, 28 + 199_999] {
        let client = server.connect(Style::Simple);
        client.send_bytes(&bytes[..end]);
        client.socket().shutdown(std::net::Shutdown::Write).unwrap();
        assert!(matches!(client.end(), End::Closed), "cut after {end}");
    }
    server.assert_all_given_back();
    assert_eq!(server.connect(Style::Simple).read(0, 200_000), vec![0; 200_000]);
}

#[test]
fn requests_may_come_one_byte_at_a_time() {
    for style in STYLES {
        let mut client = Server::memory(1 << 20).connect(style);
        let requests = [
            Request::write(0, pattern(1, 700)),
            Request::write(1 << 20, [1; 30]),
            Request::new(READ, 0, 700),
            Request::flush(),
        ];
        for (cookie, request) in (1..).zip(requests) {
            let request = request.cookie(cookie);
            client.expect(&request);
            for byte in request.bytes(style) {
                client.send_bytes(&[byte]);
            }
        }
        assert_eq!(client.answer(1).error(), 0);
        assert_eq!(client.answer(2).error(), ENOSPC);
        assert_eq!(client.answer(3).content(), pattern(1, 700));
        assert_eq!(client.answer(4).error(), 0);
    }
}

#[test]
fn what_came_with_the_handshake_is_the_first_request() {
    let server = Server::memory(1 << 20);
    let (near, far) = tokio::io::duplex(1 << 16);
    let bytes = Request::new(READ, 0, 16).bytes(Style::Simple);
    let leftover = bytes::BytesMut::from(&bytes[..20]);
    let shape = server.shape(Style::Simple);
    let connection = super::Connection::new(far, server.export.clone(), shape, leftover, &server.limits);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (end, reply) = runtime.block_on(async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let client = async move {
            let mut near = near;
            near.write_all(&bytes[20..]).await.unwrap();
            let mut reply = [0xff; 32];
            near.read_exact(&mut reply).await.unwrap();
            reply
        };
        tokio::join!(connection.run(), client)
    });
    assert!(matches!(end, End::Closed));
    assert_eq!((&reply[..8], &reply[16..]), (&[0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0][..], &[0; 16][..]));
}

#[test]
fn a_client_that_closes_both_ways_is_no_error_of_the_server() {
    let server = Server::memory(1 << 20);
    let client = server.connect(Style::Simple);
    let mut socket = client.socket();
    socket.write_all(&Request::new(READ, 0, 512).bytes(Style::Simple)).unwrap();
    let mut first = [0; 1];
    socket.read_exact(&mut first).unwrap();
    assert!(matches!(client.close(), End::Closed | End::Io(_)));
    server.assert_all_given_back();
}
