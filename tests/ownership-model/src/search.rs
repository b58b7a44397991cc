//! Breadth first through every reachable state.
//!
//! States that were seen are remembered by a fingerprint of 128 bits: among ten million states two share one with a chance
//! below 10^-24. Only the frontier is kept whole, which makes the three-writer search fit a gigabyte.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::{
    moves::{Label, moves},
    recovery::{Violation, judge, recover},
    rules::Rules,
    state::State,
};

/// What a search came to.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Different states seen.
    pub states: usize,
    /// Slots in the longest log that was recovered anywhere.
    pub longest_log: usize,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a search ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every reachable state was visited and all are right.
    Holds,
    /// So many states are right; there are more.
    Unfinished,
    /// A state is wrong, and this is a shortest way there.
    Broken {
        /// What is wrong.
        violation: Violation,
        /// The steps.
        trace: Vec<String>,
    },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Holds => write!(f, "holds in all {} states", self.states),
            Outcome::Unfinished => write!(f, "holds in the first {} states", self.states),
            Outcome::Broken { violation, trace } => {
                write!(f, "{violation:?} after {} states:", self.states)?;
                trace.iter().try_for_each(|step| write!(f, "\n  {step}"))
            }
        }
    }
}

/// How each state was reached: from which one, and by what. Numbered as they were found; 0 is the start.
#[derive(Default)]
struct Ways(Vec<(u32, Option<Label>)>);

impl Ways {
    fn add(&mut self, from: u32, label: Option<Label>) -> u32 {
        self.0.push((from, label));
        u32::try_from(self.0.len() - 1).expect("a search has less than 2^32 states")
    }

    fn trace(&self, mut at: u32) -> Vec<String> {
        let mut steps = Vec::new();
        while let (from, Some(label)) = self.0[at as usize] {
            steps.push(label.to_string());
            at = from;
        }
        steps.reverse();
        steps
    }
}

/// Visits every state that the rules can reach, at most about `limit` of them.
pub fn check(rules: Rules, limit: usize) -> Verdict {
    let start = State::start(rules.writers);
    let mut seen = HashSet::from([fingerprint(&start)]);
    let mut ways = Ways::default();
    let mut frontier = VecDeque::from([(start, ways.add(0, None))]);
    let mut longest_log = 0;
    while let Some((state, way)) = frontier.pop_front() {
        let before = recover(&state).expect("states are judged before they are queued");
        for (label, next) in moves(rules, &state) {
            if !seen.insert(fingerprint(&next)) {
                continue;
            }
            let next_way = ways.add(way, Some(label));
            match judge(&before, &next) {
                Ok(log) => longest_log = longest_log.max(log.len()),
                Err(violation) => {
                    let outcome = Outcome::Broken { violation, trace: ways.trace(next_way) };
                    return Verdict { states: seen.len(), longest_log, outcome };
                }
            }
            frontier.push_back((next, next_way));
        }
        if seen.len() > limit {
            return Verdict { states: seen.len(), longest_log, outcome: Outcome::Unfinished };
        }
    }
    Verdict { states: seen.len(), longest_log, outcome: Outcome::Holds }
}

fn fingerprint(state: &State) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        state.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}
