//! Asking before something is lost.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::Context;
use clap::Args;

use crate::{cli::Failure, config::Invalid};

/// For commands that destroy something.
#[derive(Args, Debug)]
pub(super) struct Confirm {
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
}

impl Confirm {
    /// Goes on if it was confirmed. Whoever is not at a terminal confirms with --yes.
    pub(super) fn ask(&self, loss: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            let text = format!("{loss}: nobody is there to be asked, so add --yes if that is meant");
            return Err(Failure::Usage(Invalid::new(text).into()));
        }
        eprint!("{loss}. Go on? Type yes: ");
        io::stderr().flush().context("cannot write to the terminal")?;
        answered(&mut io::stdin().lock())
    }
}

fn answered(input: &mut impl BufRead) -> Result<(), Failure> {
    let mut answer = String::new();
    input.read_line(&mut answer).context("cannot read the answer")?;
    if answer.trim() == "yes" {
        return Ok(());
    }
    Err(Failure::Failed(anyhow::anyhow!("nothing was changed: the answer was not yes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_a_yes() {
        assert!(answered(&mut &b"yes\n"[..]).is_ok());
        for no in ["", "\n", "y\n", "no\n", "yes please\n"] {
            assert!(answered(&mut no.as_bytes()).is_err(), "{no:?}");
        }
    }
}
