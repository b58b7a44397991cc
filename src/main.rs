//! The `nbdgate` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    nbdgate::cli::run(std::env::args_os(), nbdgate::gateway::run)
}
