//! Strings of the protocol ("Conventions"): UTF-8, no NUL, at most 4096 bytes and better no more than 256.

use super::constants::NBD_MAX_STRING;

/// Longest error text sent, the length that the specification recommends for strings.
pub const MAX_ERROR_TEXT: usize = 256;

/// The front of `text` that may be sent as an error message: no NUL, whole characters, [`MAX_ERROR_TEXT`] at most.
pub fn error_text(text: &str) -> &str {
    bounded(text, MAX_ERROR_TEXT)
}

/// The front of `text` that may be sent as a description.
pub fn description(text: &str) -> &str {
    bounded(text, NBD_MAX_STRING)
}

/// A string received, `None` if it breaks a rule.
pub fn received(bytes: &[u8]) -> Option<&str> {
    if bytes.len() > NBD_MAX_STRING || bytes.contains(&0) {
        return None;
    }
    std::str::from_utf8(bytes).ok()
}

fn bounded(text: &str, most: usize) -> &str {
    let end = text.find('\0').unwrap_or(text.len());
    &text[..text.floor_char_boundary(end.min(most))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_texts_are_cut_at_whole_characters_and_before_nul() {
        assert_eq!(error_text("short"), "short");
        assert_eq!(error_text("a\0b"), "a");
        let long = "ä".repeat(200);
        assert_eq!(error_text(&long).len(), 256);
        assert_eq!(error_text(&format!("x{long}")).len(), 255);
    }

    #[test]
    fn received_strings_obey_the_conventions() {
        assert_eq!(received(b""), Some(""));
        assert_eq!(received("ä".as_bytes()), Some("ä"));
        assert_eq!(received(b"a\0"), None);
        assert_eq!(received(b"\xff"), None);
        assert_eq!(received(&[b'a'; 4096]).map(str::len), Some(4096));
        assert_eq!(received(&[b'a'; 4097]), None);
    }
}
