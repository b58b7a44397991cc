//! Every setting, as it is written: one struct is the flags of `nbdgate serve` and the keys of the file, so that both
//! have the same names.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::{ExportConfig, HostPort, ListenSpec, Size, Span};

/// Settings from one source; what was not given there is empty.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Serve a disk under a name: NAME=URI[,option[=value]]... (repeatable)
    ///
    /// URI is file:/path, mem:SIZE, rocksdb:/path, s3://bucket/prefix/disk, gs://..., az://... or dir:/path/disk (a
    /// local directory used as a bucket). An empty NAME is the default export. Options: readonly; description=TEXT;
    /// for file: direct and size=SIZE (create the image if it is missing); for rocksdb: snapshot=NAME (always
    /// readonly) and, to create the disk if it is missing, size=SIZE, extent=4K|8K|16K|32K|64K and
    /// compression=none|lz4|zstd, or rocksdb:/path?size=SIZE&extent=...; for object stores snapshot=NAME (always
    /// readonly), journal=PATH, journal-size=SIZE, abandon-journal, rpo=DURATION, key-file=PATH, passphrase-file=PATH,
    /// key-command=COMMAND, on-unclean=refuse|serve, steal, fencing=require|advisory, upload-delay=DURATION,
    /// dirty-memory=SIZE, read-ahead=SIZE and scrub=DURATION. A comma inside a name, path or value is doubled.
    #[arg(long, value_name = "NAME=URI")]
    pub export: Vec<ExportConfig>,

    /// Listen on unix:/path, tcp:host:port, or what systemd passed: systemd or systemd:NAME (repeatable) [default: tcp:localhost:10809]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<Vec<ListenSpec>>,

    /// Allow NBD without encryption on addresses that other machines can reach
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub allow_remote_plaintext: Option<bool>,

    /// Serve GET /metrics (Prometheus), /healthz and /livez on host:port [default: off]
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics: Option<HostPort>,

    /// Serve a page for people on the address of --metrics: GET /status [default: off]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub status_page: Option<bool>,

    /// How I/O threads wait for the kernel [default: auto]
    #[arg(long, value_name = "ENGINE")]
    pub io_engine: Option<IoEngine>,

    /// I/O threads [default: one for each core that the process may use]
    #[arg(long, value_name = "COUNT")]
    pub io_threads: Option<NonZeroUsize>,

    /// How long an I/O thread looks for more work before it sleeps, where that pays; 0us never [default: 50us]
    #[arg(long, value_name = "DURATION")]
    pub busy_poll: Option<Span>,

    /// Connections at one time; more are refused [default: 4096]
    #[arg(long, value_name = "COUNT")]
    pub max_connections: Option<NonZeroUsize>,

    /// Memory for the data of requests in flight; full means that sockets wait [default: 256M]
    #[arg(long, value_name = "SIZE")]
    pub max_memory: Option<Size>,

    /// Keep what was read from object stores in this file or block device, across restarts [default: off]
    #[arg(long, value_name = "PATH")]
    pub cache: Option<PathBuf>,

    /// Size of that file [default: 16G]
    #[arg(long, value_name = "SIZE")]
    pub cache_size: Option<Size>,

    /// Memory for writes on their way to object stores and for what was read from them, over all exports [default: 1G]
    #[arg(long, value_name = "SIZE")]
    pub object_memory: Option<Size>,

    /// Memory for what was read from RocksDB, over all its disks [default: 256M]
    #[arg(long, value_name = "SIZE")]
    pub rocksdb_cache: Option<Size>,

    /// Memory for writes to RocksDB that are in no sorted file yet, over all its disks [default: 256M]
    #[arg(long, value_name = "SIZE")]
    pub rocksdb_memory: Option<Size>,

    /// Time for a client to finish the handshake [default: 10s]
    #[arg(long, value_name = "DURATION")]
    pub handshake_timeout: Option<Span>,

    /// Time for requests in flight to finish and disks to be closed when the gateway stops [default: 90s]
    #[arg(long, value_name = "DURATION")]
    pub shutdown_timeout: Option<Span>,

    /// What to log: a level or a filter like info,nbdgate::nbd=debug [env: NBDGATE_LOG] [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
}

/// How I/O threads wait for the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum IoEngine {
    /// io_uring where the kernel allows it, else epoll.
    #[default]
    Auto,
    /// io_uring, or refuse to start.
    Uring,
    /// epoll.
    Epoll,
}

impl Settings {
    /// Lays `flags` over settings from the file: lists are joined, the file's entries first; of single values the
    /// flag wins.
    #[must_use]
    pub fn overridden_by(self, flags: Self) -> Self {
        Self {
            export: [self.export, flags.export].concat(),
            listen: match (self.listen, flags.listen) {
                (Some(file), Some(flags)) => Some([file, flags].concat()),
                (file, flags) => flags.or(file),
            },
            allow_remote_plaintext: flags.allow_remote_plaintext.or(self.allow_remote_plaintext),
            metrics: flags.metrics.or(self.metrics),
            status_page: flags.status_page.or(self.status_page),
            io_engine: flags.io_engine.or(self.io_engine),
            io_threads: flags.io_threads.or(self.io_threads),
            busy_poll: flags.busy_poll.or(self.busy_poll),
            max_connections: flags.max_connections.or(self.max_connections),
            max_memory: flags.max_memory.or(self.max_memory),
            cache: flags.cache.or(self.cache),
            cache_size: flags.cache_size.or(self.cache_size),
            object_memory: flags.object_memory.or(self.object_memory),
            rocksdb_cache: flags.rocksdb_cache.or(self.rocksdb_cache),
            rocksdb_memory: flags.rocksdb_memory.or(self.rocksdb_memory),
            handshake_timeout: flags.handshake_timeout.or(self.handshake_timeout),
            shutdown_timeout: flags.shutdown_timeout.or(self.shutdown_timeout),
            log: flags.log.or(self.log),
        }
    }
}
