//! What an operator gives to open a disk.

use std::{
    env, fmt, io,
    io::Read,
    path::{Path, PathBuf},
};

use nbdgate_api::{Error, Kind};
use zeroize::Zeroizing;

use super::command;

/// Fewer bytes than this cannot be a key.
const SHORTEST_KEY: usize = 32;
/// More bytes than this are no secret but a mistake.
pub(super) const LONGEST_SECRET: u64 = 64 << 10;
/// Room for such a secret, and for reading that it is longer, without growing: a buffer that grows leaves copies behind.
pub(super) const SECRET_ROOM: usize = (64 << 10) + 64;

/// Where a passphrase is read from.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// What wraps the data keys of a disk. Of whatever is read, one line end at the end does not count.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// Something a person can type: stretched with Argon2id.
    Passphrase {
        /// Where it is.
        from: Secret,
        /// What stretching it costs, when it wraps; what opens a disk follows from the disk.
        cost: Argon2Cost,
    },
    /// A file of at least 32 random bytes, in whatever form.
    File(PathBuf),
    /// A program with its arguments, run without a shell, that prints what such a file would hold: the way to a key
    /// management service. What it prints to its standard error is shown when it fails.
    Command(Vec<String>),
}

/// The cost of Argon2id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Cost {
    /// Memory in KiB, 8 or more for each lane.
    pub memory_kib: u32,
    /// Passes over it, at least 1.
    pub passes: u32,
    /// Lanes, at least 1.
    pub lanes: u32,
}

impl Default for Argon2Cost {
    /// 64 MiB, 3 passes, 4 lanes: the second choice of RFC 9106 §4, for machines with less memory to spare.
    fn default() -> Self {
        Self { memory_kib: 64 << 10, passes: 3, lanes: 4 }
    }
}

impl KeySource {
    /// A passphrase at the default cost.
    pub fn passphrase(from: Secret) -> Self {
        Self::Passphrase { from, cost: Argon2Cost::default() }
    }

    /// Reads the secret. Blocks.
    pub(super) fn read(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut secret = match self {
            Self::Passphrase { from: Secret::Env(name), .. } => self.read_env(name)?,
            Self::Passphrase { from: Secret::File(path), .. } | Self::File(path) => self.read_file(path)?,
            Self::Command(argv) => command::run(argv)?,
        };
        if secret.len() as u64 > LONGEST_SECRET {
            return Err(Error::new(Kind::Invalid, format!("{self} is longer than {LONGEST_SECRET} bytes")));
        }
        if secret.last() == Some(&b'\n') {
            secret.pop();
            if secret.last() == Some(&b'\r') {
                secret.pop();
            }
        }
        match self {
            Self::Passphrase { .. } if secret.is_empty() => Err(Error::new(Kind::Invalid, format!("{self} is empty"))),
            Self::File(_) | Self::Command(_) if secret.len() < SHORTEST_KEY => {
                let text = format!("{self} gives {} bytes: a key needs at least {SHORTEST_KEY}", secret.len());
                Err(Error::new(Kind::Invalid, text))
            }
            _ => Ok(secret),
        }
    }

    fn read_env(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        let value = env::var_os(name).ok_or_else(|| Error::new(Kind::Invalid, format!("{self} is not set")))?;
        Ok(Zeroizing::new(value.into_encoded_bytes()))
    }

    fn read_file(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
        let failed = |error: io::Error| Error::from_io(error, format!("reading {self}"));
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut secret = Zeroizing::new(Vec::with_capacity(SECRET_ROOM));
        file.take(LONGEST_SECRET + 1).read_to_end(&mut secret).map_err(failed)?;
        Ok(secret)
    }
}

/// Where it is, never what.
impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passphrase { from: Secret::File(path), .. } => write!(f, "the passphrase in {}", path.display()),
            Self::Passphrase { from: Secret::Env(name), .. } => write!(f, "the passphrase in the variable {name}"),
            Self::File(path) => write!(f, "the key file {}", path.display()),
            Self::Command(argv) => write!(f, "the key command {}", argv.first().map_or("", String::as_str)),
        }
    }
}

/// As `Display`: arguments of a command are nobody's business.
impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySource({self})")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Env(name) => write!(f, "Env({name})"),
        }
    }
}
