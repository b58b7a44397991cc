//! What there is of a disk: manifests, roots and logs, by listing.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use nbdgate_api::Error;

use crate::{
    Progress, Tuning,
    checkpoint::{BlobType, PackIndex, RootSummary, root_summary},
    format::{
        BLOCK_SIZE, Descriptor, Epoch, Manifest, ObjectName, PackName, Parent, RootLocator, Seq, Writer,
        manifest::{Options, Owner, State},
        object::HEAD_FETCH,
    },
    inspect::{
        Inspect,
        identity::{Identity, Standing},
        manifests::Member,
    },
    observer::Cause,
    ownership::chain::Chain,
    store::StoreError,
};

/// Objects read at once.
const PARALLEL: usize = 16;

/// A root that was found in a pack.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoundRoot {
    pub(super) locator: RootLocator,
    /// What it says of itself; `None` if it is named by a manifest and cannot be read.
    pub(super) summary: Option<RootSummary>,
}

/// The slots of one writer that hold something.
pub(super) type Slots = BTreeSet<Seq>;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Survey {
    /// The newest manifest that is sound.
    pub(super) manifest: Option<Manifest>,
    pub(super) manifest_no: u64,
    /// The highest number under `m/`, and the hash of what is there.
    pub(super) newest_no: u64,
    pub(super) newest_hash: [u8; 32],
    /// Of this volume, newest first.
    pub(super) roots: Vec<FoundRoot>,
    pub(super) logs: BTreeMap<Writer, Slots>,
    /// Moved segments.
    pub(super) moved: Vec<(Writer, u64)>,
    /// The highest epoch seen anywhere.
    pub(super) epoch: Epoch,
    pub(super) lineage: Vec<Parent>,
    /// Size in blocks, where it is known.
    pub(super) blocks: Option<u64>,
    pub(super) descriptor: Option<Descriptor>,
    pub(super) lost_names: u32,
}

impl Survey {
    pub(super) async fn of(
        inspect: &Inspect,
        identity: &Identity,
        size: Option<u64>,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let descriptor = match &identity.descriptor {
            Standing::Sound(descriptor) => Some(descriptor.clone()),
            Standing::Missing | Standing::Damaged(_) => None,
        };
        let lost_names = u32::from(!matches!(identity.name, Standing::Sound(()))) + u32::from(descriptor.is_none());
        let mut survey = Self {
            manifest: None,
            manifest_no: 0,
            newest_no: 0,
            newest_hash: [0; 32],
            roots: Vec::new(),
            logs: BTreeMap::new(),
            moved: Vec::new(),
            epoch: Epoch(0),
            lineage: Vec::new(),
            blocks: size.map(|size| size / BLOCK_SIZE as u64),
            descriptor,
            lost_names,
        };
        survey.manifests(inspect).await?;
        survey.ancestors(inspect).await?;
        survey.logs(inspect).await?;
        survey.roots(inspect, progress).await?;
        survey.epoch = survey.highest_epoch();
        Ok(survey)
    }

    /// Whether the newest manifest is the newest that there ever was, as far as can be seen.
    pub(super) fn is_current(&self) -> bool {
        let Some(manifest) = &self.manifest else { return false };
        let writer = manifest.owner.writer;
        // Who only claims has written nothing yet.
        let opened = manifest.state == State::Claim && self.logs.contains_key(&writer);
        self.manifest_no == self.newest_no && writer.epoch >= self.epoch && !opened
    }

    async fn manifests(&mut self, inspect: &Inspect) -> Result<(), Error> {
        let listing = inspect.inventory("m").await?;
        for entry in listing.entries.iter().rev() {
            let ObjectName::Manifest(no) = entry.name else { continue };
            let (manifest, hash) = match inspect.manifest(no).await? {
                Member::Sound(manifest, hash) => (Some(manifest), hash),
                Member::Damaged(_, hash) => (None, hash),
                Member::Missing => continue,
            };
            if self.newest_no == 0 {
                (self.newest_no, self.newest_hash) = (no.0, hash);
            }
            if let Some(manifest) = manifest {
                self.manifest_no = no.0;
                self.blocks = self.blocks.max(Some(manifest.blocks));
                self.lineage.clone_from(&manifest.lineage);
                self.manifest = Some(*manifest);
                break;
            }
        }
        Ok(())
    }

    /// What a manifest of this disk says, as far as it is known: without root and logs.
    pub(super) fn template(&self) -> Manifest {
        let known = self.manifest.clone();
        let known = known.unwrap_or_else(|| Manifest {
            prev: [0; 32],
            state: State::Closed,
            owner: Owner { writer: Writer::default(), host: String::new(), journal: None, journal_dirty: false },
            blocks: 0,
            root: None,
            sealed: Vec::new(),
            open: None,
            window: Tuning::default().window,
            snapshots: Vec::new(),
            lineage: self.lineage.clone(),
            keys: Vec::new(),
            options: Options::default(),
            log_root: None,
            copied: Vec::new(),
        });
        Manifest { sealed: Vec::new(), open: None, root: None, blocks: self.blocks.unwrap_or(known.blocks), ..known }
    }

    /// A clone without a manifest: its parent knows the other ancestors.
    async fn ancestors(&mut self, inspect: &Inspect) -> Result<(), Error> {
        let parent = self.descriptor.as_ref().and_then(|descriptor| descriptor.parent);
        let (None, Some(parent)) = (&self.manifest, parent) else { return Ok(()) };
        let theirs = Chain::newest(&inspect.store, parent.volume, inspect.patience.renewed()).await?.manifest;
        self.lineage = std::iter::once(parent).chain(theirs.lineage).collect();
        Ok(())
    }

    async fn logs(&mut self, inspect: &Inspect) -> Result<(), Error> {
        for entry in inspect.inventory("l").await?.entries {
            if let ObjectName::Log { writer, seq } = entry.name {
                self.logs.entry(writer).or_default().insert(seq);
            }
        }
        for entry in inspect.inventory("g").await?.entries {
            if let ObjectName::Moved { writer, number } = entry.name {
                self.moved.push((writer, number));
            }
        }
        Ok(())
    }

    async fn roots(&mut self, inspect: &Inspect, progress: &dyn Progress) -> Result<(), Error> {
        let packs = inspect.inventory("p").await?.entries;
        progress.total(packs.len() as u64 * HEAD_FETCH);
        let names = packs.into_iter().filter_map(|entry| match entry.name {
            ObjectName::Pack { writer, number } => Some(PackName { volume: inspect.volume, writer, number }),
            _ => None,
        });
        let reads = stream::iter(names).map(|name| async move {
            let roots = roots_of(inspect, name).await;
            progress.advance(HEAD_FETCH);
            roots
        });
        self.roots = reads.buffer_unordered(PARALLEL).try_concat().await?;
        self.roots.sort_by_key(|root| std::cmp::Reverse(age(root)));
        Ok(())
    }

    fn highest_epoch(&self) -> Epoch {
        let manifest = self.manifest.iter().map(|manifest| manifest.owner.writer.epoch);
        let logs = self.logs.keys().map(|writer| writer.epoch);
        let moved = self.moved.iter().map(|(writer, _)| writer.epoch);
        let packs = self.roots.iter().map(|root| root.locator.pack.writer.epoch);
        manifest.chain(logs).chain(moved).chain(packs).max().unwrap_or_default()
    }
}

/// Later writers first, then later checkpoints: after a rollback the log position says nothing of age.
pub(super) fn age(root: &FoundRoot) -> (Epoch, u32, u64) {
    (root.locator.pack.writer.epoch, root.locator.checkpoint.0, root.locator.pack.number)
}

/// The roots in a pack; none if it cannot be read.
async fn roots_of(inspect: &Inspect, pack: PackName) -> Result<Vec<FoundRoot>, Error> {
    let key = pack.key("");
    // A pack holds a root behind everything else, so the whole of it is read only where it is small.
    let Some(mut bytes) = get_range(inspect, &key, HEAD_FETCH).await? else { return Ok(Vec::new()) };
    let expected = pack.object().expected(pack.volume);
    if let Ok(prelude) = crate::format::Prelude::parse(&expected, &bytes)
        && prelude.head_len() > bytes.len() as u64
    {
        bytes = get_range(inspect, &key, prelude.head_len()).await?.unwrap_or_default();
    }
    let Ok(index) = PackIndex::parse(pack, &bytes, &inspect.store.sealing()) else { return Ok(Vec::new()) };
    let mut roots = Vec::new();
    for entry in index.entries().iter().filter(|entry| entry.kind == BlobType::Root) {
        let range = index.range(entry);
        let stored = inspect.store.get(Cause::Scrub, &key, Some(range), inspect.patience.renewed()).await;
        let stored = stored.map_err(|error| error.tell(&format!("reading {}", inspect.store.name_of(&key))))?;
        let Ok(summary) = index.decode(entry, &stored).and_then(|raw| root_summary(&raw)) else { continue };
        let locator =
            RootLocator { pack, offset: entry.offset, len: entry.len, crc: entry.crc, checkpoint: summary.checkpoint };
        roots.push(FoundRoot { locator, summary: Some(summary) });
    }
    Ok(roots)
}

async fn get_range(inspect: &Inspect, key: &str, end: u64) -> Result<Option<Bytes>, Error> {
    match inspect.store.get(Cause::Scrub, key, Some(0..end), inspect.patience.renewed()).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.tell(&format!("reading {}", inspect.store.name_of(key)))),
    }
}
