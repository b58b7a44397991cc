//! A server in this process: what a request costs from a client's socket to memory and back, without the handshake.
//!
//! One connection on an I/O thread of its own, one client that keeps so many requests in flight. The rate is
//! that of both together; they run on different threads.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput};
use nbdgate::{
    export::Export,
    nbd::{
        proto::{
            MetaContexts, ReplyStyle, Shape,
            constants::{NBD_CMD_READ, NBD_CMD_WRITE, NBD_FLAG_HAS_FLAGS, NBD_REQUEST_MAGIC, NBD_SIMPLE_REPLY_MAGIC},
        },
        transmission::{Connection, End, Limits, Socket, Stream},
    },
    scheduler::permits::Budget,
};
use nbdgate_io::EngineChoice;
use nbdgate_memory::Memory;

const DISK: u64 = 64 << 20;
/// Enough for every request of the deepest queue, so that permits are taken but never waited for.
const BUDGET: u32 = 64 << 20;
const REPLY_HEADER: usize = 16;
/// What the client receives at once, at most.
const RECEIVE: usize = 1 << 20;

/// A kind of request.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    command: u16,
    length: u32,
}

const LOADS: [Load; 3] = [
    Load { name: "READ 4 KiB", command: NBD_CMD_READ, length: 4 << 10 },
    Load { name: "WRITE 4 KiB", command: NBD_CMD_WRITE, length: 4 << 10 },
    Load { name: "READ 128 KiB", command: NBD_CMD_READ, length: 128 << 10 },
];
const DEPTHS: [u64; 3] = [1, 32, 128];

impl Load {
    /// Appends a request, its payload included.
    fn request(self, offset: u64, cookie: u64, out: &mut Vec<u8>) {
        out.extend(NBD_REQUEST_MAGIC.to_be_bytes());
        out.extend(0u16.to_be_bytes());
        out.extend(self.command.to_be_bytes());
        out.extend(cookie.to_be_bytes());
        out.extend(offset.to_be_bytes());
        out.extend(self.length.to_be_bytes());
        if self.command == NBD_CMD_WRITE {
            out.resize(out.len() + self.length as usize, 0x5a);
        }
    }

    /// Bytes of one simple reply.
    fn reply(self) -> usize {
        REPLY_HEADER + if self.command == NBD_CMD_READ { self.length as usize } else { 0 }
    }
}

/// Serves one connection to a disk in memory until its client leaves.
fn serve(socket: UnixStream) -> End {
    let engine = EngineChoice::Auto.resolve().expect("one engine is always there");
    let ended = engine.run(async move {
        let stream = Stream::attach(Socket::Unix(socket)).expect("the runtime takes the socket");
        let memory = Arc::new(Memory::new(DISK).expect("a disk of legal size"));
        let export = Export::new(
            "".parse().expect("the default export's name"),
            String::new(),
            memory,
            false,
            Budget::new(BUDGET),
        );
        let shape = Shape {
            size: DISK,
            minimum_block: 1,
            maximum_payload: 32 << 20,
            flags: NBD_FLAG_HAS_FLAGS,
            style: ReplyStyle::Simple,
            contexts: MetaContexts::default(),
        };
        let limits = Limits { total: Budget::new(BUDGET), connection: BUDGET };
        Connection::new(stream, Arc::new(export), shape, BytesMut::new(), &limits).run().await
    });
    ended.expect("the runtime starts")
}

/// A client that pipelines, and the server behind its socket.
struct Client {
    socket: UnixStream,
    server: JoinHandle<End>,
    requests: Vec<u8>,
    received: Vec<u8>,
    /// What came of the reply that is not complete yet, and its header.
    at: usize,
    header: [u8; REPLY_HEADER],
}

impl Client {
    /// Connects to a new server whose disk has no hole.
    fn connect() -> Self {
        let (socket, theirs) = UnixStream::pair().expect("a pair of sockets");
        theirs.set_nonblocking(true).expect("a socket can be non-blocking");
        let server = std::thread::spawn(move || serve(theirs));
        let (requests, received) = (Vec::new(), vec![0; RECEIVE]);
        let mut client = Self { socket, server, requests, received, at: 0, header: [0; REPLY_HEADER] };
        let fill = Load { name: "fill", command: NBD_CMD_WRITE, length: 1 << 20 };
        let step = u64::from(fill.length);
        client.run(fill, 1, DISK / step, |index| index * step);
        client
    }

    /// Does `count` requests, `depth` of them in flight; the time it took.
    fn run(&mut self, load: Load, depth: u64, count: u64, mut offset: impl FnMut(u64) -> u64) -> Duration {
        let started = Instant::now();
        let (mut sent, mut answered) = (0, 0);
        while answered < count {
            self.requests.clear();
            while sent < count && sent - answered < depth {
                load.request(offset(sent), sent, &mut self.requests);
                sent += 1;
            }
            // Cannot lock up: the replies to writes fit the socket's buffer, and so do the requests of reads.
            self.socket.write_all(&self.requests).expect("the server takes requests");
            answered += self.receive(load);
        }
        started.elapsed()
    }

    /// Receives what is there; how many replies that completed.
    fn receive(&mut self, load: Load) -> u64 {
        let length = self.socket.read(&mut self.received).expect("the server answers");
        assert!(length > 0, "the server left");
        let (mut rest, mut answered) = (&self.received[..length], 0);
        while !rest.is_empty() {
            if self.at < REPLY_HEADER {
                let taken = rest.len().min(REPLY_HEADER - self.at);
                self.header[self.at..self.at + taken].copy_from_slice(&rest[..taken]);
                rest = &rest[taken..];
                self.at += taken;
            }
            if self.at >= REPLY_HEADER {
                assert_eq!(self.header[..4], NBD_SIMPLE_REPLY_MAGIC.to_be_bytes(), "a reply is where one is due");
                assert_eq!(self.header[4..8], [0; 4], "the request succeeded");
                let taken = rest.len().min(load.reply() - self.at);
                rest = &rest[taken..];
                self.at += taken;
                if self.at == load.reply() {
                    self.at = 0;
                    answered += 1;
                }
            }
        }
        answered
    }

    /// Leaves, and waits for the server to notice.
    fn leave(self) {
        drop(self.socket);
        let end = self.server.join().expect("the server does not panic");
        assert!(matches!(end, End::Closed), "the server ended with {end:?}");
    }
}

fn server(criterion: &mut Criterion) {
    // xorshift64: cheap, and far from sequential.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for load in LOADS {
        let mut group = criterion.benchmark_group(format!("server/{}", load.name));
        group.throughput(Throughput::Elements(1));
        for depth in DEPTHS {
            let mut client = Client::connect();
            group.bench_function(BenchmarkId::new("depth", depth), |bench| {
                bench.iter_custom(|count| {
                    client.run(load, depth, count, |_index| {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        random % (DISK / u64::from(load.length)) * u64::from(load.length)
                    })
                });
            });
            client.leave();
        }
        group.finish();
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    server(&mut criterion);
    criterion.final_summary();
}
