//! Sizes in bytes, as people write them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

use super::Invalid;

/// Units and their exponents of two, smallest first. All binary: storage people mean GiB when they write 10G.
const UNITS: [(char, u32); 6] = [('K', 10), ('M', 20), ('G', 30), ('T', 40), ('P', 50), ('E', 60)];

/// A number of bytes: `4096`, `512K`, `10G`, `1.5TiB`. Units are binary; a fraction must give whole bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

impl Size {
    /// From bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = exponent(text, &text[digits.len()..])?;
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return Err(Invalid::new(format!(
                "{text:?} is not a size: write bytes or a unit, as in 4096, 512M or 10G"
            )));
        }
        let too_large = || Invalid::new(format!("size {text:?} does not fit in 64 bits"));
        let whole: u64 = whole.parse().map_err(|_| too_large())?;
        let whole = whole.checked_mul(1 << shift).ok_or_else(too_large)?;
        let fraction = fraction_bytes(fraction, shift)
            .ok_or_else(|| Invalid::new(format!("size {text:?} is not a whole number of bytes")))?;
        whole.checked_add(fraction).map(Self).ok_or_else(too_large)
    }
}

/// The exponent of two of a unit: nothing, `K`, `k` or `KiB`. `KB` is refused: it means two things.
fn exponent(text: &str, unit: &str) -> Result<u32, Invalid> {
    let mut letters = unit.chars();
    let Some(first) = letters.next() else { return Ok(0) };
    let known = UNITS.iter().find(|(letter, _)| *letter == first.to_ascii_uppercase());
    match (known, letters.as_str()) {
        (Some((_, shift)), "" | "iB") => Ok(*shift),
        (Some((letter, _)), "B") => Err(Invalid::new(format!(
            "{text:?}: {unit} can mean two sizes; write {letter} or {letter}iB, which are binary"
        ))),
        _ => {
            Err(Invalid::new(format!("{text:?}: unknown unit {unit:?}; the units are K, M, G, T, P and E, all binary")))
        }
    }
}

/// `0.fraction * 2^shift`, `None` unless that is whole.
fn fraction_bytes(fraction: &str, shift: u32) -> Option<u64> {
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        return Some(0);
    }
    // 60 binary places need at most 60 decimal ones, but a u128 product holds only 20 with a 2^60 unit; nobody
    // writes more, and what does not fit is refused like any other fraction of a byte.
    let numerator = fraction.parse::<u128>().ok()?.checked_mul(1 << shift)?;
    let denominator = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    (numerator.is_multiple_of(denominator)).then(|| u64::try_from(numerator / denominator).ok()).flatten()
}

/// The shortest exact form: `10G`, `1536M`, `513`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().rev().find(|(_, shift)| self.0 != 0 && self.0.is_multiple_of(1 << shift));
        match whole {
            Some((letter, shift)) => write!(f, "{}{letter}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A TOML integer counts bytes; a string is parsed like a flag.
impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size: bytes, or a string like \"10G\"")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::custom(format!("size {bytes} is negative")))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_with_binary_units() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("1k", 1 << 10),
            ("512M", 512 << 20),
            ("10G", 10 << 30),
            ("1TiB", 1 << 40),
            ("1.5G", 3 << 29),
            ("0.5k", 512),
            ("1.0", 1),
            ("2.50M", 5 << 19),
            ("15E", 15 << 60),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "not a size"),
            ("G", "not a size"),
            ("-1", "not a size"),
            ("1.", "not a size"),
            (".5G", "not a size"),
            ("1.5.5G", "not a size"),
            ("1 G", "not a size"),
            ("0x10", "not a size"),
            ("１", "not a size"),
            ("10GB", "can mean two sizes"),
            ("10X", "unknown unit"),
            ("10Gi", "unknown unit"),
            ("16E", "64 bits"),
            ("18446744073709551616", "64 bits"),
            ("1.3", "whole number of bytes"),
            ("0.3K", "whole number of bytes"),
        ] {
            let error = text.parse::<Size>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_displayed_reads_back_the_same(bytes: u64) {
            prop_assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }

        #[test]
        fn any_string_is_parsed_or_refused(text in ".*|[0-9.]{0,70}[a-zA-Z]{0,3}") {
            let _ = text.parse::<Size>();
        }
    }
}
