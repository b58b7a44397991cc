//! Name → export.

use std::{collections::BTreeMap, sync::Arc};

use super::{Export, ExportName};

/// The exports of a gateway, in the order of their names. Fixed while connections are served.
#[derive(Debug, Default)]
pub struct Registry {
    exports: BTreeMap<ExportName, Arc<Export>>,
}

/// A name was given twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("export name {0:?} is used twice")]
pub struct Duplicate(pub String);

impl Registry {
    /// Adds an export.
    ///
    /// # Errors
    /// Its name is taken.
    pub fn add(&mut self, export: Arc<Export>) -> Result<(), Duplicate> {
        if self.exports.contains_key(export.name()) {
            return Err(Duplicate(export.name().to_string()));
        }
        self.exports.insert(export.name().clone(), export);
        Ok(())
    }

    /// The export of that name; the empty name finds only an export that has the empty name.
    pub fn find(&self, name: &str) -> Option<&Arc<Export>> {
        self.exports.get(name)
    }

    /// Every export, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Export>> {
        self.exports.values()
    }
}
