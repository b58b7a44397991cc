//! One thread apart from all that serves: it sees whether they turn, and keeps the service manager told.
//!
//! Told are the state (READY, STOPPING), a line about how it goes (STATUS), that opening and stopping may take longer
//! (EXTEND_TIMEOUT_USEC), and WATCHDOG only while every thread beats: who hangs is restarted by the manager. Without a
//! manager, a thread that hangs stands in the log. One that waits for a device is told of and not restarted for.

use std::{
    fmt::Write as _,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::notify::{self, Notify};
use crate::metrics::{Heartbeat, Metrics, Vitals};

/// A thread that does not turn for so long hangs, unless the manager wants to know sooner.
const HANGS_AFTER: Duration = Duration::from_secs(10);
/// Longest time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Looks within the time in which the manager wants a sign of life.
const LOOKS_WITHIN_WATCHDOG: u32 = 4;
/// What opening and stopping may take from each look on.
const EXTENSION: Duration = Duration::from_secs(30);
/// Opening a disk may mean to replay its log; a store that answers nothing must not make it endless.
const OPENING_AT_MOST: Duration = Duration::from_hours(1);

/// The lookout's thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Lookout {
    heartbeat: Heartbeat,
    told: Option<Sender<Phase>>,
    thread: Option<JoinHandle<()>>,
}

/// How far the gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Exports are being opened, at most until then.
    Opening(Instant),
    /// Clients are served, with so many exports.
    Serving(usize),
    /// No new clients; all is to be over by then.
    Stopping(Instant),
}

impl Lookout {
    /// Finds out who wants to be told.
    ///
    /// # Errors
    /// `NOTIFY_SOCKET` names no socket.
    pub(super) fn prepare() -> anyhow::Result<(Heartbeat, Option<Notify>)> {
        let limit = notify::watchdog().map_or(HANGS_AFTER, |interval| HANGS_AFTER.min(interval / 2));
        Ok((Heartbeat::new(limit), Notify::from_environment()?))
    }

    /// Starts the thread. The gateway counts as opening.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(heartbeat: Heartbeat, notify: Option<Notify>, metrics: Metrics) -> anyhow::Result<Self> {
        let watchdog = notify.as_ref().and_then(|_| notify::watchdog());
        let watch = Watch {
            notify,
            metrics,
            heartbeat: heartbeat.clone(),
            feeds: watchdog.is_some(),
            every: watchdog.map_or(LOOK_EVERY, |interval| LOOK_EVERY.min(interval / LOOKS_WITHIN_WATCHDOG)),
            phase: Phase::Opening(Instant::now() + OPENING_AT_MOST),
            silent: Silent::default(),
            said: String::new(),
        };
        let (told, phases) = channel();
        let thread = std::thread::Builder::new()
            .name("nbdgate-lookout".to_owned())
            .spawn(move || watch.run(&phases))
            .context("cannot start the thread that looks after the others")?;
        Ok(Self { heartbeat, told: Some(told), thread: Some(thread) })
    }

    /// Where threads that serve beat.
    pub(super) fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// Clients are served from now on.
    pub(super) fn ready(&self, exports: usize) {
        self.tell(Phase::Serving(exports));
    }

    /// No new clients from now on; all is to be over by `deadline`.
    pub(super) fn stopping(&self, deadline: Instant) {
        self.tell(Phase::Stopping(deadline));
    }

    fn tell(&self, phase: Phase) {
        let _the_thread_has_panicked = self.told.as_ref().map(|told| told.send(phase));
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.told = None;
        let _the_thread_has_panicked = self.thread.take().map(JoinHandle::join);
    }
}

/// Threads that do not beat: one of those that hang, one of those that a device keeps.
#[derive(Debug, Default)]
struct Silent {
    hung: Option<String>,
    waiting: Option<String>,
}

/// What the thread knows.
struct Watch {
    notify: Option<Notify>,
    metrics: Metrics,
    heartbeat: Heartbeat,
    /// Whether the manager wants a sign of life.
    feeds: bool,
    every: Duration,
    phase: Phase,
    silent: Silent,
    /// The status line that the manager has.
    said: String,
}

impl Watch {
    fn run(mut self, phases: &Receiver<Phase>) {
        self.look("");
        loop {
            match phases.recv_timeout(self.every) {
                Ok(phase) => {
                    self.phase = phase;
                    self.look(match phase {
                        Phase::Opening(_) => "",
                        Phase::Serving(_) => "READY=1\n",
                        Phase::Stopping(_) => "STOPPING=1\n",
                    });
                }
                Err(RecvTimeoutError::Timeout) => self.look(""),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Looks once, and tells the manager what it must know, `news` first.
    fn look(&mut self, news: &str) {
        let silent = Silent { hung: self.heartbeat.hung(), waiting: self.heartbeat.waiting() };
        match (&silent.hung, &self.silent.hung) {
            (Some(thread), None) => tracing::error!(thread, "a thread hangs: its clients get no answers"),
            (None, Some(thread)) => tracing::warn!(thread, "a thread that hung goes on"),
            _ => {}
        }
        match (&silent.waiting, &self.silent.waiting) {
            (Some(thread), None) => {
                tracing::error!(thread, "a thread waits for a device or its file system: its clients get no answers");
            }
            (None, Some(thread)) => tracing::warn!(thread, "a thread waits for a device no more"),
            _ => {}
        }
        self.silent = silent;
        let Some(notify) = &self.notify else { return };
        let mut lines = news.to_owned();
        if self.silent.hung.is_none() {
            if self.feeds {
                lines.push_str("WATCHDOG=1\n");
            }
            if self.phase.is_extended(Instant::now()) {
                let _ = writeln!(lines, "EXTEND_TIMEOUT_USEC={}", EXTENSION.as_micros());
            }
        }
        let status = status(self.phase, &self.silent, &self.metrics.vitals());
        if status != self.said {
            let _ = writeln!(lines, "STATUS={status}");
            self.said = status;
        }
        if lines.is_empty() {
            return;
        }
        if let Err(error) = notify.send(&lines) {
            tracing::warn!(%error, "the service manager could not be told");
            self.said.clear();
        }
    }
}

impl Phase {
    /// Whether it may take longer than the manager would wait by itself.
    fn is_extended(self, now: Instant) -> bool {
        match self {
            Self::Opening(until) | Self::Stopping(until) => now < until,
            Self::Serving(_) => false,
        }
    }
}

/// One line for `systemctl status`: what is wrong first.
fn status(phase: Phase, silent: &Silent, vitals: &Vitals) -> String {
    let count = |count: u64, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let hangs = silent.hung.as_ref().map(|thread| format!("{thread} hangs"));
    let waits = silent.waiting.as_ref().map(|thread| format!("{thread} waits for a device"));
    let latched = vitals.latched.split_first().map(|(export, others)| {
        let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
        format!("flush failed, writes are refused on {export:?}{more}")
    });
    let clients = count(vitals.clients, "client");
    let does = match phase {
        Phase::Opening(_) => "opening exports".to_owned(),
        Phase::Serving(exports) => format!("serving {} to {clients}", count(exports as u64, "export")),
        Phase::Stopping(_) => format!("stopping, {clients} left"),
    };
    // A name in quotes is escaped, so that none ends the line.
    let lag = vitals.lag.as_ref();
    let lag = lag.map(|(export, seconds)| format!("the bucket of {export:?} is {seconds} s behind"));
    hangs.into_iter().chain(waits).chain(latched).chain([does]).chain(lag).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_line_says_what_is_wrong_first() {
        let (quiet, well) = (Vitals::default(), Silent::default());
        let now = Instant::now();
        assert_eq!(status(Phase::Opening(now), &well, &quiet), "opening exports");
        let one = Vitals { clients: 1, ..quiet.clone() };
        assert_eq!(status(Phase::Serving(3), &well, &one), "serving 3 exports to 1 client");
        assert_eq!(status(Phase::Stopping(now), &well, &one), "stopping, 1 client left");
        let latched = vec!["vm\n2".to_owned(), "vm3".to_owned()];
        let silent = Silent { hung: Some("nbdgate-io-0".to_owned()), waiting: Some("nbdgate-io-1".to_owned()) };
        let bad = Vitals { clients: 0, lag: Some(("vm1".to_owned(), 9)), latched };
        assert_eq!(
            status(Phase::Serving(1), &silent, &bad),
            "nbdgate-io-0 hangs; nbdgate-io-1 waits for a device; flush failed, writes are refused on \"vm\\n2\" and 1 \
             more; serving 1 export to 0 clients; the bucket of \"vm1\" is 9 s behind"
        );
    }

    #[test]
    fn only_what_has_an_end_is_extended() {
        let (now, later) = (Instant::now(), Instant::now() + EXTENSION);
        assert!(Phase::Opening(later).is_extended(now) && Phase::Stopping(later).is_extended(now));
        assert!(!Phase::Opening(now).is_extended(later) && !Phase::Stopping(now).is_extended(later));
        assert!(!Phase::Serving(1).is_extended(now));
    }
}
