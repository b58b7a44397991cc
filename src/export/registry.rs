//! Name → export.

use std::{collections::BTreeMap, sync::Arc};

use super::{Export, ExportName, Opened, Snapshots};

/// The exports of a gateway, in the order of their names. Fixed while connections are served, but for snapshots, which
/// come and go.
#[derive(Debug, Default)]
pub struct Registry {
    exports: BTreeMap<ExportName, Arc<Export>>,
    snapshots: Option<Snapshots>,
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

    /// Serves the snapshots of its exports too.
    #[must_use]
    pub fn with_snapshots(self, snapshots: Snapshots) -> Self {
        Self { snapshots: Some(snapshots), ..self }
    }

    /// The snapshot that `name` asks for, as `EXPORT@SNAPSHOT`; `None` if it is not such a name, or an export's own.
    pub async fn snapshot(&self, name: &str) -> Option<Opened> {
        let snapshots = self.snapshots.as_ref()?;
        if self.find(name).is_some() {
            return None;
        }
        let (base, snapshot) = name.rsplit_once('@')?;
        Some(snapshots.get(self.find(base)?, snapshot, name).await)
    }

    /// Every export, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Export>> {
        self.exports.values()
    }
}
