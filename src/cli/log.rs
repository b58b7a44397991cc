//! The log: lines of fields on standard error.

use std::{
    env,
    io::{self, IsTerminal},
};

use tracing_subscriber::EnvFilter;

/// The environment's word on what to log.
const VARIABLE: &str = "NBDGATE_LOG";

/// The filter that the environment asks for.
pub(super) fn from_environment() -> Option<String> {
    env::var(VARIABLE).ok().filter(|filter| !filter.is_empty())
}

/// Starts logging. The filter was validated with the configuration. A second start in a process, as in tests, leaves
/// the first as it is.
pub(super) fn start(filter: &str) {
    let stderr = io::stderr();
    let _started_before = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(stderr.is_terminal())
        .with_writer(io::stderr)
        .try_init();
}
