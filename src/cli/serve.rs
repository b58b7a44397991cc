//! `nbdgate serve`.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, Gateway, log};
use crate::config::{Config, Settings};

#[derive(Args, Debug)]
pub(super) struct Serve {
    /// Read settings from a TOML file; flags add to its lists and override its single values
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Validate flags and file, and stop there
    #[arg(long)]
    check: bool,

    #[command(flatten)]
    settings: Settings,
}

impl Serve {
    pub(super) fn run(mut self, gateway: Gateway) -> Result<(), Failure> {
        if self.settings.log.is_none() {
            self.settings.log = log::from_environment();
        }
        let config = Config::load(self.config.as_deref(), self.settings)?;
        if self.check {
            return Ok(());
        }
        log::start(&config.log);
        Ok(gateway(&config)?)
    }
}
