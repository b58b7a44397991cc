//! Programs that tests run to their end, each with a deadline.

use std::{ffi::OsStr, fmt, process::Command};

/// Seconds that a client may take before it is ended.
const DEADLINE_SECONDS: &str = "120";

/// For `no_proxy`: what tests speak HTTP with is on this machine. Not every program knows networks.
pub(crate) const LOOPBACK: &str = "127.0.0.1,127.0.0.0/8,localhost";

/// What a program came to.
#[derive(Debug)]
pub(crate) struct Ran {
    shown: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Its standard output, if it succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self}");
        self.stdout
    }

    /// What it said on standard error, if it failed.
    #[track_caller]
    pub(crate) fn failed(self) -> String {
        assert!(matches!(self.code, Some(code) if code != 0), "{self}");
        self.stderr
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ended with {:?}", self.shown, self.code)?;
        writeln!(f, "--- output\n{}\n--- errors\n{}", self.stdout, self.stderr)
    }
}

/// A command whose arguments are texts and paths, told as a list: `command("cat", &["-n".as_ref(), path.as_ref()])`.
pub(crate) type Argument<'a> = &'a dyn AsRef<OsStr>;

/// Runs a program of the system to its end.
#[track_caller]
pub(crate) fn run(program: &str, arguments: &[Argument<'_>]) -> Ran {
    let mut command = Command::new("timeout");
    // Administrators' programs are not on everybody's path.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    command.args(["--kill-after=5", DEADLINE_SECONDS, program]).env("PATH", path).env("LC_ALL", "C");
    command.envs([("no_proxy", LOOPBACK), ("NO_PROXY", LOOPBACK)]);
    let mut shown = program.to_owned();
    for argument in arguments {
        shown = format!("{shown} {}", argument.as_ref().to_string_lossy());
        command.arg(argument.as_ref());
    }
    let output = command.output().expect("timeout(1) starts");
    let code = output.status.code();
    assert_ne!(code, Some(127), "{program} is not installed: `make test` installs what the tests need");
    assert_ne!(code, Some(124), "{shown} did not end within {DEADLINE_SECONDS} seconds");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { shown, code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs `nbdgate` to its end.
#[track_caller]
pub(crate) fn nbdgate(arguments: &[Argument<'_>]) -> Ran {
    run(env!("CARGO_BIN_EXE_nbdgate"), arguments)
}

/// Arguments of different types in one list.
macro_rules! args {
    ($($argument:expr),* $(,)?) => { &[$(&$argument as $crate::process::Argument<'_>),*] };
}
pub(crate) use args;
