//! The CPU a process and its descendants used, from the kernel's accounting.
//!
//! `/proc/<pid>/task/*/schedstat` is exact to the nanosecond but forgets threads that ended; `/proc/<pid>/stat` (times
//! of the whole process and of the children it waited for) remembers them but counts in clock ticks. The finer is taken
//! unless the coarser shows that threads ended in between. Descendants count because a server may fork one for each
//! connection, as nbd-server does. What the kernel does in its own threads for a process is in neither.

use std::{collections::HashMap, fs, time::Duration};

use anyhow::Context;

/// The CPU of a process and its descendants so far.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    /// By thread.
    threads: HashMap<u32, Duration>,
    /// Of the processes as wholes, in steps of `tick`.
    whole: Duration,
    /// How far `whole` may be off for its steps.
    blur: Duration,
}

impl Usage {
    /// Reads the accounting of a process and its descendants.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let context = || format!("read the CPU accounting of process {pid}");
        let per_second = u32::try_from(rustix::param::clock_ticks_per_second())?;
        let tick = Duration::from_secs(1) / per_second;
        let mut usage = Self { threads: HashMap::new(), whole: Duration::ZERO, blur: Duration::ZERO };
        usage.add(pid, tick).with_context(context)?;
        for descendant in descendants(pid, &parents().with_context(context)?) {
            // One that ends right now is in the times of the one that waited for it.
            let _ended = usage.add(descendant, tick);
        }
        Ok(usage)
    }

    /// Adds one process.
    fn add(&mut self, pid: u32, tick: Duration) -> anyhow::Result<()> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let ticks = Stat::parse(&stat).context("parse its stat")?.ticks;
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let entry = entry?;
            // A thread that ends right now has nothing to read.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let thread = entry.file_name().to_string_lossy().parse()?;
            let nanoseconds = text.split(' ').next().unwrap_or_default().parse()?;
            self.threads.insert(thread, Duration::from_nanos(nanoseconds));
        }
        self.whole += tick * u32::try_from(ticks)?;
        self.blur += 2 * tick;
        Ok(())
    }

    /// The CPU used since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let of_thread = |(thread, now): (&u32, &Duration)| {
            now.saturating_sub(earlier.threads.get(thread).copied().unwrap_or_default())
        };
        let fine: Duration = self.threads.iter().map(of_thread).sum();
        let coarse = self.whole.saturating_sub(earlier.whole);
        if fine + self.blur.max(earlier.blur) < coarse { coarse } else { fine }
    }
}

/// What is of use in `/proc/<pid>/stat` (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// utime, stime, cutime and cstime, fields 14 to 17.
    ticks: u64,
}

impl Stat {
    fn parse(stat: &str) -> Option<Self> {
        // The name, field 2, is in parentheses and may hold anything.
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let parent = fields.get(1)?.parse().ok()?;
        let times = fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok());
        Some(Self { parent, ticks: times.sum::<Option<u64>>()? })
    }
}

/// Every process and its parent.
fn parents() -> anyhow::Result<Vec<(u32, u32)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        // One that ends right now has nothing to read.
        let Ok(text) = fs::read_to_string(entry.path().join("stat")) else { continue };
        found.extend(Stat::parse(&text).map(|stat| (pid, stat.parent)));
    }
    Ok(found)
}

/// The children of a process, theirs, and so on.
fn descendants(pid: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut found = Vec::new();
    let mut generation = vec![pid];
    while !generation.is_empty() {
        let is_next =
            |child: &u32, parent: &u32| generation.contains(parent) && *child != pid && !found.contains(child);
        generation = parents.iter().filter(|(child, parent)| is_next(child, parent)).map(|(child, _)| *child).collect();
        found.extend(&generation);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_a_name_with_parentheses() {
        let stat = "42 (a) b) (c) S 1 42 42 0 -1 4194560 100 0 0 0 17 25 3 4 20 0 1 0 99 0 0";
        assert_eq!(Stat::parse(stat), Some(Stat { parent: 1, ticks: 49 }));
        assert_eq!(Stat::parse("42 (cut) S 1"), None);
    }

    #[test]
    fn threads_that_ended_are_not_lost() {
        let usage = |threads: &[(u32, u64)], whole| Usage {
            threads: threads.iter().map(|(thread, ms)| (*thread, Duration::from_millis(*ms))).collect(),
            whole: Duration::from_millis(whole),
            blur: Duration::from_millis(20),
        };
        let before = usage(&[(1, 100), (2, 500)], 600);
        assert_eq!(usage(&[(1, 103), (2, 504), (3, 2)], 610).since(&before), Duration::from_millis(9));
        assert_eq!(usage(&[(1, 103)], 1000).since(&before), Duration::from_millis(400));
    }

    #[test]
    fn descendants_are_found_over_generations() {
        let parents = [(9, 4), (2, 1), (3, 2), (4, 3), (5, 1), (6, 5), (3, 3)];
        assert_eq!(descendants(2, &parents), [3, 4, 9]);
        assert!(descendants(9, &parents).is_empty());
    }

    #[test]
    fn the_work_of_a_child_counts_while_it_runs_and_after_it_was_waited_for() {
        let before = Usage::of(std::process::id()).unwrap();
        let a_while = Duration::from_millis(100);
        let mut child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let pid = child.id();
        let thread = |usage: &Usage| usage.threads.get(&pid).copied().unwrap_or_default();
        let deadline = std::time::Instant::now() + Duration::from_mins(1);
        let mut usage = Usage::of(std::process::id()).unwrap();
        while thread(&usage) < a_while && std::time::Instant::now() < deadline {
            usage = Usage::of(std::process::id()).unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let after = Usage::of(std::process::id()).unwrap();
        assert!(thread(&usage) >= a_while && usage.since(&before) >= a_while, "{usage:?}");
        assert_eq!(thread(&after), Duration::ZERO);
        assert!(after.since(&before) + Duration::from_millis(20) >= a_while, "{after:?}");
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
