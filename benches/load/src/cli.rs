//! The command line, as it was written; `plan` makes sense of it.

use std::{path::PathBuf, str::FromStr};

use clap::{Parser, ValueEnum};

/// Loads an NBD server and measures it.
#[derive(Debug, Parser)]
#[command(name = "nbdgate-load", version)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Args {
    /// The server: unix:/path or tcp:host:port.
    #[arg(long)]
    pub(crate) connect: Target,
    /// The export's name; the default export if not given.
    #[arg(long, default_value = "")]
    pub(crate) export: String,
    /// Negotiate structured replies.
    #[arg(long)]
    pub(crate) structured: bool,
    /// What to do; one write+flush is a WRITE and, once it is answered, a FLUSH, counted and timed as one.
    #[arg(long, value_enum, default_value = "read")]
    pub(crate) op: Op,
    /// The share of reads in a mixed load.
    #[arg(long, default_value_t = 70, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) read_percent: u8,
    /// Bytes of one request (suffixes k, m, g).
    #[arg(long, default_value = "4k")]
    pub(crate) block_size: Size,
    /// The order of offsets.
    #[arg(long, value_enum, default_value = "random")]
    pub(crate) order: Order,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) depth: u32,
    /// Connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) connections: u32,
    /// Only the first bytes of the disk (suffixes k, m, g); the whole disk if not given.
    #[arg(long)]
    pub(crate) range: Option<Size>,
    /// Seconds to measure.
    #[arg(long, default_value_t = 5.0, conflicts_with = "requests")]
    pub(crate) seconds: f64,
    /// Requests to measure, instead of seconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: Option<u64>,
    /// Seconds of load before the measurement.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) warm_up_seconds: f64,
    /// Give up when the server says nothing for so many seconds.
    #[arg(long, default_value_t = 30.0)]
    pub(crate) stall_seconds: f64,
    /// Seed of offsets and of the mix.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Fill each WRITE with noise of its own, so that nothing that compresses finds two alike.
    #[arg(long, conflicts_with = "verify")]
    pub(crate) fresh: bool,
    /// Write patterns of offset and generation, check what is read, and read back all that was written.
    #[arg(long)]
    pub(crate) verify: bool,
    /// The server's process: the CPU of it and of its descendants is reported.
    #[arg(long)]
    pub(crate) server_pid: Option<u32>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The kinds of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Op {
    Read,
    Write,
    #[value(name = "write+flush")]
    WriteFlush,
    Mixed,
}

/// The order of offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    Random,
    /// Each connection walks its own share of the disk, round and round.
    Sequential,
}

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Unix(PathBuf),
    Tcp(String),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some(("tcp", address)) if address.contains(':') => Ok(Self::Tcp(address.into())),
            _ => Err("expected unix:/path or tcp:host:port".into()),
        }
    }
}

/// A number of bytes with a binary suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            _ => return Err("expected a number with k, m, g or no suffix".into()),
        };
        let number: u64 = digits.parse().map_err(|_| "expected a number with k, m, g or no suffix".to_string())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(|| "the size does not fit 64 bits".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_binary_suffixes() {
        assert_eq!("512".parse(), Ok(Size(512)));
        assert_eq!("4k".parse(), Ok(Size(4096)));
        assert_eq!("1G".parse(), Ok(Size(1 << 30)));
        for wrong in ["", "k", "4x", "4kk", "-1", "99999999999g"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn targets_name_their_transport() {
        assert_eq!("unix:/a:b".parse(), Ok(Target::Unix("/a:b".into())));
        assert_eq!("tcp:[::1]:10809".parse(), Ok(Target::Tcp("[::1]:10809".into())));
        for wrong in ["unix:", "tcp:host", "/path", "udp:host:1"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
