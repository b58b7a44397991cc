//! The CPU a process used, from the kernel's accounting.
//!
//! `/proc/<pid>/task/*/schedstat` is exact to the nanosecond but forgets threads that ended; `/proc/<pid>/stat` (utime
//! and stime of the whole process) remembers them but counts in clock ticks. The finer is taken unless the coarser
//! shows that threads ended in between. What the kernel does in its own threads for a process is in neither.

use std::{collections::HashMap, fs, time::Duration};

use anyhow::Context;

/// A process's CPU so far.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    /// By thread.
    threads: HashMap<u32, Duration>,
    /// Of the whole process, in steps of `tick`.
    whole: Duration,
    tick: Duration,
}

impl Usage {
    /// Reads the accounting of a process.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let context = || format!("read the CPU accounting of process {pid}");
        let mut threads = HashMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task")).with_context(context)? {
            let entry = entry.with_context(context)?;
            // A thread that ends right now has nothing to read.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let thread = entry.file_name().to_string_lossy().parse().with_context(context)?;
            let nanoseconds = text.split(' ').next().unwrap_or_default().parse().with_context(context)?;
            threads.insert(thread, Duration::from_nanos(nanoseconds));
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(context)?;
        let ticks = parse_ticks(&stat).with_context(context)?;
        let per_second = rustix::param::clock_ticks_per_second();
        let tick = Duration::from_secs(1) / u32::try_from(per_second)?;
        Ok(Self { threads, whole: tick * u32::try_from(ticks)?, tick })
    }

    /// The CPU used since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let of_thread = |(thread, now): (&u32, &Duration)| {
            now.saturating_sub(earlier.threads.get(thread).copied().unwrap_or_default())
        };
        let fine: Duration = self.threads.iter().map(of_thread).sum();
        let coarse = self.whole.saturating_sub(earlier.whole);
        if fine + 2 * self.tick < coarse { coarse } else { fine }
    }
}

/// utime + stime, fields 14 and 15 of stat (proc_pid_stat(5)).
fn parse_ticks(stat: &str) -> Option<u64> {
    // The name, field 2, is in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_a_name_with_parentheses() {
        let stat = "42 (a) b) (c) S 1 42 42 0 -1 4194560 100 0 0 0 17 25 3 4 20 0 1 0 99 0 0";
        assert_eq!(parse_ticks(stat), Some(42));
        assert_eq!(parse_ticks("42 (cut) S 1"), None);
    }

    #[test]
    fn threads_that_ended_are_not_lost() {
        let usage = |threads: &[(u32, u64)], whole| Usage {
            threads: threads.iter().map(|(thread, ms)| (*thread, Duration::from_millis(*ms))).collect(),
            whole: Duration::from_millis(whole),
            tick: Duration::from_millis(10),
        };
        let before = usage(&[(1, 100), (2, 500)], 600);
        assert_eq!(usage(&[(1, 103), (2, 504), (3, 2)], 610).since(&before), Duration::from_millis(9));
        assert_eq!(usage(&[(1, 103)], 1000).since(&before), Duration::from_millis(400));
    }

    #[test]
    fn own_work_is_counted() {
        let before = Usage::of(std::process::id()).unwrap();
        let mut used = Duration::ZERO;
        for _ in 0..100_000 {
            std::hint::black_box((0..1000u64).fold(1, |sum, n| std::hint::black_box(sum ^ n)));
            used = Usage::of(std::process::id()).unwrap().since(&before);
            if used > Duration::ZERO {
                break;
            }
        }
        assert!(used > Duration::ZERO);
    }
}
