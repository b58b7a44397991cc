//! Listening, and the handshake of whoever comes.

use std::{
    io,
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixListener},
};

use anyhow::Context;

use crate::{cli::Address, handshake};

/// A listening socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    pub(crate) fn bind(address: &Address) -> anyhow::Result<Self> {
        Ok(match address {
            Address::Unix(path) => Self::Unix(
                UnixListener::bind(path).with_context(|| format!("cannot listen on unix:{}", path.display()))?,
            ),
            Address::Tcp(address) => {
                Self::Tcp(TcpListener::bind(address).with_context(|| format!("cannot listen on tcp:{address}"))?)
            }
        })
    }

    /// Waits for a client and brings it to the transmission phase of a disk of so many bytes; `None` if it only asked.
    pub(crate) fn accept(&self, size: u64) -> io::Result<Option<OwnedFd>> {
        match self {
            Self::Unix(listener) => {
                let (mut stream, _) = listener.accept()?;
                Ok(handshake::negotiate(&mut stream, size)?.then(|| stream.into()))
            }
            Self::Tcp(listener) => {
                let (mut stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok(handshake::negotiate(&mut stream, size)?.then(|| stream.into()))
            }
        }
    }
}
