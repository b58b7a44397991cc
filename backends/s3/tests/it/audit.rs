//! Holding a whole bucket against its newest manifest, from the outside: what is named is there and verifies, what is
//! counted is right, and what nothing names is known.

use std::collections::BTreeSet;

use bytes::Bytes;
use nbdgate_s3::{
    checkpoint::{Loaded, Loader},
    format::{
        BlockRange, Kind, Lba, Manifest, ManifestNo, Object, ObjectName, Prelude, RootLocator, Sealing, SegmentIndex,
        VolumeId,
    },
    map::Span,
};
use object_store::{ObjectStoreExt, path::Path};

use crate::sim_store::Bucket;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// Segments and packs that no root lists, fences aside.
    pub(crate) orphans: BTreeSet<String>,
    /// Segments that are listed, alive or dead.
    pub(crate) segments: usize,
    /// Those of them that hold moved data.
    pub(crate) moved: usize,
    /// Blocks of the segments that the map refers to.
    pub(crate) blocks: u64,
    /// Blocks that it refers to.
    pub(crate) live: u64,
    /// Fences in the bucket.
    pub(crate) fences: usize,
    /// Manifests in the bucket.
    pub(crate) manifests: Vec<u64>,
}

/// Audits the only volume of a bucket; `case` names it in a failure. Its disk must be closed.
pub(crate) async fn audit(bucket: &Bucket, case: &str) -> Audit {
    let names = bucket.names().await;
    let volume = names.iter().find_map(|name| name.strip_prefix("root/v/")?.split('/').next()).expect("a volume");
    let volume = VolumeId(volume.parse().expect("a uuid"));
    let prefix = format!("root/v/{volume}/");
    let objects: Vec<ObjectName> =
        names.iter().filter_map(|name| ObjectName::parse(name.strip_prefix(&prefix)?)).collect();
    let number = |name: &ObjectName| if let ObjectName::Manifest(no) = name { Some(no.0) } else { None };
    let mut audit = Audit { manifests: objects.iter().filter_map(number).collect(), ..Audit::default() };
    let newest = ManifestNo(*audit.manifests.last().expect("a manifest"));
    let bytes = get(bucket, volume, ObjectName::Manifest(newest)).await.expect("it was listed");
    let manifest = Manifest::parse_object(volume, newest, &bytes, &Sealing::CLEAR).expect("a sound manifest");
    assert!(manifest.sealed.is_empty() && manifest.open.is_none(), "{case}: the disk is not closed");
    let mut named = BTreeSet::new();
    if let Some(root) = manifest.root {
        let loaded = check_root(bucket, volume, root, case, &mut named).await;
        audit.segments = loaded.segments.len();
        let moved = loaded.segments.iter().filter(|(_, entry)| entry.name.object().to_string().starts_with('g'));
        audit.moved = moved.count();
        audit.live = loaded.segments.live_blocks();
        audit.blocks = loaded.segments.usage().blocks;
    }
    for snapshot in &manifest.snapshots {
        check_root(bucket, volume, snapshot.root, case, &mut named).await;
    }
    for name in objects {
        let data = matches!(name, ObjectName::Log { .. } | ObjectName::Moved { .. } | ObjectName::Pack { .. });
        if !data || named.contains(&name.to_string()) {
            continue;
        }
        if is_fence(bucket, volume, name).await {
            audit.fences += 1;
        } else {
            audit.orphans.insert(name.to_string());
        }
    }
    audit
}

/// Reads all that a root refers to, and adds all that it lists to `named`.
async fn check_root(
    bucket: &Bucket,
    volume: VolumeId,
    root: RootLocator,
    case: &str,
    named: &mut BTreeSet<String>,
) -> Loaded {
    let mut loader = Loader::new(volume, &[], root, Sealing::CLEAR).expect("a root of this volume");
    while !loader.is_done() {
        for fetch in loader.take_fetches() {
            let pack = get(bucket, volume, fetch.pack.object()).await;
            let pack = pack.unwrap_or_else(|| panic!("{case}: the pack {} is missing", fetch.pack.object()));
            let at = |offset: u64| usize::try_from(offset).unwrap().min(pack.len());
            loader.supply(&fetch, &pack.slice(at(fetch.range.start)..at(fetch.range.end))).expect("a sound pack");
        }
    }
    let loaded = loader.finish().expect("a sound checkpoint");
    assert_eq!(loaded.recounts, [], "{case}: live counters are not what the map holds");
    for (_, pack) in loaded.root.packs() {
        named.insert(ObjectName::Pack { writer: pack.writer, number: pack.number }.to_string());
    }
    for (id, entry) in loaded.segments.iter() {
        let name = entry.name.object();
        named.insert(name.to_string());
        if entry.live == 0 {
            continue;
        }
        let bytes = get(bucket, volume, name).await;
        let bytes = bytes.unwrap_or_else(|| panic!("{case}: {name} has live blocks and is missing"));
        let index = SegmentIndex::parse(Object { volume, name }, &bytes, &Sealing::CLEAR).expect("a sound segment");
        let whole = BlockRange::new(Lba(0), loaded.map.blocks());
        for span in loaded.map.lookup(whole) {
            let Span::Run(run) = span else { continue };
            if run.address.segment != id {
                continue;
            }
            for frame in index.locate(run.address.lblk, run.nblocks).expect("the segment holds what the map says") {
                let at = |offset: u64| usize::try_from(offset).unwrap();
                index
                    .decode_frame(&frame, &bytes.slice(at(frame.stored.start)..at(frame.stored.end)))
                    .unwrap_or_else(|error| panic!("{case}: {error}"));
            }
        }
    }
    loaded
}

async fn is_fence(bucket: &Bucket, volume: VolumeId, name: ObjectName) -> bool {
    if !matches!(name, ObjectName::Log { .. }) {
        return false;
    }
    let bytes = get(bucket, volume, name).await.expect("it was listed");
    let prelude = Prelude::parse(&name.expected(volume), &bytes).expect("a sound object");
    prelude.place.kind == Kind::Fence
}

async fn get(bucket: &Bucket, volume: VolumeId, name: ObjectName) -> Option<Bytes> {
    let got = bucket.inner.get(&Path::from(name.key("root", volume))).await.ok()?;
    Some(got.bytes().await.unwrap())
}
