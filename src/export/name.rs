//! The name of an export.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

/// Longest name in bytes, the NBD specification's limit for strings.
pub(crate) const MAX_NAME_BYTES: usize = 4096;

/// A valid export name: UTF-8, at most 4096 bytes, without NUL. Empty names the default export.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExportName(Arc<str>);

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Longer than the protocol allows.
    #[error("export name has {0} bytes, more than {MAX_NAME_BYTES}")]
    TooLong(usize),
    /// Holds a NUL byte.
    #[error("export name contains a NUL byte")]
    Nul,
}

impl ExportName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExportName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        if name.len() > MAX_NAME_BYTES {
            return Err(InvalidName::TooLong(name.len()));
        }
        if name.contains('\0') {
            return Err(InvalidName::Nul);
        }
        Ok(Self(name.into()))
    }
}

impl Borrow<str> for ExportName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExportName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
