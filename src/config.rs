//! Typed configuration from flags and a file, wholly validated before anything is opened or bound.
//!
//! [`Settings`] is what was written, by flag or by file; [`Config`] is what it means. The only thing that building a
//! `Config` asks of the world is to read the file and to look up host names. Secrets are absent by design: they come
//! from the environment or from files that it names, and a URI that holds one is refused.

mod duration;
mod export;
mod file;
mod invalid;
mod listen;
mod object;
mod rocksdb;
mod settings;
mod size;
mod uri;

use std::{
    collections::HashSet,
    io,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use tracing_subscriber::EnvFilter;

pub use self::{
    duration::Span,
    export::ExportConfig,
    invalid::Invalid,
    listen::{HostPort, Listen, ListenSpec, NBD_PORT},
    object::{Fencing, FlushMode, Journal, KeySource, ObjectOptions, OnUnclean},
    rocksdb::{Compression, RocksDbDisk, SharedRocksDb},
    settings::{IoEngine, Settings},
    size::Size,
    uri::ExportUri,
};

#[cfg(feature = "rocksdb")]
pub(crate) use self::rocksdb::is_snapshot_name;

/// Most connections at one time, unless told otherwise.
const DEFAULT_MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
/// Memory for the data of requests in flight, unless told otherwise.
const DEFAULT_MAX_MEMORY: u64 = 256 << 20;
/// Least memory that can be given: two of the longest requests, or a pipelining client would wait for ever.
const MIN_MAX_MEMORY: u64 = 64 << 20;
/// Memory for writes on their way to object stores and for what was read from them, unless told otherwise.
const DEFAULT_OBJECT_MEMORY: u64 = 1 << 30;
/// Least of it.
const MIN_OBJECT_MEMORY: u64 = 64 << 20;
/// Memory for what was read from RocksDB, and as much for what was written to it, unless told otherwise.
const DEFAULT_ROCKSDB_MEMORY: u64 = 256 << 20;
/// Least of each.
const MIN_ROCKSDB_MEMORY: u64 = 8 << 20;
/// Size of a read cache, unless told otherwise.
const DEFAULT_CACHE: u64 = 16 << 30;
/// Least of it.
const MIN_CACHE: u64 = 16 << 20;
/// Time of busy polling, unless told otherwise: a client on this machine needs less to send its next request, on a virtual
/// machine too.
const DEFAULT_BUSY_POLL: Duration = Duration::from_micros(50);
/// Most of it: who waits longer does not notice the time that waking takes.
const MAX_BUSY_POLL: Duration = Duration::from_millis(1);
/// Time for the handshake, unless told otherwise.
const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time to finish what is in flight and to close disks, unless told otherwise: one in an object store has a minute to bring
/// there what it lacks.
const DEFAULT_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(90);
/// What is logged, unless told otherwise.
const DEFAULT_LOG: &str = "info";
/// Most I/O threads.
const MAX_IO_THREADS: usize = 1024;

/// A valid configuration of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// At least one; no name twice, and no storage twice that is written to.
    pub exports: Vec<ExportConfig>,
    /// At least one, none twice; remote only if that was allowed.
    pub listen: Vec<Listen>,
    /// Whether a socket that is passed on may be one that other machines can reach.
    pub allow_remote_plaintext: bool,
    /// Where metrics and health are served, if at all.
    pub metrics: Option<SocketAddr>,
    /// Whether the status page is served there; only with an address.
    pub status_page: bool,
    /// How I/O threads wait.
    pub io_engine: IoEngine,
    /// I/O threads; `None` for one per usable core.
    pub io_threads: Option<NonZeroUsize>,
    /// How long an I/O thread looks for more work before it sleeps.
    pub busy_poll: Duration,
    /// What clients can make the gateway spend.
    pub limits: Limits,
    /// What all exports in object stores share.
    pub object: SharedObject,
    /// What all exports in RocksDB share.
    pub rocksdb: SharedRocksDb,
    /// Time for requests in flight to finish and for disks to be closed when the gateway stops.
    pub shutdown_timeout: Duration,
    /// What to log, in the syntax of tracing's filters.
    pub log: String,
}

/// What clients can make the gateway spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at one time, those in the handshake included.
    pub connections: NonZeroUsize,
    /// Bytes for the data of requests in flight, over all connections.
    pub memory: u64,
    /// Time for a client to finish the handshake.
    pub handshake_timeout: Duration,
}

/// What all exports in object stores share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedObject {
    /// The read cache on local storage, if there is one.
    pub cache: Option<Cache>,
    /// Bytes of memory for writes on their way and for what was read.
    pub memory: u64,
}

/// A read cache on local storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// A file, created if it is missing, or a block device.
    pub path: PathBuf,
    /// Bytes of a file; a device is used whole if this is not given.
    pub size: u64,
}

/// Why there is no configuration. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read configuration file {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is wrong.
    #[error("{}:{line}: {message}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// The settings do not make a gateway.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl Config {
    /// Reads the file, lays the flags over it and validates the whole.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(file: Option<&Path>, flags: Settings) -> Result<Self, ConfigError> {
        let settings = file.map(file::read).transpose()?.unwrap_or_default();
        Ok(Self::new(settings.overridden_by(flags))?)
    }

    /// Validates settings and fills in the defaults.
    ///
    /// # Errors
    /// The settings do not make a gateway.
    pub fn new(settings: Settings) -> Result<Self, Invalid> {
        let allow_remote = settings.allow_remote_plaintext.unwrap_or(false);
        let memory = settings.max_memory.map_or(DEFAULT_MAX_MEMORY, Size::bytes);
        if memory < MIN_MAX_MEMORY {
            let (given, least) = (Size::from_bytes(memory), Size::from_bytes(MIN_MAX_MEMORY));
            return Err(Invalid::new(format!("max-memory {given} is below {least}, two requests of the longest kind")));
        }
        if let Some(threads) = settings.io_threads.filter(|threads| threads.get() > MAX_IO_THREADS) {
            return Err(Invalid::new(format!("io-threads {threads} is above the limit of {MAX_IO_THREADS}")));
        }
        let status_page = settings.status_page.unwrap_or(false);
        if status_page && settings.metrics.is_none() {
            return Err(Invalid::new("the status page is served on the address of --metrics: add --metrics HOST:PORT"));
        }
        Ok(Self {
            exports: checked_exports(settings.export)?,
            listen: listen::checked(settings.listen, allow_remote)?,
            allow_remote_plaintext: allow_remote,
            metrics: settings.metrics.map(|address| address.resolve()).transpose()?,
            status_page,
            io_engine: settings.io_engine.unwrap_or_default(),
            io_threads: settings.io_threads,
            busy_poll: checked_busy_poll(settings.busy_poll)?,
            limits: Limits {
                connections: settings.max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS),
                memory,
                handshake_timeout: checked_handshake_timeout(settings.handshake_timeout)?,
            },
            object: SharedObject {
                cache: checked_cache(settings.cache, settings.cache_size)?,
                memory: at_least("object-memory", settings.object_memory, DEFAULT_OBJECT_MEMORY, MIN_OBJECT_MEMORY)?,
            },
            rocksdb: SharedRocksDb {
                cache: rocksdb_memory("rocksdb-cache", settings.rocksdb_cache)?,
                memory: rocksdb_memory("rocksdb-memory", settings.rocksdb_memory)?,
            },
            shutdown_timeout: settings.shutdown_timeout.map_or(DEFAULT_SHUTDOWN_TIMEOUT, Span::duration),
            log: checked_log(settings.log.unwrap_or_else(|| DEFAULT_LOG.to_owned()))?,
        })
    }
}

fn checked_cache(path: Option<PathBuf>, size: Option<Size>) -> Result<Option<Cache>, Invalid> {
    let Some(path) = path else {
        return match size {
            None => Ok(None),
            Some(_) => Err(Invalid::new("cache-size is for a cache: add --cache PATH")),
        };
    };
    Ok(Some(Cache { path, size: at_least("cache-size", size, DEFAULT_CACHE, MIN_CACHE)? }))
}

fn at_least(setting: &str, given: Option<Size>, default: u64, least: u64) -> Result<u64, Invalid> {
    match given.map_or(default, Size::bytes) {
        bytes if bytes < least => {
            let (given, least) = (Size::from_bytes(bytes), Size::from_bytes(least));
            Err(Invalid::new(format!("{setting} {given} is too small: give it at least {least}")))
        }
        bytes => Ok(bytes),
    }
}

fn rocksdb_memory(setting: &str, given: Option<Size>) -> Result<u64, Invalid> {
    at_least(setting, given, DEFAULT_ROCKSDB_MEMORY, MIN_ROCKSDB_MEMORY)
}

fn checked_handshake_timeout(given: Option<Span>) -> Result<Duration, Invalid> {
    match given.map_or(DEFAULT_HANDSHAKE_TIMEOUT, Span::duration) {
        Duration::ZERO => Err(Invalid::new("handshake-timeout 0 would refuse every client: give it some seconds")),
        timeout => Ok(timeout),
    }
}

fn checked_busy_poll(given: Option<Span>) -> Result<Duration, Invalid> {
    match given.map_or(DEFAULT_BUSY_POLL, Span::duration) {
        time if time > MAX_BUSY_POLL => Err(Invalid::new(format!(
            "busy-poll {time:?} would burn a core for every client: at most {MAX_BUSY_POLL:?}"
        ))),
        time => Ok(time),
    }
}

fn checked_log(filter: String) -> Result<String, Invalid> {
    match EnvFilter::try_new(&filter) {
        Ok(_) => Ok(filter),
        Err(error) => Err(Invalid::new(format!(
            "log filter {filter:?} is none ({error}): write a level (error, warn, info, debug, trace) or \
             target=level,..."
        ))),
    }
}

fn checked_exports(exports: Vec<ExportConfig>) -> Result<Vec<ExportConfig>, Invalid> {
    if exports.is_empty() {
        return Err(Invalid::new(
            "nothing to serve: give --export NAME=URI (for example --export vm1=file:/disk.img), or [[export]] in the file",
        ));
    }
    let mut names = HashSet::new();
    for export in &exports {
        let name = &export.name;
        if !names.insert(name) {
            return Err(Invalid::new(format!("export name {:?} is used twice: give each its own", name.as_str())));
        }
        let [storage, part] = match export.uri {
            ExportUri::Object(_) if !cfg!(feature = "object-log") => ["an object store", "the object log"],
            ExportUri::RocksDb { .. } if !cfg!(feature = "rocksdb") => ["RocksDB"; 2],
            ExportUri::File { .. } | ExportUri::Memory { .. } | ExportUri::Object(_) | ExportUri::RocksDb { .. } => {
                continue;
            }
        };
        return Err(Invalid::new(format!(
            "export {:?} is in {storage} ({}), and this nbdgate was built without {part}",
            name.as_str(),
            export.uri
        )));
    }
    checked_storage(&exports)?;
    #[cfg(feature = "object-log")]
    checked_locations(&exports)?;
    Ok(exports)
}

/// The object log has the last word on what names a disk in it.
#[cfg(feature = "object-log")]
fn checked_locations(exports: &[ExportConfig]) -> Result<(), Invalid> {
    for export in exports {
        if let ExportUri::Object(url) = &export.uri {
            let told = |error: nbdgate_s3::Error| {
                Invalid::new(format!("export {:?}: {}", export.name.as_str(), error.chain()))
            };
            url.parse::<nbdgate_s3::Location>().map_err(told)?;
        }
    }
    Ok(())
}

/// Two exports of one image or disk corrupt it unless both only read. What two different texts name is found out
/// by the locks and claims of the backends; here the same text is caught before anything is opened.
fn checked_storage(exports: &[ExportConfig]) -> Result<(), Invalid> {
    for (index, export) in exports.iter().enumerate() {
        // A snapshot never changes, whoever writes the disk.
        let fixed = |export: &ExportConfig| export.snapshot.is_some();
        let mut others = exports[..index].iter().filter(|other| !fixed(other) && !fixed(export));
        let twin = others.find(|other| same_storage(&other.uri, &export.uri));
        if let Some(twin) = twin.filter(|twin| !(twin.read_only && export.read_only)) {
            return Err(Invalid::new(format!(
                "exports {:?} and {:?} share {}: that needs readonly on both",
                twin.name.as_str(),
                export.name.as_str(),
                export.uri
            )));
        }
    }
    Ok(())
}

fn same_storage(one: &ExportUri, other: &ExportUri) -> bool {
    match (one, other) {
        (ExportUri::File { path: one, .. }, ExportUri::File { path: other, .. })
        | (ExportUri::RocksDb { path: one, .. }, ExportUri::RocksDb { path: other, .. }) => one == other,
        (ExportUri::Object(one), ExportUri::Object(other)) => one == other,
        (ExportUri::File { .. } | ExportUri::Memory { .. } | ExportUri::Object(_) | ExportUri::RocksDb { .. }, _) => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    /// Settings as `nbdgate serve` reads them.
    pub(super) fn flags(flags: &[&str]) -> Result<Settings, clap::Error> {
        let command = Settings::augment_args(Command::new("serve"));
        let matches = command.try_get_matches_from([&["serve"], flags].concat())?;
        Settings::from_arg_matches(&matches)
    }

    fn config(given: &[&str]) -> Result<Config, Invalid> {
        Config::new(flags(given).expect("well-formed flags"))
    }

    #[test]
    fn an_export_is_enough_for_a_gateway_on_loopback() {
        let config = config(&["--export=vm=mem:1G"]).expect("valid");
        assert_eq!(config.listen, [Listen::Tcp(([127, 0, 0, 1], NBD_PORT).into())]);
        assert_eq!((config.metrics, config.io_engine, config.io_threads), (None, IoEngine::Auto, None));
        assert_eq!((config.limits.memory, config.busy_poll), (DEFAULT_MAX_MEMORY, DEFAULT_BUSY_POLL));
    }

    #[test]
    fn what_makes_no_gateway_is_refused_with_the_reason() {
        for (given, reason) in [
            (&[][..], "--export NAME=URI"),
            (&["--export=a=mem:1G", "--export=a=mem:2G"], "used twice"),
            (&["--export=a=file:/x", "--export=b=file:/x,readonly"], "readonly on both"),
            (&["--export=a=mem:1G", "--listen=tcp:0.0.0.0:1"], "--allow-remote-plaintext"),
            (&["--export=a=mem:1G", "--listen=tcp:[::]:1"], "--allow-remote-plaintext"),
            (&["--export=a=mem:1G", "--listen=unix:/x", "--listen=unix:/x"], "given twice"),
            (&["--export=a=mem:1G", "--listen=systemd", "--listen=systemd"], "given twice"),
            (&["--export=a=mem:1G", "--listen=systemd", "--listen=systemd:nbd"], "leave out systemd:NAME"),
            (&["--export=a=mem:1G", "--max-memory=1M"], "below 64M"),
            (&["--export=a=mem:1G", "--status-page"], "add --metrics HOST:PORT"),
            (&["--export=a=mem:1G", "--io-threads=2000"], "limit of 1024"),
            (&["--export=a=mem:1G", "--busy-poll=1s"], "at most 1ms"),
            (&["--export=a=mem:1G", "--cache-size=1G"], "--cache PATH"),
            (&["--export=a=mem:1G", "--cache=/c", "--cache-size=1M"], "at least 16M"),
            (&["--export=a=mem:1G", "--object-memory=1M"], "at least 64M"),
            (&["--export=a=mem:1G", "--rocksdb-cache=1M"], "rocksdb-cache 1M is too small: give it at least 8M"),
            (&["--export=a=mem:1G", "--rocksdb-memory=1M"], "rocksdb-memory 1M is too small"),
            (&["--export=a=mem:1G", "--handshake-timeout=0s"], "every client"),
            (&["--export=a=mem:1G", "--log=nbdgate=loud"], "log filter"),
        ] {
            let error = config(given).expect_err(reason).to_string();
            assert!(error.contains(reason), "{given:?}: {error}");
        }
    }

    #[test]
    fn an_empty_list_of_listeners_is_refused() {
        let mut settings = flags(&["--export=a=mem:1G"]).expect("valid");
        settings.listen = Some(vec![]);
        assert!(Config::new(settings).expect_err("no listener").to_string().contains("no listener"));
    }

    #[test]
    fn a_remote_address_is_taken_when_it_is_allowed() {
        let given = ["--export=a=mem:1G", "--listen=tcp:0.0.0.0:1", "--allow-remote-plaintext"];
        assert!(config(&given).expect("allowed").listen[0].is_remote());
        let given = ["--export=a=mem:1G", "--listen=tcp:0.0.0.0:1", "--allow-remote-plaintext=false"];
        assert!(config(&given).is_err(), "the flag can take back what the file allows");
    }

    #[test]
    fn memory_exports_and_readers_of_one_image_may_repeat() {
        let given =
            ["--export=a=mem:1G", "--export=b=mem:1G", "--export=c=file:/x,readonly", "--export=d=file:/x,readonly"];
        assert_eq!(config(&given).expect("valid").exports.len(), 4);
        let given = ["--export=a=mem:1G", "--listen=tcp:localhost:0", "--listen=tcp:localhost:0"];
        assert_eq!(config(&given).expect("the system chooses two ports").listen.len(), 2);
        if cfg!(feature = "object-log") {
            let given = ["--export=a=s3://b/d", "--export=b=s3://b/d,readonly,snapshot=x"];
            assert_eq!(config(&given).expect("a snapshot beside its disk").exports.len(), 2);
        }
        if cfg!(feature = "rocksdb") {
            let given = ["--export=a=rocksdb:/d?size=1G", "--export=b=rocksdb:/d,snapshot=x"];
            assert_eq!(config(&given).expect("a snapshot beside its disk").exports.len(), 2);
            let given = ["--export=a=rocksdb:/d?size=1G", "--export=b=rocksdb:/d,readonly"];
            assert!(config(&given).expect_err("one disk twice").to_string().contains("readonly on both"));
        }
    }

    #[test]
    fn object_exports_need_the_object_log() {
        let outcome = config(&["--export=a=s3://bucket/disk"]);
        assert_eq!(outcome.is_ok(), cfg!(feature = "object-log"), "{outcome:?}");
        assert!(config(&["--export=a=s3://bucket/not a disk"]).is_err());
    }

    #[test]
    fn rocksdb_exports_need_rocksdb() {
        let outcome = config(&["--export=a=rocksdb:/d"]);
        let told =
            outcome.map(|config| (config.rocksdb.cache, config.rocksdb.memory)).map_err(|error| error.to_string());
        let sentence = "export \"a\" is in RocksDB (rocksdb:/d), and this nbdgate was built without RocksDB";
        let is_there = cfg!(feature = "rocksdb");
        assert_eq!(told, if is_there { Ok((256 << 20, 256 << 20)) } else { Err(sentence.to_owned()) });
    }

    #[test]
    fn flags_add_to_lists_and_override_single_values_of_the_file() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("nbdgate.toml");
        let text = "io-threads = 2\nlog = 'warn'\nlisten = ['unix:/a']\n[[export]]\nname = 'a'\nuri = 'mem:1G'\n";
        std::fs::write(&path, text).expect("written");
        let flags = flags(&["--export=b=mem:2G", "--listen=unix:/b", "--io-threads=4"]).expect("well-formed");
        let config = Config::load(Some(&path), flags).expect("valid");
        let names: Vec<_> = config.exports.iter().map(|export| export.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(config.listen, [Listen::Unix("/a".into()), Listen::Unix("/b".into())]);
        assert_eq!((config.io_threads, config.log.as_str()), (NonZeroUsize::new(4), "warn"));
    }
}
