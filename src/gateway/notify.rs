//! The wire to the service manager: datagrams of `KEY=VALUE` lines (sd_notify(3)), and how long it waits for a sign of
//! life (sd_watchdog_enabled(3)).

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use anyhow::{Context, bail};

/// Time for the manager to take a datagram; it reads them all the time.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// The manager's socket.
#[derive(Debug)]
pub(super) struct Notify {
    socket: UnixDatagram,
    manager: SocketAddr,
}

impl Notify {
    /// The socket that `NOTIFY_SOCKET` names; `None` if nobody wants to be told, or in a way that this program does not know,
    /// as over a network of virtual machines: to serve untold is better than not to serve.
    ///
    /// # Errors
    /// What it names cannot be a Unix socket.
    pub(super) fn from_environment() -> anyhow::Result<Option<Self>> {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Ok(None) };
        if let Some(scheme) = scheme(&name) {
            tracing::warn!(
                scheme,
                "the service manager is not told how it goes: NOTIFY_SOCKET names neither a path nor an abstract socket"
            );
            return Ok(None);
        }
        let told = || format!("cannot tell the service manager, which NOTIFY_SOCKET={} names", name.display());
        let manager = address(&name).with_context(told)?;
        let socket = UnixDatagram::unbound().with_context(told)?;
        socket.set_write_timeout(Some(SEND_TIMEOUT)).with_context(told)?;
        Ok(Some(Self { socket, manager }))
    }

    /// Sends `KEY=VALUE` lines.
    ///
    /// # Errors
    /// The manager does not take them.
    pub(super) fn send(&self, lines: &str) -> io::Result<()> {
        self.socket.send_to_addr(lines.as_bytes(), &self.manager).map(drop)
    }
}

/// What comes before the colon of something that is no Unix socket, as `vsock`.
fn scheme(name: &OsStr) -> Option<&str> {
    let (scheme, _) = name.to_str()?.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then_some(scheme)
}

fn address(name: &OsStr) -> anyhow::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => Ok(SocketAddr::from_abstract_name(name)?),
        [b'/', ..] => Ok(SocketAddr::from_pathname(name)?),
        _ => bail!("it begins with neither / nor @"),
    }
}

/// The time within which the manager wants a sign of life from this process, if it does.
pub(super) fn watchdog() -> Option<Duration> {
    interval(env::var("WATCHDOG_USEC").ok().as_deref(), env::var("WATCHDOG_PID").ok().as_deref(), std::process::id())
}

fn interval(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    usec?.parse().ok().filter(|usec| *usec > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_abstract_names_are_addresses() {
        let path = address(OsStr::new("/run/systemd/notify")).expect("a path");
        assert_eq!(path.as_pathname(), Some("/run/systemd/notify".as_ref()));
        let name = address(OsStr::new("@a/b")).expect("an abstract name");
        assert_eq!(name.as_abstract_name(), Some(&b"a/b"[..]));
        for wrong in ["relative", &format!("/{}", "x".repeat(200))] {
            address(OsStr::new(wrong)).expect_err(wrong);
        }
    }

    #[test]
    fn what_is_no_unix_socket_is_known_by_its_scheme() {
        assert_eq!(scheme(OsStr::new("vsock:2:1")), Some("vsock"));
        assert_eq!(scheme(OsStr::new("vsock-stream:2:1")), Some("vsock-stream"));
        for unix in ["/run/a:b", "@a:b", "relative", "./a:b", ":1"] {
            assert_eq!(scheme(OsStr::new(unix)), None, "{unix}");
        }
    }

    #[test]
    fn a_watchdog_is_ours_if_it_names_nobody_else() {
        let thirty = Some(Duration::from_secs(30));
        assert_eq!(interval(Some("30000000"), None, 7), thirty);
        assert_eq!(interval(Some("30000000"), Some("7"), 7), thirty);
        assert_eq!(interval(Some("30000000"), Some("8"), 7), None);
        assert_eq!(interval(None, Some("7"), 7), None);
        assert_eq!(interval(Some("0"), None, 7), None);
        assert_eq!(interval(Some("soon"), None, 7), None);
    }
}
