//! The server as a program: prints its address, and ends when its standard input does, or by SIGTERM.
//!
//!     nbdgate-s3-server --get-ms 15 --put-ms 30

use std::{io::Write, process::ExitCode};

use clap::Parser;
use nbdgate_s3_server::{Server, Settings};
use tokio::{
    io::AsyncReadExt,
    signal::unix::{SignalKind, signal},
};

/// An S3 server in memory, for tests and benches. It prints its address, and ends when its standard input does.
#[derive(Debug, Parser)]
#[command(name = "nbdgate-s3-server", version)]
struct Args {
    /// The seed of faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    settings: Settings,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nbdgate-s3-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let server = Server::start(args.settings, args.seed)?;
    println!("{}", server.address());
    std::io::stdout().flush()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut input = tokio::io::stdin();
        let mut ignored = [0; 256];
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                read = input.read(&mut ignored) => if read? == 0 { break },
            }
        }
        Ok::<_, std::io::Error>(())
    })?;
    // A thread may still wait for the standard input.
    runtime.shutdown_background();
    Ok(())
}
