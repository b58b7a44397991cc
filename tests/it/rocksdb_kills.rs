//! A gateway that is killed in the midst of writes to a RocksDB disk: every acknowledged write is there, and no write is
//! there in part.

use std::{
    io,
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    sync::mpsc::{Sender, channel},
};

use crate::{
    client::{Client, stamped},
    gateway::Gateway,
    setup::{Engine, Setup, Storage},
};

/// Bytes of a block: no divisor of an extent, so that some cross the end of one.
const BLOCK: usize = 6008;
/// Blocks of each writer; blocks of different writers are neighbours, and share extents.
const BLOCKS: u64 = 300;
const WRITERS: u64 = 4;
const SIZE: u64 = BLOCK as u64 * BLOCKS * WRITERS;
/// How often the gateway is killed; more for a soak, by this variable.
const ROUNDS: u64 = 20;
const ROUNDS_VARIABLE: &str = "NBDGATE_TEST_KILLS";
/// The number of a block that was trimmed, or never written: it reads as zeros.
const GONE: u64 = 0;

/// What one writer knows.
#[derive(Clone, Debug)]
struct Writer {
    name: u64,
    /// The last acknowledged number of each block.
    known: Vec<u64>,
    /// What was sent and not answered: a block, and its number.
    sent: Option<(u64, u64)>,
    next: u64,
}

impl Writer {
    fn new(name: u64) -> Self {
        Self { name, known: vec![GONE; usize::try_from(BLOCKS).expect("a few")], sent: None, next: 1 }
    }

    fn offset(&self, block: u64) -> u64 {
        (block * WRITERS + self.name) * BLOCK as u64
    }

    /// Writes and trims until the gateway is gone.
    fn work(mut self, stream: UnixStream, done: &Sender<()>) -> Self {
        let go_on = || -> io::Result<()> {
            let mut client = Client::enter(stream)?;
            loop {
                let number = self.next;
                let block = number * 7919 % BLOCKS;
                self.next += 1;
                let trims = number.is_multiple_of(11);
                self.sent = Some((block, if trims { GONE } else { number }));
                if trims {
                    client.trim(self.offset(block), u32::try_from(BLOCK).expect("a small block"))?;
                } else {
                    client.write(self.offset(block), &stamped(number, BLOCK))?;
                }
                if let Some((block, number)) = self.sent.take() {
                    self.known[usize::try_from(block).expect("a few")] = number;
                }
                if number.is_multiple_of(50) {
                    client.flush()?;
                }
                let _enough_were_counted = done.send(());
            }
        };
        go_on().expect_err("it ends with the gateway only");
        self
    }

    /// Every block is as it was acknowledged to be, but that the one which was on its way may have arrived.
    fn check(&mut self, client: &mut Client) {
        for block in 0..BLOCKS {
            let bytes = client.read(self.offset(block), BLOCK).expect("readable");
            let known = &mut self.known[usize::try_from(block).expect("a few")];
            if bytes == stamped(*known, BLOCK) {
                continue;
            }
            let sent = self.sent.filter(|(sent, _)| *sent == block).map(|(_, number)| number);
            let there = u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"));
            assert!(
                sent.is_some_and(|number| bytes == stamped(number, BLOCK)),
                "writer {}: block {block} begins with {there}, {known} was acknowledged, {sent:?} on its way",
                self.name
            );
            *known = there;
        }
        self.sent = None;
    }
}

fn serve(setup: &Setup) -> Gateway {
    // Little memory, so that tables are written and compacted all the time.
    setup.serve_with("", &["--rocksdb-memory=8M", "--rocksdb-cache=8M"])
}

/// Kills a gateway while it starts: it may be making the disk, or replaying its log.
fn kill_while_it_starts(setup: &Setup, spins: u64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nbdgate"));
    command.arg("serve").arg(format!("--listen=unix:{}", setup.path("nbd.sock").display()));
    command.arg(format!("--export=={}", setup.uri())).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    // Not a wait for anything: the time of the crash, which is to be another one each time.
    (0..spins).for_each(|_| std::thread::yield_now());
    child.kill().expect("killed");
    child.wait().expect("ended");
}

#[test]
fn acknowledged_writes_survive_kills_and_none_is_there_in_part() {
    let rounds = std::env::var(ROUNDS_VARIABLE).map_or(ROUNDS, |text| text.parse().expect("a number of kills"));
    let setup = Setup::new(Storage::RocksDb, Engine::Epoll, SIZE);
    let mut writers: Vec<_> = (0..WRITERS).map(Writer::new).collect();
    // There is a whole disk or none.
    (0..4).for_each(|part| kill_while_it_starts(&setup, part * 1000));
    let mut gateway = serve(&setup);
    for round in 0..rounds {
        let (done, counted) = channel();
        let threads: Vec<_> = writers
            .into_iter()
            .map(|writer| {
                let (stream, done) = (gateway.connect(), done.clone());
                std::thread::spawn(move || writer.work(stream, &done))
            })
            .collect();
        drop(done);
        // The writers go on while the gateway is killed.
        let enough = 200 + usize::try_from(round * 137 % 400).expect("a few");
        assert_eq!(counted.iter().take(enough).count(), enough);
        gateway.crash();
        writers = threads.into_iter().map(|thread| thread.join().expect("the writer ended")).collect();
        if round % 3 == 1 {
            kill_while_it_starts(&setup, round * 1000);
        }
        gateway = serve(&setup);
        let mut client = Client::enter(gateway.connect()).expect("served again");
        for writer in &mut writers {
            writer.check(&mut client);
        }
    }
    gateway.stop();
}
