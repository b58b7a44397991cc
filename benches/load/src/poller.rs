//! Waits for sockets.
//!
//! A single connection with nothing left to send needs no poll: its next receive waits by itself, which spares the
//! generator one system call per batch.

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    time::Duration,
};

use anyhow::{Context, ensure};
use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io::Errno,
};

/// Events of one wait.
const EVENTS_MAX: usize = 256;

/// The sockets of a run, by number.
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
    /// By socket: whether it is also polled for room.
    for_room: Vec<bool>,
    stall: Timespec,
}

impl Poller {
    /// Polls sockets for bytes; socket `n` is reported as `n`.
    pub(crate) fn new<'a>(sockets: impl IntoIterator<Item = BorrowedFd<'a>>, stall: Duration) -> anyhow::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("create an epoll instance")?;
        let mut for_room = Vec::new();
        for socket in sockets {
            let data = EventData::new_u64(for_room.len() as u64);
            epoll::add(&epoll, socket, data, EventFlags::IN).context("poll a socket")?;
            for_room.push(false);
        }
        let stall = Timespec::try_from(stall).context("use the stall time")?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS_MAX), for_room, stall })
    }

    /// Whether socket `index` shall be reported when it can take bytes, too.
    pub(crate) fn poll_for_room(&mut self, index: usize, socket: BorrowedFd<'_>, for_room: bool) -> anyhow::Result<()> {
        if self.for_room[index] == for_room {
            return Ok(());
        }
        self.for_room[index] = for_room;
        let flags = if for_room { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        epoll::modify(&self.epoll, socket, EventData::new_u64(index as u64), flags).context("poll a socket")
    }

    /// Waits, and appends the sockets that are ready.
    pub(crate) fn wait(&mut self, ready: &mut Vec<usize>) -> anyhow::Result<()> {
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&self.stall)) {
            Ok(count) => ensure!(count > 0, "the server sent nothing for too long"),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for the server"),
        }
        for event in &self.events {
            // Copied out: the structure is packed.
            let data = event.data;
            ready.push(usize::try_from(data.u64())?);
        }
        Ok(())
    }
}
