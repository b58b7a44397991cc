//! Where clients connect, and where metrics are served.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs},
    path::PathBuf,
    str::FromStr,
};

use serde::Deserialize;

use super::Invalid;

/// The port that IANA gave to NBD.
pub const NBD_PORT: u16 = 10809;

/// Longest path of a Unix socket in bytes, without the final NUL (`sun_path`).
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Longest name of a descriptor that systemd takes.
const MAX_DESCRIPTOR_NAME_BYTES: usize = 255;

/// A listening socket, ready to be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP socket; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// What the service manager listens on and passes on: all of it, or the sockets of this name.
    Systemd(Option<String>),
}

/// A listening socket as it was written, before names are looked up: `unix:/path`, `tcp:host:port`, `systemd` or
/// `systemd:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ListenSpec {
    /// `unix:/path`.
    Unix(PathBuf),
    /// `tcp:host:port`, `tcp:[::1]:port`; without a port, [`NBD_PORT`].
    Tcp(HostPort),
    /// `systemd`, `systemd:NAME`.
    Systemd(Option<String>),
}

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostPort {
    host: String,
    port: u16,
}

impl Listen {
    /// Whether clients on other machines can reach it. Of sockets that are passed on it is not known here.
    pub fn is_remote(&self) -> bool {
        match self {
            Self::Unix(_) | Self::Systemd(_) => false,
            Self::Tcp(address) => !address.ip().to_canonical().is_loopback(),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Systemd(None) => f.write_str("systemd"),
            Self::Systemd(Some(name)) => write!(f, "systemd:{name}"),
        }
    }
}

impl ListenSpec {
    /// Where a gateway listens that was told nothing: this machine only.
    pub fn default_tcp() -> Self {
        Self::Tcp(HostPort { host: "localhost".into(), port: NBD_PORT })
    }

    /// Looks the host up.
    ///
    /// # Errors
    /// The host has no address.
    pub fn resolve(self) -> Result<Listen, Invalid> {
        match self {
            Self::Unix(path) => Ok(Listen::Unix(path)),
            Self::Tcp(address) => address.resolve().map(Listen::Tcp),
            Self::Systemd(name) => Ok(Listen::Systemd(name)),
        }
    }
}

impl FromStr for ListenSpec {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(path).map(Self::Unix);
        }
        if text == "systemd" {
            return Ok(Self::Systemd(None));
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            return descriptor_name(name).map(|name| Self::Systemd(Some(name)));
        }
        match text.strip_prefix("tcp:") {
            Some(address) => HostPort::parse(address, Some(NBD_PORT)).map(Self::Tcp),
            None => Err(Invalid::new(format!("{text:?} is no listener: write unix:/path, tcp:host:port or systemd"))),
        }
    }
}

/// A name as `FileDescriptorName=` of a socket unit takes it (systemd.socket(5)).
fn descriptor_name(name: &str) -> Result<String, Invalid> {
    let is_allowed = |byte: u8| byte == b' ' || (byte.is_ascii_graphic() && byte != b':');
    if name.is_empty() || name.len() > MAX_DESCRIPTOR_NAME_BYTES || !name.bytes().all(is_allowed) {
        return Err(Invalid::new(format!(
            "systemd:{name:?} names no socket: write what FileDescriptorName= of the socket unit says, or systemd alone"
        )));
    }
    Ok(name.to_owned())
}

/// What all listeners together must be: at least one, none twice, remote only if that is allowed.
pub(super) fn checked(specs: Option<Vec<ListenSpec>>, allow_remote: bool) -> Result<Vec<Listen>, Invalid> {
    let specs = specs.unwrap_or_else(|| vec![ListenSpec::default_tcp()]);
    if specs.is_empty() {
        return Err(Invalid::new("no listener: give --listen unix:/path or --listen tcp:localhost:10809"));
    }
    let mut listeners: Vec<Listen> = Vec::with_capacity(specs.len());
    for spec in specs {
        let listen = spec.resolve()?;
        if listen.is_remote() && !allow_remote {
            return Err(Invalid::remote(&listen));
        }
        let any_port = matches!(&listen, Listen::Tcp(address) if address.port() == 0);
        if listeners.contains(&listen) && !any_port {
            return Err(Invalid::new(format!("{listen} is given twice: leave one out")));
        }
        listeners.push(listen);
    }
    let passed = |listen: &&Listen| matches!(listen, Listen::Systemd(_));
    if listeners.contains(&Listen::Systemd(None)) && listeners.iter().filter(passed).count() > 1 {
        return Err(Invalid::new(
            "systemd takes every socket that is passed: leave out systemd:NAME, or name them all",
        ));
    }
    Ok(listeners)
}

fn socket_path(path: &str) -> Result<PathBuf, Invalid> {
    if path.is_empty() || path.contains('\0') || path.ends_with('/') {
        return Err(Invalid::new(format!("unix:{path:?} names no socket: write unix:/path")));
    }
    if path.len() > MAX_SOCKET_PATH_BYTES {
        let length = path.len();
        return Err(Invalid::new(format!(
            "the socket path {path:?} has {length} bytes; the system allows {MAX_SOCKET_PATH_BYTES}"
        )));
    }
    Ok(path.into())
}

impl HostPort {
    /// `host:port` or `[v6]:port`; the port may be left out if there is a default.
    fn parse(text: &str, default_port: Option<u16>) -> Result<Self, Invalid> {
        let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(None) => return Err(Invalid::new(format!("{text:?} lacks the closing bracket, as in [::1]:10809"))),
            Some(Some((host, rest))) => (host, rest.strip_prefix(':').or(rest.is_empty().then_some(""))),
            None if text.matches(':').count() > 1 => {
                return Err(Invalid::new(format!("{text:?}: an IPv6 address needs brackets, as in [::1]:10809")));
            }
            None => text.split_once(':').map_or((text, Some("")), |(host, port)| (host, Some(port))),
        };
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
        if host.is_empty() || !host.chars().all(is_host) || host.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Invalid::new(format!(
                "{text:?} names no host: write localhost:{NBD_PORT} for this machine, 0.0.0.0:{NBD_PORT} for every interface"
            )));
        }
        let port = match (port, default_port) {
            (Some(""), Some(default)) => default,
            (Some(port), _) => port
                .parse()
                .map_err(|_| Invalid::new(format!("{text:?} needs a port from 0 to 65535, as in {host}:{NBD_PORT}")))?,
            (None, _) => {
                return Err(Invalid::new(format!("{text:?}: after the bracket comes a port, as in [::1]:10809")));
            }
        };
        Ok(Self { host: host.to_owned(), port })
    }

    /// Looks the host up. `localhost` is 127.0.0.1 without asking anyone (RFC 6761); a name with several
    /// addresses gives the first, IPv4 before IPv6.
    ///
    /// # Errors
    /// The host has no address.
    pub fn resolve(&self) -> Result<SocketAddr, Invalid> {
        if self.host.eq_ignore_ascii_case("localhost") {
            return Ok((IpAddr::from(Ipv4Addr::LOCALHOST), self.port).into());
        }
        let addresses = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| Invalid::new(format!("host {:?} cannot be looked up: {error}", self.host)))?;
        addresses
            .min_by_key(SocketAddr::is_ipv6)
            .ok_or_else(|| Invalid::new(format!("host {:?} has no address", self.host)))
    }
}

impl FromStr for HostPort {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text, None)
    }
}

impl TryFrom<String> for HostPort {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl TryFrom<String> for ListenSpec {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn listeners_are_read_and_resolved() {
        for (text, resolved, remote) in [
            ("unix:/run/nbd.sock", "unix:/run/nbd.sock", false),
            ("unix:nbd.sock", "unix:nbd.sock", false),
            ("tcp:localhost:0", "tcp:127.0.0.1:0", false),
            ("tcp:LOCALHOST", "tcp:127.0.0.1:10809", false),
            ("tcp:127.0.0.2:7", "tcp:127.0.0.2:7", false),
            ("tcp:[::1]:7", "tcp:[::1]:7", false),
            ("tcp:[::1]", "tcp:[::1]:10809", false),
            ("tcp:[::ffff:127.0.0.1]:7", "tcp:[::ffff:127.0.0.1]:7", false),
            ("tcp:[::ffff:10.0.0.1]:7", "tcp:[::ffff:10.0.0.1]:7", true),
            ("tcp:0.0.0.0:10809", "tcp:0.0.0.0:10809", true),
            ("tcp:[::]:10809", "tcp:[::]:10809", true),
            ("tcp:192.0.2.1:10809", "tcp:192.0.2.1:10809", true),
            ("systemd", "systemd", false),
            ("systemd:nbd", "systemd:nbd", false),
            ("systemd:nbdgate@vm1.socket", "systemd:nbdgate@vm1.socket", false),
        ] {
            let listen = text.parse::<ListenSpec>().expect(text).resolve().expect(text);
            assert_eq!(listen.to_string(), resolved, "{text}");
            assert_eq!(listen.is_remote(), remote, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_bound_is_refused_with_the_reason() {
        let long = format!("unix:/{}", "x".repeat(MAX_SOCKET_PATH_BYTES));
        for (text, reason) in [
            ("", "no listener"),
            ("127.0.0.1:10809", "no listener"),
            ("udp:127.0.0.1:1", "no listener"),
            ("systemd:", "FileDescriptorName"),
            ("systemd:a:b", "FileDescriptorName"),
            ("systemd:\n", "FileDescriptorName"),
            ("systemdx", "no listener"),
            ("unix:", "names no socket"),
            ("unix:/run/", "names no socket"),
            (long.as_str(), "bytes"),
            ("tcp:", "names no host"),
            ("tcp::10809", "names no host"),
            ("tcp:10809", "names no host"),
            ("tcp:*:10809", "names no host"),
            ("tcp:user@host:1", "names no host"),
            ("tcp:::1", "brackets"),
            ("tcp:[::1:7", "closing bracket"),
            ("tcp:[::1]7", "after the bracket"),
            ("tcp:localhost:-1", "port"),
            ("tcp:localhost:x", "port"),
            ("tcp:localhost:65536", "port"),
        ] {
            let error = text.parse::<ListenSpec>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!("localhost".parse::<HostPort>().expect_err("no default").to_string().contains("port"));
    }

    proptest! {
        #[test]
        fn any_string_is_parsed_or_refused(text in ".*|(unix|tcp|systemd):[\\]\\[a-z0-9:/.]{0,20}") {
            let _ = text.parse::<ListenSpec>();
        }
    }
}
