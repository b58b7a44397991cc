//! Who touches the medium: the runtime's blocking threads, a few at a time.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::Semaphore};

use super::{LINE, key::ObjectKey, slots::Slots};

/// Requests that read the medium at once.
const READERS: usize = 16;

/// Bytes that may wait to be kept; what comes on top is dropped.
const QUEUE: u64 = 64 << 20;

/// Lines to be kept.
#[derive(Debug)]
pub(super) struct Keep {
    pub(super) object: ObjectKey,
    pub(super) first: u32,
    /// In order, cut anywhere.
    pub(super) bytes: Vec<Bytes>,
}

impl Keep {
    fn len(&self) -> u64 {
        self.bytes.iter().map(|bytes| bytes.len() as u64).sum()
    }
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Keep>,
    bytes: u64,
    /// A thread is at it.
    busy: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Work {
    readers: Arc<Semaphore>,
    queue: Arc<Mutex<Queue>>,
    pub(super) dropped: AtomicU64,
}

impl Default for Work {
    fn default() -> Self {
        Self { readers: Arc::new(Semaphore::new(READERS)), queue: Arc::default(), dropped: AtomicU64::new(0) }
    }
}

impl Work {
    pub(super) async fn read(
        &self,
        slots: &Arc<Slots>,
        runtime: &Handle,
        object: ObjectKey,
        lines: &[u32],
    ) -> Vec<Option<Bytes>> {
        let permit = Arc::clone(&self.readers).acquire_owned().await.expect("it is never closed");
        let (slots, wanted) = (Arc::clone(slots), lines.to_vec());
        let read = runtime.spawn_blocking(move || {
            let _permit = permit;
            wanted.into_iter().map(|line| slots.read(object.line(line))).collect()
        });
        // A runtime that is going away reads nothing more.
        read.await.unwrap_or_else(|_| vec![None; lines.len()])
    }

    pub(super) fn keep(&self, slots: &Arc<Slots>, runtime: &Handle, keep: Keep) {
        let length = keep.len();
        let mut queue = self.queue.lock();
        if queue.bytes + length > QUEUE {
            self.dropped.fetch_add(length, Ordering::Relaxed);
            return;
        }
        queue.bytes += length;
        queue.waiting.push_back(keep);
        if !queue.busy {
            queue.busy = true;
            let (slots, drain) = (Arc::clone(slots), Drain(Some(Arc::clone(&self.queue))));
            runtime.spawn_blocking(move || drain.run(&slots));
        }
    }
}

/// The thread that is at it. A runtime that ends may drop it before it began; the next one takes over then.
struct Drain(Option<Arc<Mutex<Queue>>>);

impl Drain {
    /// Keeps everything that waits.
    fn run(mut self, slots: &Slots) {
        let queue = Arc::clone(self.0.as_ref().expect("it has its queue until it is done"));
        loop {
            let keep = {
                let mut queue = queue.lock();
                let Some(keep) = queue.waiting.pop_front() else {
                    // Under the lock: what comes next finds nobody at it.
                    queue.busy = false;
                    self.0 = None;
                    return;
                };
                queue.bytes -= keep.len();
                keep
            };
            write(slots, &keep);
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        if let Some(queue) = &self.0 {
            queue.lock().busy = false;
        }
    }
}

fn write(slots: &Slots, keep: &Keep) {
    let line = usize::try_from(LINE).expect("64 KiB");
    let mut parts: VecDeque<Bytes> = keep.bytes.iter().filter(|bytes| !bytes.is_empty()).cloned().collect();
    let mut number = keep.first;
    let mut joined = Vec::new();
    while let Some(first) = parts.front_mut() {
        if first.len() >= line {
            slots.write(keep.object.line(number), &first[..line]);
            first.advance(line);
        } else {
            joined.clear();
            while let Some(part) = parts.front_mut()
                && joined.len() < line
            {
                let taken = part.len().min(line - joined.len());
                joined.extend_from_slice(&part.split_to(taken));
                if part.is_empty() {
                    parts.pop_front();
                }
            }
            slots.write(keep.object.line(number), &joined);
        }
        if parts.front().is_some_and(Bytes::is_empty) {
            parts.pop_front();
        }
        number += 1;
    }
}
