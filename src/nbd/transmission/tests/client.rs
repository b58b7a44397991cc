//! A client of its own: requests are put together and replies taken apart by hand, with the specification's numbers,
//! so that the server's codec is not checked against itself.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::Arc,
};

use super::{
    End, PATIENCE, Served,
    answer::{Answer, Chunk},
};
use crate::nbd::transmission::Queue;

pub(super) const READ: u16 = 0;
pub(super) const WRITE: u16 = 1;
pub(super) const DISC: u16 = 2;
pub(super) const FLUSH: u16 = 3;
pub(super) const TRIM: u16 = 4;
pub(super) const CACHE: u16 = 5;
pub(super) const WRITE_ZEROES: u16 = 6;
pub(super) const BLOCK_STATUS: u16 = 7;

pub(super) const FUA: u16 = 1;
pub(super) const NO_HOLE: u16 = 2;
pub(super) const DF: u16 = 4;
pub(super) const REQ_ONE: u16 = 8;
pub(super) const FAST_ZERO: u16 = 16;
pub(super) const PAYLOAD_LEN: u16 = 32;

pub(super) const EIO: u32 = 5;
pub(super) const EINVAL: u32 = 22;
pub(super) const ENOSPC: u32 = 28;
pub(super) const EOVERFLOW: u32 = 75;
pub(super) const ENOTSUP: u32 = 95;
pub(super) const ESHUTDOWN: u32 = 108;

/// What option haggling would have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Simple,
    Structured,
    Extended,
}

pub(super) const STYLES: [Style; 3] = [Style::Simple, Style::Structured, Style::Extended];

/// A request and the payload behind it.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) flags: u16,
    pub(super) command: u16,
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) payload: Vec<u8>,
}

impl Request {
    pub(super) fn new(command: u16, offset: u64, length: u64) -> Self {
        Self { flags: 0, command, cookie: 0, offset, length, payload: Vec::new() }
    }

    pub(super) fn write(offset: u64, payload: impl Into<Vec<u8>>) -> Self {
        let payload = payload.into();
        Self { payload, ..Self::new(WRITE, offset, 0) }.measured()
    }

    pub(super) fn flush() -> Self {
        Self::new(FLUSH, 0, 0)
    }

    pub(super) fn flags(self, flags: u16) -> Self {
        Self { flags: self.flags | flags, ..self }
    }

    pub(super) fn cookie(self, cookie: u64) -> Self {
        Self { cookie, ..self }
    }

    fn measured(self) -> Self {
        Self { length: self.payload.len() as u64, ..self }
    }

    /// The bytes on the wire; an extended WRITE says that its length counts a payload.
    pub(super) fn bytes(&self, style: Style) -> Vec<u8> {
        let extended = style == Style::Extended;
        let flags = if extended && self.command == WRITE { self.flags | PAYLOAD_LEN } else { self.flags };
        let magic: u32 = if extended { 0x21e4_1c71 } else { 0x2560_9513 };
        let mut bytes = magic.to_be_bytes().to_vec();
        bytes.extend(flags.to_be_bytes());
        bytes.extend(self.command.to_be_bytes());
        bytes.extend(self.cookie.to_be_bytes());
        bytes.extend(self.offset.to_be_bytes());
        if extended {
            bytes.extend(self.length.to_be_bytes());
        } else {
            bytes.extend(u32::try_from(self.length).unwrap().to_be_bytes());
        }
        bytes.extend(&self.payload);
        bytes
    }
}

/// A client's end of a connection.
pub(super) struct Client {
    pub(super) style: Style,
    input: BufReader<UnixStream>,
    served: Served,
    next_cookie: u64,
    spoilt: bool,
    asked: HashMap<u64, Request>,
    /// Chunks of replies that are not complete, and complete ones that nobody asked for yet.
    arrived: HashMap<u64, Vec<Chunk>>,
    complete: HashMap<u64, Answer>,
}

impl Client {
    pub(super) fn new(socket: UnixStream, style: Style, served: Served) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let (asked, arrived, complete) = Default::default();
        Self {
            style,
            input: BufReader::new(socket),
            served,
            next_cookie: 1 << 40,
            spoilt: false,
            asked,
            arrived,
            complete,
        }
    }

    pub(super) fn socket(&self) -> &UnixStream {
        self.input.get_ref()
    }

    pub(super) fn queue(&self) -> &Arc<Queue> {
        &self.served.queue
    }

    /// Sends bytes as they are.
    pub(super) fn send_bytes(&self, bytes: &[u8]) {
        let mut socket = self.socket();
        socket.write_all(bytes).unwrap();
    }

    /// Remembers a request whose bytes are sent in another way.
    pub(super) fn expect(&mut self, request: &Request) {
        let unanswered = self.asked.insert(request.cookie, request.clone());
        assert!(unanswered.is_none(), "cookie {} is used twice", request.cookie);
    }

    /// Sends a request; its cookie.
    pub(super) fn send(&mut self, request: Request) -> u64 {
        self.next_cookie += 1;
        let request = if request.cookie == 0 { request.cookie(self.next_cookie) } else { request };
        self.send_bytes(&request.bytes(self.style));
        self.expect(&request);
        request.cookie
    }

    /// Sends a request and waits for its answer.
    pub(super) fn call(&mut self, request: Request) -> Answer {
        let cookie = self.send(request);
        self.answer(cookie)
    }

    /// Sends a request and waits for its end; the error, of a reply that a broken backend may have spoilt otherwise.
    pub(super) fn call_anyhow(&mut self, request: Request) -> u32 {
        self.spoilt = true;
        let answer = self.call(request);
        self.spoilt = false;
        answer.error()
    }

    pub(super) fn read(&mut self, offset: u64, length: u64) -> Vec<u8> {
        self.call(Request::new(READ, offset, length)).content()
    }

    pub(super) fn write(&mut self, offset: u64, payload: impl Into<Vec<u8>>) {
        assert_eq!(self.call(Request::write(offset, payload)).error(), 0);
    }

    /// Waits for the answer to the request with that cookie.
    pub(super) fn answer(&mut self, cookie: u64) -> Answer {
        loop {
            if let Some(answer) = self.complete.remove(&cookie) {
                return answer;
            }
            assert!(self.asked.contains_key(&cookie), "no request {cookie} is unanswered");
            self.take_chunk().unwrap();
        }
    }

    /// Whether the answer with that cookie has been taken from the socket.
    pub(super) fn has(&self, cookie: u64) -> bool {
        self.complete.contains_key(&cookie)
    }

    /// Takes whole chunks while the beginning of one is there.
    pub(super) fn take_what_is_there(&mut self) {
        self.socket().set_nonblocking(true).unwrap();
        let here = self.input.fill_buf().is_ok_and(|bytes| !bytes.is_empty());
        self.socket().set_nonblocking(false).unwrap();
        if here {
            self.take_chunk().unwrap();
        }
    }

    /// Takes one simple reply or chunk from the socket; the cookie.
    pub(super) fn take_chunk(&mut self) -> io::Result<u64> {
        let magic: [u8; 4] = self.take()?;
        let (cookie, chunk) = match u32::from_be_bytes(magic) {
            0x6744_6698 => self.take_simple()?,
            0x668e_33ef if self.style == Style::Structured => self.take_structured()?,
            0x6e8a_278c if self.style == Style::Extended => self.take_extended()?,
            magic => panic!("a reply with magic {magic:#x} in style {:?}", self.style),
        };
        let last = chunk.is_last();
        let chunks = self.arrived.entry(cookie).or_default();
        chunks.push(chunk);
        if last {
            let request = self.asked.remove(&cookie).expect("a cookie that was asked");
            let answer = Answer { request, chunks: self.arrived.remove(&cookie).unwrap() };
            if !self.spoilt {
                answer.assert_legal(self.style);
            }
            self.complete.insert(cookie, answer);
        }
        Ok(cookie)
    }

    /// The server closes the connection after nothing but whole replies; why.
    pub(super) fn end(mut self) -> End {
        let error = loop {
            if let Err(error) = self.take_chunk() {
                break error.kind();
            }
        };
        assert!(matches!(error, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset), "{error}");
        self.why()
    }

    /// Why the server ended the connection, whatever it sent.
    pub(super) fn why(self) -> End {
        self.served.end.recv_timeout(PATIENCE).expect("the connection ends")
    }

    /// Closes the client's end; how the server took it.
    pub(super) fn close(self) -> End {
        self.socket().shutdown(Shutdown::Both).unwrap();
        self.why()
    }

    /// How many requests have not been answered in full.
    pub(super) fn unanswered(&self) -> usize {
        self.asked.len()
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn take_body(&mut self, length: u64) -> io::Result<Vec<u8>> {
        assert!(length < 1 << 26, "a chunk of {length} bytes");
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn take_simple(&mut self) -> io::Result<(u64, Chunk)> {
        assert_ne!(self.style, Style::Extended, "extended replies are extended chunks");
        let error = u32::from_be_bytes(self.take()?);
        let cookie = u64::from_be_bytes(self.take()?);
        let asked = self.asked.get(&cookie).expect("a simple reply to a request");
        let data = if asked.command == READ && error == 0 { asked.length } else { 0 };
        Ok((cookie, Chunk::Simple { error, data: self.take_body(data)? }))
    }

    fn take_structured(&mut self) -> io::Result<(u64, Chunk)> {
        let (flags, kind) = (u16::from_be_bytes(self.take()?), u16::from_be_bytes(self.take()?));
        let cookie = u64::from_be_bytes(self.take()?);
        let length = u32::from_be_bytes(self.take()?);
        Ok((cookie, Chunk::Part { flags, kind, offset: None, body: self.take_body(length.into())? }))
    }

    fn take_extended(&mut self) -> io::Result<(u64, Chunk)> {
        let (flags, kind) = (u16::from_be_bytes(self.take()?), u16::from_be_bytes(self.take()?));
        let cookie = u64::from_be_bytes(self.take()?);
        let offset = Some(u64::from_be_bytes(self.take()?));
        let length = u64::from_be_bytes(self.take()?);
        Ok((cookie, Chunk::Part { flags, kind, offset, body: self.take_body(length)? }))
    }
}
