//! Checks the configurations that take too long for every run of the tests: three writers, and longer logs.
//!
//!     nbdgate-ownership-model [LIMIT]
//!
//! LIMIT is the most states of one search; without it, all of them. `make soak` runs this.

use std::{process::ExitCode, time::Instant};

use nbdgate_ownership_model::{Outcome, Rules, check};

const SEARCHES: [(&str, Rules); 3] = [
    ("three writers, one slot, one checkpoint", Rules::THREE_WRITERS),
    ("two writers, three slots, two checkpoints", Rules { slots: 3, checkpoints: 2, window: 1, ..Rules::TWO_WRITERS }),
    ("three writers, the far fence, no checkpoint", Rules { writers: 3, slots: 3, ..Rules::FAR_FENCE }),
];

fn main() -> ExitCode {
    let limit = match std::env::args().nth(1).map(|text| text.parse()) {
        None => usize::MAX,
        Some(Ok(limit)) => limit,
        Some(Err(_)) => {
            eprintln!("usage: nbdgate-ownership-model [LIMIT]");
            return ExitCode::from(2);
        }
    };
    let mut all = true;
    for (name, rules) in SEARCHES {
        let begin = Instant::now();
        let verdict = check(rules, limit);
        println!("{name}: {verdict}, {:.0} s", begin.elapsed().as_secs_f64());
        all &= !matches!(verdict.outcome, Outcome::Broken { .. });
    }
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
