//! How `disk` commands get at a disk in the object log: its key, its journal, and who holds it.

use std::path::PathBuf;

use clap::Args;

use super::place::{Given, given};
use crate::config::{Fencing, OnUnclean};
#[cfg(feature = "object-log")]
use crate::{cli::Failure, config::KeySource};

/// The key of an encrypted disk.
#[derive(Args, Debug, Default)]
#[expect(clippy::struct_field_names, reason = "fields are flags")]
pub(super) struct Key {
    /// The key of an encrypted disk is in this file
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// The passphrase of an encrypted disk is the first line of this file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,

    /// This program writes the key of an encrypted disk to its standard output; no shell is involved
    #[arg(long, value_name = "COMMAND")]
    key_command: Option<String>,
}

impl Key {
    /// Its flags that were given.
    pub(super) fn given(&self) -> [Given; 3] {
        [
            given("--key-file", self.key_file.as_ref()),
            given("--passphrase-file", self.passphrase_file.as_ref()),
            given("--key-command", self.key_command.as_ref()),
        ]
    }
}

/// For commands that become the writer of a disk.
#[derive(Args, Debug, Default)]
pub(super) struct Hold {
    /// The journal of a disk with flush=journal
    #[arg(long, value_name = "PATH")]
    pub(super) journal: Option<PathBuf>,

    /// Give up what only the journal of another host holds
    #[arg(long)]
    pub(super) abandon_journal: bool,

    /// What to do with a disk that its last gateway did not close; refuse if not given
    #[arg(long, value_name = "WHAT")]
    pub(super) on_unclean: Option<OnUnclean>,

    /// Take the disk over from a gateway on another host that still holds it
    #[arg(long)]
    pub(super) steal: bool,

    /// What the store must promise about put-if-absent; require if not given
    #[arg(long, value_name = "WHAT")]
    pub(super) fencing: Option<Fencing>,
}

impl Hold {
    /// Its flags that were given.
    pub(super) fn given(&self) -> [Given; 5] {
        [
            given("--journal", self.journal.as_ref()),
            self.abandon_journal.then_some("--abandon-journal"),
            given("--on-unclean", self.on_unclean.as_ref()),
            self.steal.then_some("--steal"),
            given("--fencing", self.fencing.as_ref()),
        ]
    }
}

#[cfg(feature = "object-log")]
impl Key {
    pub(super) fn source(&self) -> Result<Option<KeySource>, Failure> {
        let given = (self.key_file.clone(), self.passphrase_file.clone(), self.key_command.clone());
        KeySource::new(given.0, given.1, given.2).map_err(|invalid| Failure::Usage(invalid.into()))
    }

    /// As options of an export.
    pub(super) fn options(&self) -> Result<Vec<String>, Failure> {
        let path = |option: &str, path: &PathBuf| format!("{option}={}", path.display());
        Ok(match self.source()? {
            None => Vec::new(),
            Some(KeySource::File(file)) => vec![path("key-file", &file)],
            Some(KeySource::Passphrase(file)) => vec![path("passphrase-file", &file)],
            Some(KeySource::Command(words)) => vec![format!("key-command={}", words.join(" "))],
        })
    }
}

#[cfg(feature = "object-log")]
impl Hold {
    /// As options of an export.
    pub(super) fn options(&self) -> Vec<String> {
        let mut options = Vec::new();
        options.extend(self.journal.as_ref().map(|path| format!("journal={}", path.display())));
        options.extend(self.abandon_journal.then(|| "abandon-journal".to_owned()));
        options.extend((self.on_unclean == Some(OnUnclean::Serve)).then(|| "on-unclean=serve".to_owned()));
        options.extend(self.steal.then(|| "steal".to_owned()));
        options.extend((self.fencing == Some(Fencing::Advisory)).then(|| "fencing=advisory".to_owned()));
        options
    }
}
