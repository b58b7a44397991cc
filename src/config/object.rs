//! What only exports in the object log can be told.

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;
use serde::Deserialize;

use super::{Invalid, Size};

/// Size of a journal that is created, unless told otherwise.
const DEFAULT_JOURNAL: u64 = 8 << 30;
/// Least size of a journal: room for some of the longest requests.
const MIN_JOURNAL: u64 = 64 << 20;

/// How a disk in the object log is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectOptions {
    /// What to do with a disk that its last gateway did not close.
    pub on_unclean: OnUnclean,
    /// Take the disk over from a gateway on another host that still holds it.
    pub steal: bool,
    /// What the store must promise.
    pub fencing: Fencing,
    /// The local journal of a disk whose FLUSH waits for it.
    pub journal: Option<Journal>,
    /// Give up what only the journal of another host holds.
    pub abandon_journal: bool,
    /// The longest that the bucket may lag behind the journal.
    pub rpo: Option<Duration>,
    /// What opens an encrypted disk.
    pub key: Option<KeySource>,
    /// The longest that a write waits in memory before it is sent to the bucket.
    pub upload_delay: Option<Duration>,
    /// Bytes of writes that are not in the bucket yet and stay in memory.
    pub dirty_memory: Option<u64>,
    /// Time in which all data is read and verified once, over and over; 0 for never.
    pub scrub: Option<Duration>,
    /// Bytes read ahead of a sequential reader; 0 for none.
    pub read_ahead: Option<u64>,
}

/// A journal on local storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// A file, created if it is missing, or a block device.
    pub path: PathBuf,
    /// Bytes of a file that is created.
    pub size: u64,
}

impl Journal {
    pub(super) fn new(path: Option<PathBuf>, size: Option<Size>) -> Result<Option<Self>, Invalid> {
        let Some(path) = path else {
            return match size {
                None => Ok(None),
                Some(_) => Err(Invalid::new("option \"journal-size\" is for a journal: add journal=PATH")),
            };
        };
        let size = size.map_or(DEFAULT_JOURNAL, Size::bytes);
        if size < MIN_JOURNAL {
            let (given, least) = (Size::from_bytes(size), Size::from_bytes(MIN_JOURNAL));
            return Err(Invalid::new(format!("a journal of {given} is too small: give it at least {least}")));
        }
        Ok(Some(Self { path, size }))
    }
}

/// Where the key of an encrypted disk comes from. Never a key itself: flags are seen by everyone on the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file with 32 bytes or more of key.
    File(PathBuf),
    /// A file whose first line is a passphrase.
    Passphrase(PathBuf),
    /// A program and its arguments, split at blanks; it writes the key to its standard output.
    Command(Vec<String>),
}

impl KeySource {
    /// At most one of the three may be given.
    pub(crate) fn new(
        file: Option<PathBuf>,
        passphrase: Option<PathBuf>,
        command: Option<String>,
    ) -> Result<Option<Self>, Invalid> {
        match (file, passphrase, command) {
            (None, None, None) => Ok(None),
            (Some(file), None, None) => Ok(Some(Self::File(file))),
            (None, Some(file), None) => Ok(Some(Self::Passphrase(file))),
            (None, None, Some(command)) => {
                let words: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
                if words.is_empty() {
                    return Err(Invalid::new("key-command needs a program, as in key-command=/usr/bin/get-key vm1"));
                }
                Ok(Some(Self::Command(words)))
            }
            _ => Err(Invalid::new("give one of key-file, passphrase-file and key-command")),
        }
    }
}

/// What to do with a disk that its last gateway did not close: acknowledged but unflushed writes may be lost, and a
/// client that reconnects by itself would not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnclean {
    /// Keep the export down until someone confirms.
    #[default]
    Refuse,
    /// Serve it: whoever starts the gateway restarts the guest too.
    Serve,
}

/// What the object store must promise about put-if-absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Fencing {
    /// It honours the condition; a store that does not is refused.
    #[default]
    Require,
    /// It may ignore it: the operator takes care that no two gateways write one disk.
    Advisory,
}

/// What a FLUSH waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FlushMode {
    /// The bucket.
    #[default]
    Object,
    /// A journal on local storage, which the bucket follows.
    Journal,
    /// Nothing: a FLUSH only keeps the order.
    None,
}

#[cfg(feature = "object-log")]
mod of_the_object_log {
    //! The same in the words of the object log.

    use super::{Fencing, FlushMode, KeySource, OnUnclean};

    impl From<OnUnclean> for nbdgate_s3::OnUnclean {
        fn from(asked: OnUnclean) -> Self {
            match asked {
                OnUnclean::Refuse => Self::Refuse,
                OnUnclean::Serve => Self::Serve,
            }
        }
    }

    impl From<Fencing> for nbdgate_s3::Fencing {
        fn from(asked: Fencing) -> Self {
            match asked {
                Fencing::Require => Self::Require,
                Fencing::Advisory => Self::Advisory,
            }
        }
    }

    impl From<FlushMode> for nbdgate_s3::FlushMode {
        fn from(asked: FlushMode) -> Self {
            match asked {
                FlushMode::Object => Self::Object,
                FlushMode::Journal => Self::Journal,
                FlushMode::None => Self::None,
            }
        }
    }

    impl From<KeySource> for nbdgate_s3::KeySource {
        fn from(key: KeySource) -> Self {
            match key {
                KeySource::File(path) => Self::File(path),
                KeySource::Passphrase(path) => Self::passphrase(nbdgate_s3::Secret::File(path)),
                KeySource::Command(words) => Self::Command(words),
            }
        }
    }
}
