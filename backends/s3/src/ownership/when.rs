//! When something happened, for people.

use std::time::{Duration, UNIX_EPOCH};

/// The last second of the year 9999: RFC 3339 has no later ones.
const LAST: u64 = 253_402_300_799;

/// Milliseconds since 1970 as RFC 3339 in UTC, to the second.
pub(crate) fn utc(unix_ms: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs((unix_ms / 1000).min(LAST))).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_time_can_be_told() {
        assert_eq!(utc(1_795_363_426_789), "2026-11-22T16:03:46Z");
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
