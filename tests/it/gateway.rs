//! The gateway under test, as a process of its own.

use std::{
    io::{BufRead, BufReader},
    os::unix::{net::UnixStream, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Time for a gateway to say or do what a test waits for.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running `nbdgate serve`; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    lines: Receiver<String>,
    log: Vec<String>,
    socket: PathBuf,
    port: Option<u16>,
}

/// How a client reaches the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Unix,
    Tcp,
}

/// Both ways.
pub(crate) const TRANSPORTS: [Transport; 2] = [Transport::Unix, Transport::Tcp];

impl Gateway {
    /// Starts a gateway on a Unix socket in `folder` and on a free TCP port; returns once it serves.
    #[track_caller]
    pub(crate) fn start(folder: &Path, flags: &[&str]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_nbdgate")), folder, flags)
    }

    /// The same by way of `launcher`, a command that ends in the program's path.
    #[track_caller]
    pub(crate) fn start_by(mut launcher: Command, folder: &Path, flags: &[&str]) -> Self {
        let socket = folder.join("nbd.sock");
        launcher
            .stdout(Stdio::null())
            .arg("serve")
            .arg("--listen=tcp:127.0.0.1:0")
            .arg(format!("--listen=unix:{}", socket.display()));
        launcher.args(flags);
        Self::launch(launcher, socket)
    }

    /// Runs a whole command, of which it is known that it becomes a gateway on this socket and a free TCP port.
    #[track_caller]
    pub(crate) fn launch(command: Command, socket: PathBuf) -> Self {
        let mut gateway = Self::spawn(command, socket);
        gateway.wait_for_log("serving engine=");
        gateway.port = gateway.told("address=tcp:127.0.0.1:").and_then(|port| port.parse().ok());
        assert!(gateway.port.is_some(), "the gateway told no port:\n{}", gateway.log.join("\n"));
        gateway
    }

    fn spawn(mut command: Command, socket: PathBuf) -> Self {
        command.stdin(Stdio::null()).stderr(Stdio::piped()).env_remove("NBDGATE_LOG");
        let mut child = command.spawn().expect("the gateway starts");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _test_is_over = sender.send(line);
            }
        });
        Self { child, lines, log: Vec::new(), socket, port: None }
    }

    /// The rest of the word that follows `key` in the log so far.
    pub(crate) fn told(&self, key: &str) -> Option<&str> {
        let line = self.log.iter().find(|line| line.contains(key))?;
        line.split(key).nth(1)?.split_whitespace().next()
    }

    /// Waits until a line of the log contains `text`.
    #[track_caller]
    pub(crate) fn wait_for_log(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log.iter().any(|line| line.contains(text)) {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.log.push(line),
                Err(reason) => panic!("{reason} while waiting for {text:?}; the log:\n{}", self.log.join("\n")),
            }
        }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.expect("known since the start")
    }

    /// The URI of the default export.
    pub(crate) fn uri(&self, transport: Transport) -> String {
        self.uri_of(transport, "")
    }

    /// The URI of an export.
    pub(crate) fn uri_of(&self, transport: Transport, export: &str) -> String {
        match transport {
            Transport::Unix => format!("nbd+unix:///{export}?socket={}", self.socket.display()),
            Transport::Tcp => format!("nbd://127.0.0.1:{}/{export}", self.port()),
        }
    }

    /// A raw connection.
    #[track_caller]
    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).expect("the gateway accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline for reads");
        stream.set_write_timeout(Some(PATIENCE)).expect("a deadline for writes");
        stream
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the gateway is there");
    }

    /// Asks it to stop, as an operator does, and sees that it does so cleanly.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.wait();
        let log = self.log.join("\n");
        assert!(status.success() && log.contains("stopped cleanly"), "{status}; the log:\n{log}");
        assert!(!log.contains("panicked") && !log.contains("ERROR"), "something was lost:\n{log}");
    }

    /// Ends it as a crash does.
    #[track_caller]
    pub(crate) fn crash(mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.wait().signal(), Some(Signal::KILL.as_raw()));
    }

    /// Waits for its end, which closes its log.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.log.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().expect("a child can be waited for"),
                Err(RecvTimeoutError::Timeout) => panic!("it goes on; the log:\n{}", self.log.join("\n")),
            }
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _status = self.child.wait();
        if std::thread::panicking() {
            self.log.extend(self.lines.try_iter());
            eprintln!("--- log of the gateway\n{}", self.log.join("\n"));
        }
    }
}
