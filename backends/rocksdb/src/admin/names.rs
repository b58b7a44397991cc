//! Names of snapshots: as those of the object log's, since they appear in the same names of exports.
//!
//! None begins with a dot, so what does is never a snapshot.

use nbdgate_api::{Error, Kind};

/// The longest name of a file on any file system that is used.
const MAX: usize = 255;

/// # Errors
/// It cannot be the name of a snapshot.
pub(crate) fn check(name: &str) -> Result<(), Error> {
    let fits = (1..=MAX).contains(&name.len()) && !name.starts_with('.');
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if fits && plain {
        return Ok(());
    }
    let text = format!(
        "`{}` is not the name of a snapshot: up to {MAX} letters, digits, `.`, `_` and `-`, not starting with `.`",
        name.escape_default()
    );
    Err(Error::new(Kind::Invalid, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_plain_file_name_that_is_not_hidden() {
        for good in ["a", "monday", "2026-01-31_12.00", &"x".repeat(255)] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".new-1", "a/b", "../x", "a b", "ä", "a\0", &"x".repeat(256)] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
