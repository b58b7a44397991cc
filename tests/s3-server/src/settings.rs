//! How the store behaves. The same words are flags of the program and fields of the control address.

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Latency, bandwidth and faults. Chances are in a thousand, per request that the fault can happen to.
#[derive(Clone, Debug, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Settings {
    /// Milliseconds that a GET, HEAD, LIST or DELETE takes at least.
    #[arg(long, default_value_t = 0)]
    pub get_ms: u64,
    /// Milliseconds that a PUT takes at least, once its body has arrived.
    #[arg(long, default_value_t = 0)]
    pub put_ms: u64,
    /// MiB per second that bodies move at, all together, in each direction; 0 for no limit.
    #[arg(long, default_value_t = 0)]
    pub mib_per_second: u64,
    /// Chance of a 503 with no effect.
    #[arg(long, default_value_t = 0)]
    pub busy: u32,
    /// Chance of no answer for `stall_ms` and then a closed connection, with no effect.
    #[arg(long, default_value_t = 0)]
    pub stall: u32,
    /// How long a stall lasts, in milliseconds.
    #[arg(long, default_value_t = 60_000)]
    pub stall_ms: u64,
    /// Chance that the body of a GET ends halfway.
    #[arg(long, default_value_t = 0)]
    pub cut: u32,
    /// Chance that a PUT or DELETE is applied and its answer is lost.
    #[arg(long, default_value_t = 0)]
    pub reply_lost: u32,
    /// Chance that a PUT gets no answer and is applied later.
    #[arg(long, default_value_t = 0)]
    pub late: u32,
    /// The latest that such a PUT is applied, in milliseconds.
    #[arg(long, default_value_t = 5_000)]
    pub late_ms: u64,
    /// Accept If-None-Match and ignore it, as stores without conditional writes do.
    #[arg(long)]
    pub ignore_conditions: bool,
}

/// Certainty.
const ALWAYS: u32 = 1000;

impl Default for Settings {
    /// A store that answers at once and never fails.
    fn default() -> Self {
        Self {
            get_ms: 0,
            put_ms: 0,
            mib_per_second: 0,
            busy: 0,
            stall: 0,
            stall_ms: 60_000,
            cut: 0,
            reply_lost: 0,
            late: 0,
            late_ms: 5_000,
            ignore_conditions: false,
        }
    }
}

impl Settings {
    /// Faults of every kind now and then.
    pub fn storm() -> Self {
        Self {
            busy: 60,
            stall: 3,
            stall_ms: 2_000,
            cut: 30,
            reply_lost: 40,
            late: 20,
            late_ms: 2_000,
            ..Self::default()
        }
    }

    /// These settings with some changed: `get-ms=15&busy=100`.
    pub(crate) fn changed_by(&self, query: &str) -> Result<Self, String> {
        let Ok(Value::Object(mut fields)) = serde_json::to_value(self) else {
            unreachable!("settings are written as an object");
        };
        for word in query.split('&').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').ok_or_else(|| format!("{word:?} has no value"))?;
            let field = fields.get_mut(name).ok_or_else(|| format!("there is no setting {name:?}"))?;
            *field = value.parse().map_err(|error| format!("{word:?}: {error}"))?;
        }
        let changed: Self = serde_json::from_value(Value::Object(fields)).map_err(|error| error.to_string())?;
        changed.checked()
    }

    /// Refuses chances above one.
    pub(crate) fn checked(self) -> Result<Self, String> {
        let chances = [self.busy, self.stall, self.cut, self.reply_lost, self.late];
        if chances.iter().any(|chance| *chance > ALWAYS) {
            return Err(format!("a chance is at most {ALWAYS}"));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let first = Settings { get_ms: 15, busy: 7, ..Settings::default() };
        let then = first.changed_by("put-ms=30&ignore-conditions=true").expect("both are known");
        assert_eq!(then, Settings { put_ms: 30, ignore_conditions: true, ..first });
    }

    #[test]
    fn unknown_words_and_chances_above_one_are_refused() {
        for wrong in ["frobnicate=1", "busy=1001", "get-ms=soon", "busy"] {
            assert!(Settings::default().changed_by(wrong).is_err(), "{wrong}");
        }
    }
}
