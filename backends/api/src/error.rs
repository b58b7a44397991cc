//! One error type for every backend: a small stable kind, a sentence, an optional source.

use std::{borrow::Cow, fmt, io};

/// What went wrong, in the granularity that an NBD client can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The export or the caller may not do this (NBD_EPERM).
    Permission,
    /// The device, network or store failed, or bytes failed their check (NBD_EIO).
    Io,
    /// Out of memory or of a memory budget (NBD_ENOMEM).
    NoMemory,
    /// The request makes no sense (NBD_EINVAL).
    Invalid,
    /// No space left on the device, or past the end of the export (NBD_ENOSPC).
    NoSpace,
    /// Too large to be answered in the asked form (NBD_EOVERFLOW).
    Overflow,
    /// This backend cannot do it (NBD_ENOTSUP).
    NotSupported,
    /// The server or the export is going away (NBD_ESHUTDOWN).
    Shutdown,
}

/// A failed operation: lower-case message saying what was tried on what, never repeating the source.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: Cow<'static, str>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without an underlying cause.
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Adds the underlying cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Wraps an operating-system error, mapping its errno to a kind; `message` says what was tried.
    pub fn from_io(error: io::Error, message: impl Into<Cow<'static, str>>) -> Self {
        use io::ErrorKind as E;
        let kind = match error.kind() {
            E::PermissionDenied | E::ReadOnlyFilesystem => Kind::Permission,
            E::StorageFull | E::QuotaExceeded | E::FileTooLarge => Kind::NoSpace,
            E::OutOfMemory => Kind::NoMemory,
            E::InvalidInput => Kind::Invalid,
            E::Unsupported => Kind::NotSupported,
            _ => Kind::Io,
        };
        Self::new(kind, message).with_source(error)
    }

    /// The kind, for mapping to a wire error.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The message and the chain of causes in one line, for logs and for error texts on the wire.
    pub fn chain(&self) -> String {
        let mut text = self.message.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }

    /// A second error with the same kind and text, for telling several waiters of one failure.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::new(self.kind, self.chain())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
