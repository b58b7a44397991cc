//! `nbdgate man`: manual pages, from what the command line says of itself.

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::{Args, CommandFactory};

use super::{Cli, Failure};

#[derive(Args, Debug)]
pub(super) struct Man {
    /// Where to write nbdgate.1, nbdgate-serve.1 and so on; made if it is missing
    directory: PathBuf,
}

impl Man {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let directory = &self.directory;
        let write = || {
            fs::create_dir_all(directory)?;
            clap_mangen::generate_to(Cli::command(), directory)
        };
        Ok(write().with_context(|| format!("cannot write manual pages into {}", directory.display()))?)
    }
}
