//! Snapshots as people and manifests know them: names, lines of the manifest, and what is told of them.
//!
//! A snapshot is a line in the manifest that names a root. It holds no data of its own, and taking one copies none.

use nbdgate_api::{Error, Kind};

use crate::format::{
    BLOCK_SIZE, Manifest, RootLocator, SnapshotId, VolumeName, manifest::SnapshotEntry, names::MAX_VOLUME_NAME,
};

/// Most snapshots of one disk: their lines travel in every manifest.
pub const MAX_SNAPSHOTS: usize = 4096;

/// A snapshot of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its name, unique among the snapshots of its disk.
    pub name: String,
    /// Its id.
    pub id: String,
    /// When it was taken, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Bytes of the disk then.
    pub size: u64,
    /// Its checkpoint.
    pub checkpoint: u32,
}

impl From<&SnapshotEntry> for SnapshotInfo {
    fn from(entry: &SnapshotEntry) -> Self {
        Self {
            name: entry.name.clone(),
            id: entry.id.to_string(),
            created_unix_ms: entry.created_ms,
            size: entry.blocks * BLOCK_SIZE as u64,
            checkpoint: entry.root.checkpoint.0,
        }
    }
}

/// A snapshot that is about to be taken.
#[derive(Clone, Debug)]
pub(crate) struct NewSnapshot {
    pub(crate) id: SnapshotId,
    pub(crate) name: String,
    pub(crate) created_ms: u64,
}

impl NewSnapshot {
    /// Its line in a manifest whose newest checkpoint is `root`.
    pub(crate) fn entry(self, root: RootLocator, blocks: u64) -> SnapshotEntry {
        SnapshotEntry { id: self.id, name: self.name, created_ms: self.created_ms, root, blocks }
    }
}

/// Refuses what cannot be the name of a snapshot: it appears in names of exports and of dirty bitmaps.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    if VolumeName::parse(name).is_some() {
        return Ok(());
    }
    let text = format!(
        "`{}` is not the name of a snapshot: up to {MAX_VOLUME_NAME} letters, digits, `.`, `_` and `-`, not starting with `.`",
        name.escape_default()
    );
    Err(Error::new(Kind::Invalid, text))
}

/// Whether `manifest` has room for a snapshot of that name.
pub(crate) fn check_new(manifest: &Manifest, name: &str) -> Result<(), Error> {
    if manifest.snapshots.iter().any(|snapshot| snapshot.name == name) {
        return Err(Error::new(Kind::Invalid, format!("the disk has a snapshot {name} already")));
    }
    if manifest.snapshots.len() >= MAX_SNAPSHOTS {
        let text = format!("the disk has {MAX_SNAPSHOTS} snapshots, and no more are possible: remove some");
        return Err(Error::new(Kind::Invalid, text));
    }
    Ok(())
}

/// The snapshot of that name.
pub(crate) fn find<'a>(manifest: &'a Manifest, name: &str) -> Result<&'a SnapshotEntry, Error> {
    let found = manifest.snapshots.iter().find(|snapshot| snapshot.name == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = manifest.snapshots.iter().map(|snapshot| snapshot.name.as_str()).take(16).collect();
        let there = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
        Error::new(Kind::Invalid, format!("the disk has no snapshot `{}`: {there}", name.escape_default()))
    })
}

/// A read-only picture of `manifest` as it was at a snapshot: no log, and only the snapshots that are older.
pub(crate) fn as_of(manifest: &Manifest, name: &str) -> Result<Manifest, Error> {
    let snapshot = find(manifest, name)?;
    let older = manifest.snapshots.iter().take_while(|other| other.id != snapshot.id);
    Ok(Manifest {
        blocks: snapshot.blocks,
        root: Some(snapshot.root),
        sealed: Vec::new(),
        open: None,
        snapshots: older.cloned().collect(),
        ..manifest.clone()
    })
}
