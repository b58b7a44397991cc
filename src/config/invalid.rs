//! The one error of the parsers: a sentence that says what is wrong and what to write instead.

use std::fmt;

/// A value was refused. Lower case, names the value, says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    /// With this sentence.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    /// That other machines can reach a listener.
    pub fn remote(listen: &impl fmt::Display) -> Self {
        Self(format!(
            "{listen} can be reached from other machines, and NBD without TLS is neither encrypted nor authenticated: \
             listen on localhost or a Unix socket, or add --allow-remote-plaintext"
        ))
    }
}
