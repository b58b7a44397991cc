//! A log of requests, for tests that ask what reached the backend and in which order.

use std::{collections::VecDeque, sync::Arc};

use nbdgate_api::{Backend, Error, Info, Io, Kind, Op};
use parking_lot::Mutex;

use crate::relay::relay;

/// Requests that are kept; older ones are forgotten.
const REQUESTS_MAX: usize = 1 << 16;

/// One request that came by.
#[derive(Clone, Debug)]
pub struct Request {
    /// What was asked; the payload is shared.
    pub op: Op,
    /// When it was submitted: the count of submits and ends before it.
    pub submitted: u64,
    /// When it ended, on the same count, and how; `None` while it is in flight.
    pub ended: Option<(u64, Result<(), Kind>)>,
}

impl Request {
    /// Whether it had ended before `other` was submitted.
    pub fn ended_before(&self, other: &Self) -> bool {
        self.ended.is_some_and(|(when, _)| when < other.submitted)
    }
}

/// Passes everything through and keeps a log. An end is in the log before the caller sees it.
pub struct Record {
    inner: Arc<dyn Backend>,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    clock: u64,
    first: u64,
    requests: VecDeque<Request>,
}

impl Record {
    /// A recorder over `inner`, with an empty log.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self { inner, log: Arc::default() }
    }

    /// What has come by, in the order of submission.
    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().requests.iter().cloned().collect()
    }

    /// How many of the requests are so.
    pub fn count(&self, predicate: impl Fn(&Request) -> bool) -> usize {
        self.log.lock().requests.iter().filter(|request| predicate(request)).count()
    }

    /// Forgets what has ended or is in flight; the clock goes on.
    pub fn clear(&self) {
        let mut log = self.log.lock();
        log.first += log.requests.len() as u64;
        log.requests.clear();
    }
}

impl Log {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock - 1
    }

    fn submitted(&mut self, op: Op) -> u64 {
        if self.requests.len() == REQUESTS_MAX {
            self.requests.pop_front();
            self.first += 1;
        }
        let submitted = self.tick();
        self.requests.push_back(Request { op, submitted, ended: None });
        self.first + self.requests.len() as u64 - 1
    }

    fn ended(&mut self, number: u64, outcome: Result<(), Kind>) {
        let when = self.tick();
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(request) = index.and_then(|index| self.requests.get_mut(index)) {
            request.ended = Some((when, outcome));
        }
    }
}

impl Backend for Record {
    fn info(&self) -> &Info {
        self.inner.info()
    }

    fn submit(&self, mut io: Io) {
        io.op.detach();
        let number = self.log.lock().submitted(io.op.clone());
        let log = self.log.clone();
        let reply = relay(io.reply, move |outcome| {
            log.lock().ended(number, outcome.as_ref().map(|&()| ()).map_err(Error::kind));
            outcome
        });
        self.inner.submit(Io { op: io.op, reply });
    }

    fn bitmaps(&self) -> Vec<Arc<str>> {
        self.inner.bitmaps()
    }

    fn close(&self) -> Result<(), Error> {
        self.inner.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_and_late_ends_find_their_request() {
        let mut log = Log::default();
        let numbers: Vec<u64> = (0..=REQUESTS_MAX).map(|_| log.submitted(Op::Flush)).collect();
        assert_eq!(log.requests.len(), REQUESTS_MAX);
        log.ended(numbers[0], Ok(()));
        assert!(log.requests.iter().all(|request| request.ended.is_none()), "the first one is forgotten");
        log.ended(numbers[1], Err(Kind::Io));
        assert!(matches!(log.requests[0].ended, Some((_, Err(Kind::Io)))));
    }
}
