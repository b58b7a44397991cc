//! The command line: what was asked for, who does it, and with which exit code the program ends.
//!
//! 0: done. 1: it failed. 2: it was asked for wrongly; nothing was opened, bound or changed.

mod completions;
mod disk;
mod health;
mod http;
mod log;
mod man;
mod serve;

use std::{ffi::OsString, fmt, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigError};

/// Serve virtual machine disks over NBD from files, memory and object stores
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve exports until SIGTERM or SIGINT; a second signal ends at once
    Serve(Box<serve::Serve>),
    /// Create disks, look after them, take snapshots, move images in and out
    #[command(subcommand)]
    Disk(Box<disk::Disk>),
    /// Ask a gateway whether it serves its clients: exit code 0 if so, else 1
    Health(health::Health),
    /// Print what makes a shell complete nbdgate's commands and flags
    Completions(completions::Completions),
    /// Write the manual pages
    Man(man::Man),
}

const EXAMPLES: &str = "\
Examples:
  Serve a raw image on 127.0.0.1:10809:
    nbdgate serve --export vm1=file:/var/lib/images/vm1.img
  Create a disk in a bucket, and serve it over a Unix socket with metrics:
    nbdgate disk create s3://bucket/disks/vm1 --size 10G
    nbdgate serve --export vm1=s3://bucket/disks/vm1 --listen unix:/run/nbdgate.sock --metrics localhost:9810
  The same in a local directory used as a bucket:
    nbdgate disk create dir:/srv/bucket/vm1 --size 10G
    nbdgate serve --export vm1=dir:/srv/bucket/vm1

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.
Credentials of object stores come from the environment or from files that it names, never from a flag.";

/// What runs a gateway until it is stopped.
pub type Gateway = fn(&Config) -> anyhow::Result<()>;

/// Why a command did not do what was asked.
#[derive(Debug)]
enum Failure {
    /// The flags or the file are wrong.
    Usage(anyhow::Error),
    /// Anything that happened later.
    Failed(anyhow::Error),
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.into())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(error) | Self::Failed(error)) = self;
        write!(f, "{error:#}")
    }
}

/// Runs the program with these arguments, its own name first; `gateway` is what `serve` hands its configuration to.
pub fn run(arguments: impl IntoIterator<Item = OsString>, gateway: Gateway) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        // Help and version too. That nobody reads the text is no reason to fail in another way.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    let outcome = match cli.command {
        Command::Serve(serve) => serve.run(gateway),
        Command::Disk(disk) => disk.run(),
        Command::Health(health) => health.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("nbdgate: {failure}");
            ExitCode::from(match failure {
                Failure::Failed(_) => 1,
                Failure::Usage(_) => 2,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_setting_is_a_flag_in_the_reference() {
        let reference = include_str!("../docs/REFERENCE.md");
        let command = Cli::command();
        for subcommand in command.get_subcommands() {
            let nested = subcommand.get_subcommands().flat_map(clap::Command::get_arguments);
            for flag in subcommand.get_arguments().chain(nested).filter_map(clap::Arg::get_long) {
                assert!(reference.contains(&format!("`--{flag}")), "docs/REFERENCE.md does not tell of --{flag}");
            }
        }
    }

    fn exit(arguments: &[&str], gateway: Gateway) -> ExitCode {
        run([&["nbdgate"], arguments].concat().into_iter().map(OsString::from), gateway)
    }

    #[test]
    fn exit_codes_tell_wrong_usage_from_failure() {
        let never: Gateway = |_| panic!("a wrong configuration does not reach the gateway");
        for wrong in [
            &["serve"][..],
            &["sreve"],
            &["serve", "--export", "vm=mem:0"],
            &["serve", "--export=vm=mem:1G", "--unknown"],
            &["serve", "--export=vm=mem:1G", "--config=/nonexistent/nbdgate.toml"],
            &["serve", "--export=vm=mem:1G", "--log=nbdgate=loud"],
            &["serve", "--export=vm=mem:1G", "--listen=tcp:0.0.0.0:1"],
            &["disk", "create", "file:/x"],
            &["disk", "info", "mem:1G"],
            &["disk", "list", "file:/x"],
            &["health", "--metrics", "9810"],
        ] {
            assert_eq!(exit(wrong, never), ExitCode::from(2), "{wrong:?}");
        }
        let right = ["serve", "--export=vm=mem:1G"];
        assert_eq!(exit(&right, |_| anyhow::bail!("it broke")), ExitCode::from(1));
        assert_eq!(
            exit(&right, |config| (config.exports.len() == 1).then_some(()).ok_or_else(|| anyhow::anyhow!(""))),
            ExitCode::SUCCESS
        );
        assert_eq!(exit(&["serve", "--check", "--export=vm=mem:1G"], never), ExitCode::SUCCESS);
        assert_eq!(exit(&["--version"], never), ExitCode::SUCCESS);
    }
}
