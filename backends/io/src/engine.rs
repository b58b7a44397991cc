//! The runtime of an I/O thread, in two kinds that look the same from inside.
//!
//! Both are single-threaded, run futures that are not Send, and give tasks the same surroundings:
//! `tokio::net`, `tokio::time` and `tokio::task::spawn_local`. The ring engine is a tokio runtime whose driver
//! also polls the ring's descriptor, so sockets stay on epoll in both. What differs is where a [`File`] sends
//! what it cannot do inline.
//!
//! In the ring engine, ring operations reach the kernel when some have come together or the thread is about to
//! wait, so a task must not compute for long. A future that is dropped does not cancel its ring operation; the
//! buffer lives on until the kernel is done with it.
//!
//! [`File`]: crate::File

use std::{fmt, future::Future, io, str::FromStr};

use crate::ring;

/// How an I/O thread runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// A tokio-uring runtime: files on the thread's ring, sockets on epoll.
    Uring,
    /// A plain tokio current-thread runtime: files in their blocking pools, sockets on epoll.
    Epoll,
}

/// What the operator asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EngineChoice {
    /// The ring where the kernel allows it, else epoll.
    #[default]
    Auto,
    /// The ring, or no start.
    Uring,
    /// Epoll.
    Epoll,
}

impl Engine {
    /// Runs `future` to its end on the calling thread, with this engine. Tasks still alive then are dropped.
    ///
    /// # Errors
    /// The runtime could not be made: io_uring is forbidden, or descriptors have run out.
    ///
    /// # Panics
    /// Inside another runtime, and where the future panics.
    pub fn run<F: Future>(self, future: F) -> io::Result<F::Output> {
        match self {
            Self::Uring => ring::run(future),
            Self::Epoll => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                Ok(tokio::task::LocalSet::new().block_on(&runtime, future))
            }
        }
    }
}

/// Whether the kernel lets this process use io_uring, found out by making a ring.
///
/// # Errors
/// As the kernel says: `PermissionDenied` under the usual container profiles and `kernel.io_uring_disabled`,
/// `Unsupported` on kernels without it.
pub fn probe() -> io::Result<()> {
    ring::probe()
}

impl EngineChoice {
    /// The engine to use. With [`Auto`](Self::Auto) a refused ring is not an error: the reason is logged.
    ///
    /// # Errors
    /// The ring was asked for by name and the kernel refuses it.
    pub fn resolve(self) -> io::Result<Engine> {
        match self {
            Self::Epoll => Ok(Engine::Epoll),
            Self::Uring => probe().map(|()| Engine::Uring),
            Self::Auto => Ok(match probe() {
                Ok(()) => Engine::Uring,
                Err(error) => {
                    tracing::info!(%error, "io_uring is not available, using epoll");
                    Engine::Epoll
                }
            }),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        })
    }
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        })
    }
}

/// Not one of the three words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownEngine(String);

impl fmt::Display for UnknownEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown io engine {:?}: use auto, uring or epoll", self.0)
    }
}

impl std::error::Error for UnknownEngine {}

impl FromStr for EngineChoice {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        match text {
            "auto" => Ok(Self::Auto),
            "uring" => Ok(Self::Uring),
            "epoll" => Ok(Self::Epoll),
            _ => Err(UnknownEngine(text.to_owned())),
        }
    }
}
