//! Disks in a bucket behind HTTP, and gateways that serve them: the store is a process or a thread of its own, the
//! gateway finds it by its environment.

use std::{ffi::OsString, path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::{
    gateway::Gateway,
    process::{Argument, Ran, run},
};

/// A disk in a bucket, and a folder for the sockets of its gateways.
#[derive(Debug)]
pub(crate) struct Bucket {
    folder: TempDir,
    environment: Vec<(String, String)>,
    uri: String,
}

impl Bucket {
    /// A disk of this name, which is still to be created.
    pub(crate) fn new(environment: Vec<(String, String)>, bucket: &str, disk: &str) -> Self {
        let uri = format!("s3://{bucket}/prefix/{disk}");
        Self { folder: tempfile::tempdir().expect("a folder"), environment, uri }
    }

    /// A place in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `nbdgate` with the store's address and keys in its environment.
    #[track_caller]
    pub(crate) fn nbdgate(&self, arguments: &[&str]) -> Ran {
        let mut words: Vec<OsString> =
            self.environment.iter().map(|(name, value)| format!("{name}={value}").into()).collect();
        words.push(env!("CARGO_BIN_EXE_nbdgate").into());
        words.extend(arguments.iter().map(OsString::from));
        let words: Vec<Argument<'_>> = words.iter().map(|word| word as Argument<'_>).collect();
        run("env", &words)
    }

    /// `nbdgate disk create`.
    #[track_caller]
    pub(crate) fn create(&self, size: u64) -> Ran {
        self.nbdgate(&["disk", "create", &self.uri, "--size", &size.to_string()])
    }

    /// The flag that exports the disk, with options, each with a comma in front.
    pub(crate) fn export(&self, options: &str) -> String {
        format!("--export=={}{options}", self.uri)
    }

    /// Serves the disk as the default export.
    #[track_caller]
    pub(crate) fn serve(&self, options: &str) -> Gateway {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nbdgate"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Gateway::start_by(command, self.folder.path(), &[&self.export(options)])
    }
}
