//! What becomes of a request, drawn from a seed.

use std::time::Duration;

use hyper::Method;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::settings::Settings;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Served,
    /// 503.
    Busy,
    /// Nothing happens for a while, and then the connection ends.
    Stalled,
    /// Half of the answer.
    Cut,
    /// Applied; the connection ends.
    ReplyLost,
    /// The connection ends; applied after so long.
    Late(Duration),
}

/// The die.
#[derive(Debug)]
pub(crate) struct Die(Mutex<StdRng>);

impl Die {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    pub(crate) fn cast(&self, method: &Method, settings: &Settings) -> Fate {
        let mut die = self.0.lock();
        let mut happens = |chance: u32| chance > 0 && die.random_range(0..1000) < chance;
        if happens(settings.busy) {
            return Fate::Busy;
        }
        if happens(settings.stall) {
            return Fate::Stalled;
        }
        let (get, put) = (*method == Method::GET, *method == Method::PUT);
        if get && happens(settings.cut) {
            return Fate::Cut;
        }
        if (put || *method == Method::DELETE || *method == Method::POST) && happens(settings.reply_lost) {
            return Fate::ReplyLost;
        }
        if put && happens(settings.late) {
            return Fate::Late(Duration::from_millis(die.random_range(0..=settings.late_ms)));
        }
        Fate::Served
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calm_store_serves_and_a_storm_spares_no_kind() {
        let die = Die::new(1);
        let calm = Settings::default();
        assert!((0..1000).all(|_| die.cast(&Method::PUT, &calm) == Fate::Served));
        let storm = Settings::storm();
        let mut seen: Vec<Fate> = Vec::new();
        for _ in 0..2000 {
            seen.push(die.cast(&Method::PUT, &storm));
            seen.push(die.cast(&Method::GET, &storm));
        }
        for fate in [Fate::Busy, Fate::Stalled, Fate::Cut, Fate::ReplyLost] {
            assert!(seen.contains(&fate), "{fate:?}");
        }
        assert!(seen.iter().any(|fate| matches!(fate, Fate::Late(_))));
    }

    #[test]
    fn one_seed_is_one_fate() {
        let cast = |seed| {
            let die = Die::new(seed);
            (0..100).map(|_| die.cast(&Method::PUT, &Settings::storm())).collect::<Vec<_>>()
        };
        assert_eq!(cast(7), cast(7));
        assert_ne!(cast(7), cast(8));
    }
}
