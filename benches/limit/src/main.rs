//! nbdgate-limit: a measuring stick, not a server.
//!
//! What an NBD server can do at the least cost: memory behind one connection, one thread, no exports, no scheduler, no
//! metrics, no budgets, and no check but that a request lies within the memory. What nbdgate needs beyond it is the
//! price of what it does beyond it.

mod cli;
mod handshake;
mod link;
mod listener;
mod replies;
mod ring;
mod session;

use std::{io, os::fd::OwnedFd};

use clap::Parser;

use crate::{
    cli::{Args, Engine},
    link::Socket,
    listener::Listener,
    ring::Ring,
    session::Session,
};

/// Unit in which memory is touched, in bytes: no page is larger that must be.
const PAGE: usize = 4096;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut disk = touched(args.size)?;
    let listener = Listener::bind(&args.listen)?;
    loop {
        // A client that breaks the protocol, or leaves in the middle of something, is no concern of the next.
        let Ok(Some(socket)) = listener.accept(args.size) else { continue };
        let _client_left = serve(socket, &mut disk, args.engine, args.batch.get());
    }
}

/// Zeros, every page of them in memory.
fn touched(size: u64) -> anyhow::Result<Vec<u8>> {
    let mut disk = vec![0; usize::try_from(size)?];
    for byte in disk.iter_mut().step_by(PAGE) {
        *byte = std::hint::black_box(0);
    }
    Ok(disk)
}

/// Serves one connection, whose handshake is over, to its end.
fn serve(socket: OwnedFd, disk: &mut [u8], engine: Engine, batch: usize) -> io::Result<()> {
    let session = Session::new(disk, batch);
    match engine {
        Engine::Socket => session.run(&mut Socket(socket)),
        Engine::Uring => session.run(&mut Ring::new(socket)?),
    }
}
