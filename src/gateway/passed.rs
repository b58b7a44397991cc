//! Sockets that the service manager made and passed on (sd_listen_fds(3)): descriptors from 3 on, `LISTEN_FDS` of them,
//! for the process `LISTEN_PID`, with the names in `LISTEN_FDNAMES`.
//!
//! The manager keeps them: clients that come while the gateway restarts wait instead of being refused, and the file of a
//! Unix socket is its to remove.

use anyhow::{Context, bail};
use listenfd::ListenFd;

use super::listen::Bound;
use crate::config::{Invalid, Listen};

/// What a socket is called whose unit gives it no name (sd_listen_fds(3)).
const NAMELESS: &str = "unknown";

/// What was passed on and is not yet taken.
pub(super) struct Passed {
    sockets: ListenFd,
    /// By position; `None` once it is taken.
    names: Vec<Option<String>>,
}

impl Passed {
    /// Looks into the environment, and takes LISTEN_PID and LISTEN_FDS out of it, which would tell child processes of sockets
    /// that are not theirs. LISTEN_FDNAMES stays: without the two it tells nothing. Comes before the first thread and before
    /// any descriptor is opened.
    pub(super) fn from_environment() -> Self {
        let is_ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(std::process::id()));
        let sockets = if is_ours { ListenFd::from_env() } else { ListenFd::empty() };
        let given = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self { names: names(&given, sockets.len()), sockets }
    }

    /// Takes all sockets, or those of a name.
    ///
    /// # Errors
    /// There is none, or one is not a listening stream socket, or other machines can reach it and may not.
    pub(super) fn take(&mut self, name: Option<&str>, allow_remote: bool) -> anyhow::Result<Vec<Bound>> {
        let wanted = |have: &Option<String>| have.as_deref().is_some_and(|have| name.is_none_or(|name| name == have));
        let places: Vec<_> = (0..self.names.len()).filter(|place| wanted(&self.names[*place])).collect();
        if places.is_empty() {
            let there: Vec<_> = self.names.iter().flatten().map(String::as_str).collect();
            match (name, there.is_empty()) {
                (Some(name), false) => bail!(
                    "cannot listen on systemd:{name}: systemd passed no socket of this name, but {}: set \
                     FileDescriptorName={name} in the socket unit",
                    there.join(", ")
                ),
                _ => bail!(
                    "cannot listen on what systemd passed: it passed no socket (LISTEN_FDS, LISTEN_PID): start the \
                     socket unit, or give --listen unix:/path"
                ),
            }
        }
        places.into_iter().map(|place| self.take_one(place, allow_remote)).collect()
    }

    fn take_one(&mut self, place: usize, allow_remote: bool) -> anyhow::Result<Bound> {
        let name = self.names[place].take().unwrap_or_default();
        let refused = || format!("cannot listen on systemd:{name}");
        let taken = match self.sockets.take_unix_listener(place) {
            Ok(Some(socket)) => Some(Bound::Unix(socket, None)),
            Ok(None) => None,
            Err(_) => {
                let socket = self.sockets.take_tcp_listener(place).with_context(|| {
                    format!("cannot listen on systemd:{name}: it is neither a TCP nor a Unix stream socket")
                })?;
                socket.map(Bound::Tcp)
            }
        };
        let Some(bound) = taken else { bail!("{}: it was taken before", refused()) };
        let listens = match &bound {
            Bound::Tcp(socket) => {
                let address = Listen::Tcp(socket.local_addr().with_context(refused)?);
                if address.is_remote() && !allow_remote {
                    return Err(Invalid::remote(&address)).with_context(refused);
                }
                socket.set_nonblocking(true).with_context(refused)?;
                rustix::net::sockopt::socket_acceptconn(socket)
            }
            Bound::Unix(socket, _) => {
                socket.set_nonblocking(true).with_context(refused)?;
                rustix::net::sockopt::socket_acceptconn(socket)
            }
        };
        if !listens.with_context(refused)? {
            bail!("{}: it is a connection, not a listening socket: Accept=no is what the unit needs", refused());
        }
        Ok(bound)
    }

    /// # Errors
    /// Something was passed on that nobody took.
    pub(super) fn nothing_is_left(&self) -> anyhow::Result<()> {
        let left: Vec<_> = self.names.iter().flatten().map(String::as_str).collect();
        if left.is_empty() {
            return Ok(());
        }
        bail!(
            "systemd passed a socket that no listener takes: add --listen systemd:{}",
            left.join(" --listen systemd:")
        )
    }
}

/// The names of `count` descriptors.
fn names(given: &str, count: usize) -> Vec<Option<String>> {
    let mut given = given.split(':');
    let name = |_| Some(given.next().filter(|name| !name.is_empty()).unwrap_or(NAMELESS).to_owned());
    (0..count).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_without_a_name_are_unknown() {
        let told = |given, count| names(given, count).into_iter().flatten().collect::<Vec<_>>().join(",");
        assert_eq!(told("nbd:nbd:local", 3), "nbd,nbd,local");
        assert_eq!(told("nbd", 2), "nbd,unknown");
        assert_eq!(told("", 1), "unknown");
        assert_eq!(told("nbd:spare", 1), "nbd");
        assert_eq!(told("nbd", 0), "");
    }
}
