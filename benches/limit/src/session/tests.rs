use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    thread,
};

use super::*;
use crate::{handshake, link::Socket, ring::Ring};

const DISK: usize = 4 << 20;
const SIZES: [usize; 6] = [1, 512, 4096, 4097, 100 << 10, 1 << 20];

/// The links that this kernel allows; containers may forbid rings.
fn links() -> Vec<fn(UnixStream) -> Box<dyn Link>> {
    let ring: fn(UnixStream) -> Box<dyn Link> = |stream| Box::new(Ring::new(stream.into()).unwrap());
    let socket: fn(UnixStream) -> Box<dyn Link> = |stream| Box::new(Socket(stream.into()));
    let (probe, _other) = UnixStream::pair().unwrap();
    if Ring::new(probe.into()).is_ok() { vec![socket, ring] } else { vec![socket] }
}

impl Link for Box<dyn Link> {
    fn turn(&mut self, send: &mut [IoSlice<'_>], receive: &mut [u8]) -> io::Result<usize> {
        (**self).turn(send, receive)
    }
}

/// Serves a disk of zeros on a thread of its own, with every link and at batches of one and of many.
fn with_clients(client: impl Fn(UnixStream), ends_well: bool) {
    for link in links() {
        for batch in [1, 3, 32] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let server = thread::spawn(move || Session::new(&mut vec![0; DISK], batch).run(&mut link(theirs)));
            client(ours);
            assert_eq!(server.join().unwrap().is_ok(), ends_well);
        }
    }
}

fn request(command: u16, cookie: u64, offset: usize, length: usize) -> Vec<u8> {
    let mut bytes = NBD_REQUEST_MAGIC.to_be_bytes().to_vec();
    bytes.extend([0, 0]);
    bytes.extend(command.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend((offset as u64).to_be_bytes());
    bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
    bytes
}

/// A pattern whose period is no power of two.
fn byte(index: usize) -> u8 {
    u8::try_from(index % 251).unwrap()
}

/// Receives a reply; its payload, of so many bytes.
fn reply(stream: &mut UnixStream, cookie: u64, error: u32, length: usize) -> Vec<u8> {
    let mut header = [0; 16];
    stream.read_exact(&mut header).unwrap();
    assert_eq!(header[..4], [0x67, 0x44, 0x66, 0x98], "the magic of simple replies");
    assert_eq!(header[4..8], error.to_be_bytes(), "the error of {cookie}");
    assert_eq!(header[8..], cookie.to_be_bytes());
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).unwrap();
    payload
}

#[test]
fn what_is_written_is_read_back_whatever_its_size() {
    with_clients(
        |mut stream| {
            // Everything at once, so that payloads fall across receives in every way.
            let (mut script, mut offset) = (Vec::new(), 0);
            for (cookie, size) in (0..).zip(SIZES) {
                script.extend(request(NBD_CMD_WRITE, cookie, offset, size));
                script.extend((0..size).map(|index| byte(index + size)));
                offset += size;
            }
            for (cookie, size) in (10..).zip(SIZES.into_iter().rev()) {
                offset -= size;
                script.extend(request(NBD_CMD_READ, cookie, offset, size));
            }
            script.extend(request(NBD_CMD_FLUSH, 20, 0, 0));
            script.extend(request(NBD_CMD_DISC, 21, 0, 0));
            let mut sender = stream.try_clone().unwrap();
            let sending = thread::spawn(move || sender.write_all(&script).unwrap());
            for cookie in 0..SIZES.len() as u64 {
                reply(&mut stream, cookie, 0, 0);
            }
            for (cookie, size) in (10..).zip(SIZES.into_iter().rev()) {
                let payload = reply(&mut stream, cookie, 0, size);
                assert!(payload.iter().enumerate().all(|(index, have)| *have == byte(index + size)), "{size} bytes");
            }
            reply(&mut stream, 20, 0, 0);
            assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the server left, too");
            sending.join().unwrap();
        },
        true,
    );
}

#[test]
fn replies_larger_than_a_socket_holds_need_no_further_request() {
    with_clients(
        |mut stream| {
            let reads = (0..4).map(|cookie| request(NBD_CMD_READ, cookie, 0, DISK));
            stream.write_all(&reads.flatten().collect::<Vec<_>>()).unwrap();
            for cookie in 0..4 {
                reply(&mut stream, cookie, 0, DISK);
            }
        },
        true,
    );
}

#[test]
fn a_command_that_is_not_known_is_refused_and_the_connection_goes_on() {
    with_clients(
        |mut stream| {
            stream.write_all(&[request(6, 1, 0, 4096), request(NBD_CMD_READ, 2, 0, 8)].concat()).unwrap();
            reply(&mut stream, 1, NBD_EINVAL, 0);
            assert_eq!(reply(&mut stream, 2, 0, 8), [0; 8]);
        },
        true,
    );
}

#[test]
fn a_request_out_of_range_ends_the_connection() {
    for (offset, length) in [(DISK - 1, 2), (usize::MAX, 1), (DISK + 1, 0)] {
        with_clients(
            |mut stream| {
                stream.write_all(&request(NBD_CMD_READ, 1, offset, length)).unwrap();
                assert_eq!(stream.read(&mut [0]).unwrap(), 0, "{offset}+{length}");
            },
            false,
        );
    }
}

#[test]
fn go_refuses_structured_replies_and_tells_the_size() {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let server = thread::spawn(move || handshake::negotiate(&mut theirs, 0x1234_5000));
    let option = |number: u8, content: &[u8]| {
        [b"IHAVEOPT\0\0\0", &[number][..], &u32::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
    };
    ours.write_all(&[b"\0\0\0\x03", &option(8, b"")[..], &option(7, b"\0\0\0\x01x\0\0")].concat()).unwrap();
    assert!(server.join().unwrap().unwrap(), "transmission follows");
    let mut said = Vec::new();
    ours.read_to_end(&mut said).unwrap();
    let magic = b"\0\x03\xe8\x89\x04\x55\x65\xa9";
    let expected = [
        b"NBDMAGICIHAVEOPT\0\x03",
        &magic[..],
        b"\0\0\0\x08\x80\0\0\x01\0\0\0\0",
        magic,
        b"\0\0\0\x07\0\0\0\x03\0\0\0\x0c\0\0\0\0\0\0\x12\x34\x50\0\0\x05",
        magic,
        b"\0\0\0\x07\0\0\0\x01\0\0\0\0",
    ];
    assert_eq!(said, expected.concat());
}
