//! `nbdgate completions`.

use std::io::{self, Write as _};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Failure};

#[derive(Args, Debug)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "nbdgate", &mut script);
        let written = io::stdout().write_all(&script);
        Ok(written.map_err(|error| anyhow::Error::new(error).context("cannot write the completions"))?)
    }
}
