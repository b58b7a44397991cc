//! Connects and negotiates; what comes out is a socket in the transmission phase.

use std::{
    net::TcpStream,
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::Duration,
};

use anyhow::Context;

use crate::{
    cli::Target,
    handshake::{self, Export},
    plan::Plan,
};

/// A negotiated socket. It blocks for the plan's stall time at most; calls that must not block say so.
pub(crate) fn open(plan: &Plan) -> anyhow::Result<(OwnedFd, Export)> {
    match &plan.target {
        Target::Unix(path) => {
            let stream =
                UnixStream::connect(path).with_context(|| format!("connect to the socket {}", path.display()))?;
            stream.set_read_timeout(Some(plan.stall))?;
            let export = handshake::negotiate(&stream, &plan.export, plan.structured)?;
            Ok((stream.into(), export))
        }
        Target::Tcp(address) => {
            let stream = connect_tcp(address, plan.stall)?;
            let export = handshake::negotiate(&stream, &plan.export, plan.structured)?;
            Ok((stream.into(), export))
        }
    }
}

fn connect_tcp(address: &str, stall: Duration) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(stall))?;
    Ok(stream)
}
