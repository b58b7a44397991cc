//! Why bytes from a bucket were refused.

use std::borrow::Cow;
use std::fmt;

/// What a caller can do about it; the set is stable, the text is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FormatErrorKind {
    /// No object of this format: something else lives under the name.
    NotOurs,
    /// Written by a later version that this one must not guess about.
    FutureVersion,
    /// Ours, but the bytes are not what was written.
    Corrupt,
    /// Encrypted, and the key is not at hand.
    Sealed,
    /// A sound object of another volume, kind or position.
    WrongPlace,
}

/// Bytes that were refused: the kind, what is wrong, and the object where the caller named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError {
    kind: FormatErrorKind,
    what: Cow<'static, str>,
    object: Option<Box<str>>,
}

impl FormatError {
    /// An error of `kind`; `what` says what is wrong, lower case.
    pub fn new(kind: FormatErrorKind, what: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, what: what.into(), object: None }
    }

    pub(crate) fn corrupt(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FormatErrorKind::Corrupt, what)
    }

    pub(crate) fn misplaced(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FormatErrorKind::WrongPlace, what)
    }

    /// Names the object the bytes came from. The first name wins: it is the closest to the bytes.
    #[must_use]
    pub fn in_object(mut self, object: impl fmt::Display) -> Self {
        if self.object.is_none() {
            self.object = Some(object.to_string().into_boxed_str());
        }
        self
    }

    /// The kind.
    pub fn kind(&self) -> FormatErrorKind {
        self.kind
    }

    /// What is wrong.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The object's name, where known.
    pub fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for FormatError {}
