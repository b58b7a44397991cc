//! Running a key command: without a shell, within a time, with its output kept from everyone else.

use std::{
    io::Read,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nbdgate_api::{Error, Kind};
use zeroize::Zeroizing;

use super::source::{LONGEST_SECRET, SECRET_ROOM};

/// A command that takes longer has failed.
const LONGEST: Duration = Duration::from_secs(30);
/// So much of what it says about its failure is shown.
const SAID_MAX: u64 = 4096;
/// Between two looks whether a command that has closed its outputs has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// What `argv` prints. Blocks.
pub(super) fn run(argv: &[String]) -> Result<Zeroizing<Vec<u8>>, Error> {
    run_within(argv, LONGEST)
}

fn run_within(argv: &[String], longest: Duration) -> Result<Zeroizing<Vec<u8>>, Error> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(Error::new(Kind::Invalid, "the key command is empty"));
    };
    let deadline = Instant::now() + longest;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let tried = || format!("running the key command {program}");
    let mut child = command.spawn().map_err(|error| Error::from_io(error, tried()))?;
    let printed = collect(child.stdout.take(), LONGEST_SECRET + 1);
    let said = collect(child.stderr.take(), SAID_MAX);
    let left = || deadline.saturating_duration_since(Instant::now());
    let outputs = printed.recv_timeout(left()).and_then(|printed| Ok((printed, said.recv_timeout(left())?)));
    let ended = outputs.ok().and_then(|outputs| Some((outputs, end(&mut child, deadline)?)));
    let Some(((printed, said), status)) = ended else {
        // Both fail only if it has ended meanwhile.
        let _ = child.kill();
        let _ = child.wait();
        return Err(Error::new(Kind::Io, format!("{}: it took longer than {} s", tried(), longest.as_secs())));
    };
    if status.success() {
        return Ok(printed);
    }
    let said = String::from_utf8_lossy(&said);
    Err(Error::new(Kind::Io, format!("{}: {status}; it said: {}", tried(), said.trim())))
}

/// Reads an output to its end on a thread of its own, keeping at most `most` bytes of it.
fn collect(output: Option<impl Read + Send + 'static>, most: u64) -> mpsc::Receiver<Zeroizing<Vec<u8>>> {
    let (tell, told) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let Some(mut output) = output else { return };
        let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_ROOM));
        let read = output.by_ref().take(most).read_to_end(&mut bytes);
        // The rest is read and dropped, so that the command can end by itself.
        let drained = read.and_then(|_| std::io::copy(&mut output, &mut std::io::sink()));
        if drained.is_ok() {
            // Nobody listens any more when the time is up.
            let _ = tell.send(bytes);
        }
    });
    told
}

/// How it ended; `None` if it has not by the deadline.
fn end(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(PAUSE),
            Ok(None) | Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[test]
    fn what_a_command_prints_is_the_secret() {
        assert_eq!(&run(&shell("printf 'a secret'; echo noise >&2")).unwrap()[..], b"a secret");
    }

    #[test]
    fn a_failed_command_is_told_with_what_it_said_and_not_what_it_printed() {
        let error = run(&shell("echo secret; echo 'no such key' >&2; exit 3")).unwrap_err().chain();
        assert!(error.contains("no such key") && error.contains('3') && !error.contains("secret"), "{error}");
    }

    #[test]
    fn a_command_that_hangs_is_given_up() {
        let error = run_within(&shell("exec sleep 600"), Duration::from_millis(50)).unwrap_err();
        assert!(error.chain().contains("took longer"), "{}", error.chain());
    }

    #[test]
    fn a_command_that_closes_its_outputs_and_hangs_is_given_up() {
        let script = "exec >&- 2>&-; exec sleep 600";
        let error = run_within(&shell(script), Duration::from_millis(200)).unwrap_err();
        assert!(error.chain().contains("took longer"), "{}", error.chain());
    }

    #[test]
    fn more_output_than_a_secret_has_does_not_block_the_command() {
        let printed = run(&shell("head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2")).unwrap();
        assert_eq!(printed.len() as u64, LONGEST_SECRET + 1);
    }

    #[test]
    fn no_shell_reads_the_arguments() {
        let argv = ["/bin/echo", "$HOME; `id`"].map(str::to_owned);
        assert_eq!(&run(&argv).unwrap()[..], b"$HOME; `id`\n");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&["/nonexistent/kms".to_owned()]).unwrap_err().chain();
        assert!(error.contains("/nonexistent/kms"), "{error}");
    }
}
