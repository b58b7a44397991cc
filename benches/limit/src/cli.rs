//! The command line.

use std::{num::NonZeroUsize, path::PathBuf, str::FromStr};

use clap::{Parser, ValueEnum};

/// Serves zeroed memory over NBD at the least cost there is: a measuring stick, not a server.
///
/// One thread, one connection at a time, any export name. READ, WRITE, FLUSH and DISC with simple replies; requests out of
/// range end the connection. What is written is lost with the process, which ends by a signal.
#[derive(Debug, Parser)]
#[command(name = "nbdgate-limit", version)]
pub(crate) struct Args {
    /// Bytes of the disk, all of them held in memory.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) size: u64,
    /// Where to listen: unix:/path or tcp:host:port.
    #[arg(long)]
    pub(crate) listen: Address,
    /// How the socket is read and written.
    #[arg(long, value_enum, default_value = "uring")]
    pub(crate) engine: Engine,
    /// Most requests that are answered with one send.
    #[arg(long, default_value = "32")]
    pub(crate) batch: NonZeroUsize,
}

/// How the socket is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// Send and receive through one ring, one system call for both.
    Uring,
    /// One sendmsg, then one recv.
    Socket,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Unix(PathBuf),
    Tcp(String),
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            Ok(Self::Unix(path.into()))
        } else if let Some(address) = text.strip_prefix("tcp:") {
            Ok(Self::Tcp(address.to_owned()))
        } else {
            Err("expected unix:/path or tcp:host:port")
        }
    }
}
