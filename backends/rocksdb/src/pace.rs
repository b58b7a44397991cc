//! How fast the committer may go, so that RocksDB never has to stop it.
//!
//! RocksDB stops writes when memtables, tables of level 0 or the debt of compaction pass a limit, and lets them wait until a
//! whole memtable is written out or a whole compaction is done. Long before that, the pace is brought down to what really
//! flows out of the memtables, so that each write waits a little instead of a few waiting for seconds. Waiting writes keep
//! their permits, so the clients' sockets fill up: that is where the pressure goes.
//!
//! Pure: no clock and no database.

use std::time::Duration;

use crate::tuning::{LEVEL0_SLOWDOWN, MEMTABLES, PENDING_SLOWDOWN};

/// Memtables waiting to be written out from which on writes are slowed down.
const MEMTABLES_START: f64 = 2.0;
/// Tables of level 0 from which on they are.
const LEVEL0_START: f64 = LEVEL0_SLOWDOWN as f64 / 2.0;
/// The debt of compaction from which on they are.
const PENDING_START: f64 = PENDING_SLOWDOWN as f64 / 2.0;
/// How full the memory of all memtables is from which on they are, and where the pressure is full.
const MEMORY_START: f64 = 1.0;
const MEMORY_STOP: f64 = 1.5;
/// How much more than its data a disk may take before writes are slowed down so that garbage is collected: a part of the data,
/// and bytes that a small disk may have anyway. And the same for where the pressure is full.
const SPACE_START: (f64, f64) = (0.5, 256e6);
const SPACE_STOP: (f64, f64) = (1.0, 1024e6);
/// The slowest pace in bytes per second: something always flows.
const SLOWEST: f64 = 4e6;
/// The longest that one batch waits.
pub(crate) const LONGEST: Duration = Duration::from_millis(20);
/// How much of what flowed out lately counts, against what was known before.
const NEWS: f64 = 0.2;
/// Between two looks at RocksDB.
pub(crate) const LOOK: Duration = Duration::from_millis(10);

/// What RocksDB says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Signs {
    /// Memtables that wait to be written out.
    pub(crate) immutable: u64,
    /// Tables in level 0.
    pub(crate) level0: u64,
    /// Bytes that compaction has to move.
    pub(crate) pending: u64,
    /// How full the memory of memtables is; 1 is full.
    pub(crate) memory: f64,
    /// Bytes in the memtables.
    pub(crate) memtables: u64,
    /// Bytes of all tables and blob files.
    pub(crate) files: u64,
    /// Bytes of the extents that are there.
    pub(crate) allocated: u64,
}

impl Signs {
    /// 0 for none, 1 for where RocksDB would begin to stop.
    pub(crate) fn pressure(&self) -> f64 {
        let part = |value: f64, start: f64, stop: f64| ((value - start) / (stop - start)).clamp(0.0, 1.0);
        let excess = self.files.saturating_sub(self.allocated) as f64;
        let space = |(share, bytes): (f64, f64)| self.allocated as f64 * share + bytes;
        let parts = [
            // Garbage is collected while something flows; to stop would not help.
            part(excess, space(SPACE_START), space(SPACE_STOP)) / 2.0,
            part(self.immutable as f64, MEMTABLES_START, f64::from(MEMTABLES - 1)),
            part(self.level0 as f64, LEVEL0_START, f64::from(LEVEL0_SLOWDOWN)),
            part(self.pending as f64, PENDING_START, PENDING_SLOWDOWN as f64),
            part(self.memory, MEMORY_START, MEMORY_STOP),
        ];
        parts.into_iter().fold(0.0, f64::max)
    }
}

/// The pace of one disk.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pressure: f64,
    /// Bytes per second that flowed out of the memtables lately.
    drained: f64,
    memtables: u64,
    written: u64,
    /// What was written beyond the pace, in seconds.
    debt: f64,
}

impl Pace {
    /// `signs` are seen, `elapsed` after the look before.
    pub(crate) fn look(&mut self, signs: Signs, elapsed: Duration) {
        // What came in and is not there any more has gone out.
        let out = (self.memtables + self.written).saturating_sub(signs.memtables) as f64;
        let seconds = elapsed.as_secs_f64().max(1e-6);
        // A memtable goes out at once, after having been written for a while: so its bytes count over many looks.
        let news = (NEWS * seconds).min(1.0);
        self.drained += (out / seconds - self.drained) * news;
        self.memtables = signs.memtables;
        self.written = 0;
        self.pressure = signs.pressure();
    }

    /// A batch of so many bytes is to be written, `elapsed` after the one before: how long it has to wait.
    pub(crate) fn wait(&mut self, bytes: u64, elapsed: Duration) -> Duration {
        self.written += bytes;
        self.debt = (self.debt - elapsed.as_secs_f64()).max(0.0);
        if self.pressure <= 0.0 {
            self.debt = 0.0;
            return Duration::ZERO;
        }
        let wait = Duration::from_secs_f64(self.debt).min(LONGEST);
        self.debt = (self.debt + bytes as f64 / self.rate()).min(LONGEST.as_secs_f64() * 4.0);
        wait
    }

    /// Bytes per second: above what flows out under little pressure, below it under much.
    fn rate(&self) -> f64 {
        (self.drained * (1.5 - self.pressure)).max(SLOWEST)
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of a simulated second")]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(10);

    #[test]
    fn without_pressure_nothing_waits() {
        let mut pace = Pace::default();
        for _ in 0..1000 {
            pace.look(Signs { immutable: 1, level0: 4, ..Signs::default() }, STEP);
            assert_eq!(pace.wait(100 << 20, STEP), Duration::ZERO);
        }
    }

    #[test]
    fn each_sign_makes_pressure_before_rocksdb_stops() {
        let pressure = |signs: Signs| signs.pressure();
        assert!(pressure(Signs { immutable: 3, ..Signs::default() }) > 0.0);
        assert!(pressure(Signs { level0: 15, ..Signs::default() }) > 0.0);
        assert!(pressure(Signs { pending: 12 << 30, ..Signs::default() }) > 0.0);
        assert!(pressure(Signs { memory: 1.2, ..Signs::default() }) > 0.0);
        let full = pressure(Signs { files: 90 << 30, allocated: 20 << 30, ..Signs::default() });
        assert!((0.4..0.6).contains(&full), "what flows out still comes in");
        assert!(pressure(Signs { files: 25 << 30, allocated: 20 << 30, ..Signs::default() }) <= 0.0);
        assert!((pressure(Signs { immutable: 9, ..Signs::default() }) - 1.0).abs() < f64::EPSILON);
    }

    /// A writer that would write 400 MB/s into memtables of 32 MB, of which RocksDB writes out 100 MB/s.
    #[test]
    fn a_writer_settles_at_what_flows_out_and_never_fills_the_memtables() {
        const OUT: u64 = 100_000_000;
        let (mut pace, mut held, mut active, mut flushed) = (Pace::default(), 0u64, 0u64, 0u64);
        let (mut clock, mut since_look, mut longest, mut late) = (0.0f64, 0.0f64, Duration::ZERO, 0u64);
        let batch = 256u64 << 10;
        let mut elapsed = Duration::ZERO;
        while clock < 60.0 {
            if since_look >= LOOK.as_secs_f64() {
                let immutable = held / (32 << 20);
                let signs = Signs { immutable, memtables: held + active, ..Signs::default() };
                pace.look(signs, Duration::from_secs_f64(since_look));
                since_look = 0.0;
                assert!(immutable < 5, "RocksDB would have stopped at {clock} s");
            }
            let wait = pace.wait(batch, elapsed);
            longest = longest.max(wait);
            let step = wait.as_secs_f64() + batch as f64 / 400e6;
            elapsed = Duration::from_secs_f64(step);
            (clock, since_look) = (clock + step, since_look + step);
            active += batch;
            if active >= 32 << 20 {
                (held, active) = (held + active, 0);
            }
            if held > 0 {
                flushed += (step * OUT as f64) as u64;
                // Memory comes back when a whole memtable is out.
                if flushed >= 32 << 20 {
                    (held, flushed) = (held - (32 << 20).min(held), 0);
                }
            }
            late += if clock > 30.0 { batch } else { 0 };
        }
        let rate = late as f64 / 30.0;
        assert!((80e6..120e6).contains(&rate), "{rate} bytes per second");
        assert!(longest <= LONGEST, "{longest:?}");
    }
}
