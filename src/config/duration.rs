//! Spans of time, as people write them.

use std::{str::FromStr, time::Duration};

use serde::Deserialize;

use super::Invalid;

/// Longest accepted, so that adding it to a clock cannot overflow: a year.
const MAX: Duration = Duration::from_hours(365 * 24);

/// A whole number with a unit: `50us`, `500ms`, `30s`, `5m`, `1h`. A number without a unit is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(Duration);

impl Span {
    /// As the standard type.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let microseconds = match unit {
            "us" => 1,
            "ms" => 1000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            _ => 0,
        };
        if number.is_empty() || microseconds == 0 {
            return Err(Invalid::new(format!(
                "{text:?} is not a duration: write a whole number and a unit, as in 500ms, 30s, 5m or 1h"
            )));
        }
        let duration = number.parse::<u64>().ok().and_then(|number| number.checked_mul(microseconds));
        match duration.map(Duration::from_micros) {
            Some(duration) if duration <= MAX => Ok(Self(duration)),
            _ => Err(Invalid::new(format!("duration {text:?} is longer than a year"))),
        }
    }
}

impl TryFrom<String> for Span {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_need_a_number_and_a_unit() {
        for (text, microseconds) in
            [("0us", 0), ("50us", 50), ("500ms", 500_000), ("30s", 30_000_000), ("1h", 3_600_000_000)]
        {
            assert_eq!(text.parse(), Ok(Span(Duration::from_micros(microseconds))), "{text}");
        }
        for text in ["", "30", "s", "1.5s", "-1s", "30 s", "30S", "1d", "1m30s", "99999999h", "99999999999999999999s"] {
            let error = text.parse::<Span>().expect_err(text).to_string();
            assert!(error.contains("duration"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_string_is_parsed_or_refused(text in ".*|[0-9]{0,30}[a-z]{0,2}") {
            let _ = text.parse::<Span>();
        }
    }
}
