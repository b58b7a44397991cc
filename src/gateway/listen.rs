//! Listening sockets: binding them, accepting from them, handing on.

use std::{
    fmt, fs, io,
    net::TcpListener as StdTcpListener,
    os::linux::net::SocketAddrExt,
    os::unix::{
        fs::{FileTypeExt, MetadataExt},
        net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener},
    runtime::Runtime,
    sync::Semaphore,
    task::JoinHandle,
};

use super::{Shared, passed::Passed, serve::Arrival, threads::IoThreads};
use crate::{
    config::{Config, Listen},
    metrics::{ListenerMetrics, Refused},
    nbd::transmission::Socket,
};

/// Handshakes at one time; more are refused.
const MAX_HANDSHAKES: usize = 1024;
/// Pause after an `accept` that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket that is not yet accepted from.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp(StdTcpListener),
    /// With its file, unless somebody else made it and looks after it.
    Unix(StdUnixListener, Option<SocketFile>),
}

/// A Unix socket's file; removed with the listener, if it is still the one that was made.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _already_gone = fs::remove_file(&self.path);
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(socket) => match socket.local_addr() {
                Ok(address) => write!(f, "tcp:{address}"),
                Err(_) => f.write_str("tcp"),
            },
            Self::Unix(_, Some(file)) => write!(f, "unix:{}", file.path.display()),
            Self::Unix(socket, None) => match socket.local_addr() {
                Ok(address) => match (address.as_pathname(), address.as_abstract_name()) {
                    (Some(path), _) => write!(f, "unix:{}", path.display()),
                    (None, Some(name)) => write!(f, "unix:@{}", name.escape_ascii()),
                    (None, None) => f.write_str("unix"),
                },
                Err(_) => f.write_str("unix"),
            },
        }
    }
}

/// Binds every listener, and takes those that were passed on; none of these may be left over, or its clients would wait
/// for ever.
pub(super) fn bind_all(config: &Config, mut passed: Passed) -> anyhow::Result<Vec<Bound>> {
    let mut bound = Vec::with_capacity(config.listen.len());
    for listen in &config.listen {
        match listen {
            Listen::Systemd(name) => bound.extend(passed.take(name.as_deref(), config.allow_remote_plaintext)?),
            Listen::Tcp(_) | Listen::Unix(_) => bound.push(bind(listen)?),
        }
    }
    passed.nothing_is_left()?;
    Ok(bound)
}

/// Binds one listener.
fn bind(listen: &Listen) -> anyhow::Result<Bound> {
    let bound = match listen {
        Listen::Systemd(_) => unreachable!("those are bound already"),
        Listen::Tcp(address) => {
            let socket = StdTcpListener::bind(address).with_context(|| format!("cannot listen on tcp:{address}"))?;
            socket.set_nonblocking(true).context("cannot prepare a listener")?;
            Bound::Tcp(socket)
        }
        Listen::Unix(path) => {
            remove_stale(path)?;
            let socket =
                StdUnixListener::bind(path).with_context(|| format!("cannot listen on unix:{}", path.display()))?;
            socket.set_nonblocking(true).context("cannot prepare a listener")?;
            let inode = fs::symlink_metadata(path).context("cannot see the socket just made")?.ino();
            Bound::Unix(socket, Some(SocketFile { path: path.clone(), inode }))
        }
    };
    Ok(bound)
}

/// Removes a socket file that nobody listens on; anything else in its place is left alone.
fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        bail!("cannot listen on unix:{}: a file that is not a socket is in its place", path.display());
    }
    match StdUnixStream::connect(path) {
        Ok(_) => bail!("cannot listen on unix:{}: another server listens there", path.display()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("cannot remove the stale socket {}", path.display()))
        }
        Err(error) => Err(error).with_context(|| format!("cannot tell whether unix:{} is in use", path.display())),
    }
}

/// What accepted sockets pass through.
#[derive(Clone, Debug)]
pub(super) struct Accept {
    shared: Arc<Shared>,
    threads: Arc<IoThreads>,
    places: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
}

impl Accept {
    pub(super) fn new(shared: Arc<Shared>, threads: Arc<IoThreads>, connections: usize) -> Self {
        let semaphore = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self { shared, threads, places: semaphore(connections), handshakes: semaphore(MAX_HANDSHAKES) }
    }

    fn admit(&self, socket: Socket, peer: String, metrics: &ListenerMetrics) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.shared.metrics.refused(Refused::Connections);
            return tracing::warn!(peer, "connection refused: max-connections is reached");
        };
        let Ok(handshake) = self.handshakes.clone().try_acquire_owned() else {
            self.shared.metrics.refused(Refused::Handshakes);
            return tracing::warn!(peer, limit = MAX_HANDSHAKES, "connection refused: too many handshakes");
        };
        let place = (place, metrics.accepted());
        self.threads.serve(Arrival { socket, peer, place, haggled: None, handshake: Some(handshake) });
    }
}

/// A listener that is being accepted from.
#[derive(Debug)]
pub(super) struct Listener {
    task: JoinHandle<()>,
}

impl Listener {
    pub(super) fn start(service: &Runtime, bound: Bound, accept: Accept) -> anyhow::Result<Self> {
        let _context = service.enter();
        let metrics = accept.shared.metrics.listener(&bound.to_string());
        let task = match bound {
            Bound::Tcp(socket) => {
                let socket = TcpListener::from_std(socket).context("cannot use a listener")?;
                service.spawn(accept_tcp(socket, accept, metrics))
            }
            Bound::Unix(socket, file) => {
                let socket = UnixListener::from_std(socket).context("cannot use a listener")?;
                service.spawn(accept_unix(socket, file, accept, metrics))
            }
        };
        Ok(Self { task })
    }

    /// Stops accepting and closes the socket.
    pub(super) async fn stop(self) {
        self.task.abort();
        let _aborted = self.task.await;
    }
}

/// Bytes that a Unix socket holds for a client that is busy; the kernel cuts it to its limit (`net.core.wmem_max`) and
/// doubles it for its own needs. With the default, half of that, long reads leave client and server to wait for each other
/// at every 100 KiB. TCP sockets grow by themselves.
const UNIX_SEND_BUFFER: usize = 1 << 20;

async fn accept_tcp(socket: TcpListener, accept: Accept, metrics: ListenerMetrics) {
    loop {
        let accepted = socket.accept().await.and_then(|(stream, peer)| Ok((prepare(stream)?, format!("tcp:{peer}"))));
        take(accepted, &accept, &metrics).await;
    }
}

/// Sends small replies at once, and finds out about clients that are gone.
fn prepare(stream: TcpStream) -> io::Result<Socket> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
    Ok(Socket::Tcp(stream.into_std()?))
}

/// The socket's file goes with this loop.
async fn accept_unix(socket: UnixListener, _file: Option<SocketFile>, accept: Accept, metrics: ListenerMetrics) {
    loop {
        let accepted = socket.accept().await.and_then(|(stream, _)| {
            let who = stream.peer_cred().map_or_else(
                |_| "unix".to_owned(),
                |peer| format!("unix:uid={},pid={}", peer.uid(), peer.pid().unwrap_or_default()),
            );
            rustix::net::sockopt::set_socket_send_buffer_size(&stream, UNIX_SEND_BUFFER)?;
            Ok((Socket::Unix(stream.into_std()?), who))
        });
        take(accepted, &accept, &metrics).await;
    }
}

async fn take(accepted: io::Result<(Socket, String)>, accept: &Accept, metrics: &ListenerMetrics) {
    match accepted {
        Ok((socket, peer)) => accept.admit(socket, peer, metrics),
        Err(error) => {
            accept.shared.metrics.refused(Refused::Accept);
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream as StdTcpStream;

    use super::*;

    #[test]
    fn tcp_connections_have_nodelay() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let accepted = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let _client = StdTcpStream::connect(listener.local_addr().unwrap()).unwrap();
            prepare(listener.accept().await.unwrap().0).unwrap()
        });
        let Socket::Tcp(stream) = accepted else { panic!("a TCP socket") };
        assert!(stream.nodelay().unwrap());
        assert!(rustix::net::sockopt::socket_keepalive(&stream).unwrap());
    }
}
