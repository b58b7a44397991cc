//! The combinations that every client is tried against.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use nbdgate_io::EngineChoice;
use tempfile::TempDir;

use crate::gateway::Gateway;

/// Where the bytes of an export live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    Memory,
    File,
    #[cfg(feature = "object-log")]
    ObjectLog,
    #[cfg(feature = "rocksdb")]
    RocksDb,
}

/// How the I/O threads wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Uring,
    Epoll,
}

impl Storage {
    /// Whether the bytes outlive the gateway.
    pub(crate) fn lasts(self) -> bool {
        self != Self::Memory
    }
}

impl Engine {
    /// As the program is told.
    pub(crate) fn flag(self) -> &'static str {
        match self {
            // Where the kernel forbids io_uring, as in most containers, this is what the program falls back to; that
            // it refuses the name then is a test of its own.
            Self::Uring if EngineChoice::Uring.resolve().is_err() => "--io-engine=auto",
            Self::Uring => "--io-engine=uring",
            Self::Epoll => "--io-engine=epoll",
        }
    }
}

/// A disk of one kind, and a folder for it that outlives the gateways which serve it.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) storage: Storage,
    pub(crate) engine: Engine,
    folder: TempDir,
    size: u64,
}

impl Setup {
    /// A new, empty disk of `size` bytes.
    #[track_caller]
    pub(crate) fn new(storage: Storage, engine: Engine, size: u64) -> Self {
        let setup = Self { storage, engine, folder: tempfile::tempdir().expect("a folder"), size };
        match storage {
            Storage::Memory => {}
            Storage::File => {
                let image = File::create(setup.path("disk.img")).expect("an image");
                image.set_len(size).expect("a sparse image");
            }
            #[cfg(feature = "object-log")]
            Storage::ObjectLog => {
                std::fs::create_dir(setup.path("bucket")).expect("a bucket");
                crate::process::nbdgate(crate::process::args![
                    "disk",
                    "create",
                    setup.uri(),
                    "--size",
                    size.to_string()
                ])
                .ok();
            }
            // Made by the first gateway.
            #[cfg(feature = "rocksdb")]
            Storage::RocksDb => {}
        }
        setup
    }

    /// A place in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Where the disk is, as the program is told.
    pub(crate) fn uri(&self) -> String {
        match self.storage {
            Storage::Memory => format!("mem:{}", self.size),
            Storage::File => format!("file:{}", self.path("disk.img").display()),
            #[cfg(feature = "object-log")]
            Storage::ObjectLog => format!("dir:{}", self.path("bucket/disk").display()),
            #[cfg(feature = "rocksdb")]
            Storage::RocksDb => format!("rocksdb:{}?size={}", self.path("disk").display(), self.size),
        }
    }

    /// Serves the disk as the default export.
    #[track_caller]
    pub(crate) fn serve(&self) -> Gateway {
        self.serve_with("", &[])
    }

    /// Serves the disk with options of the export, each with a comma in front, and more flags.
    #[track_caller]
    pub(crate) fn serve_with(&self, options: &str, flags: &[&str]) -> Gateway {
        let export = format!("--export={}={}{options}", "", self.uri());
        let flags = [&[export.as_str(), self.engine.flag()], flags].concat();
        Gateway::start(self.folder(), &flags)
    }

    /// Serves the disk again after its gateway crashed.
    #[track_caller]
    pub(crate) fn serve_after_crash(&self) -> Gateway {
        match self.storage {
            Storage::Memory | Storage::File => self.serve(),
            #[cfg(feature = "object-log")]
            Storage::ObjectLog => self.serve_with(",on-unclean=serve", &[]),
            #[cfg(feature = "rocksdb")]
            Storage::RocksDb => self.serve(),
        }
    }
}

/// Makes a test of each function for every storage and both engines: `on_every_setup! { one, another }` in module `m`
/// makes `m::one::memory_uring` and so on. `on_every_lasting_setup!` leaves out what ends with its gateway.
macro_rules! on_every_setup {
    ($($function:ident),+ $(,)?) => { $(
        mod $function {
            on_setups! { $function: memory_uring Memory Uring, memory_epoll Memory Epoll }
            on_every_lasting_storage! { $function }
        }
    )+ };
}

macro_rules! on_every_lasting_setup {
    ($($function:ident),+ $(,)?) => { $(
        mod $function {
            on_every_lasting_storage! { $function }
        }
    )+ };
}

macro_rules! on_every_lasting_storage {
    ($function:ident) => {
        on_setups! { $function: file_uring File Uring, file_epoll File Epoll }
        #[cfg(feature = "object-log")]
        on_setups! { $function: object_log_uring ObjectLog Uring, object_log_epoll ObjectLog Epoll }
        #[cfg(feature = "rocksdb")]
        on_setups! { $function: rocksdb_uring RocksDb Uring, rocksdb_epoll RocksDb Epoll }
    };
}

macro_rules! on_setups {
    ($function:ident: $($name:ident $storage:ident $engine:ident),+) => { $(
        #[test]
        fn $name() {
            super::$function($crate::setup::Storage::$storage, $crate::setup::Engine::$engine);
        }
    )+ };
}

/// Makes a test of each function for both engines.
macro_rules! on_every_engine {
    ($($function:ident),+ $(,)?) => { $(
        mod $function {
            #[test]
            fn uring() {
                super::$function($crate::setup::Engine::Uring);
            }

            #[test]
            fn epoll() {
                super::$function($crate::setup::Engine::Epoll);
            }
        }
    )+ };
}
