//! Making, listing and describing disks; in the modules below, everything else that is done to a disk that nobody serves.

mod clone;
mod diff;
mod remove;
mod resize;
mod rollback;
mod snapshots;

mod keys;

mod probing;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use nbdgate_api::{Error, Kind};
use uuid::Uuid;

pub use self::keys::{rekey, rotate};
use crate::{
    CreateOptions, Location, MAX_SIZE, NoObserver, Root, Tuning,
    directory::{self, Found},
    format::{
        BLOCK_SIZE, Descriptor, Epoch, Manifest, Nonce, ObjectName, Sealing, VolumeId, Writer,
        manifest::{FlushMode, Options, Outline, Owner, State, WrappedKey},
        names,
        seal::DataKeys,
    },
    keys::{KeySource, unlock::unlock, wrap},
    observer::Cause,
    ownership::{
        chain::{self, Chain, Outlined},
        host::host_name,
    },
    probe::{Capability, Probing},
    store::{Patience, Placed, Store, connect},
};

pub use self::{
    clone::clone,
    diff::{Diff, diff},
    probing::probe,
    remove::{Removed, remove},
    resize::{Shrink, resize},
    rollback::{RolledBack, rollback},
    snapshots::{remove_snapshot, snapshot, snapshots},
};
pub use crate::gc::offline::{GcReport, gc};

/// What is known of a disk without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskInfo {
    /// Its name.
    pub name: String,
    /// Its id; empty if even that is damaged.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// When it was made, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Whether somebody serves it.
    pub state: DiskState,
    /// Claims so far; each gateway that opened it counts.
    pub epoch: u32,
    /// Its newest checkpoint, 0 if it has none, or if it is encrypted: that is not told without the key.
    pub checkpoint: u32,
    /// Whether its objects are sealed.
    pub encrypted: bool,
    /// What FLUSH waits for; none if it is encrypted: that is not told without the key.
    pub flush: Option<FlushMode>,
}

/// Whether somebody serves a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskState {
    /// Closed cleanly.
    Closed,
    /// Open, or not closed cleanly.
    Open {
        /// By whom.
        host: String,
        /// Since when, in milliseconds since 1970, by the store's clock.
        since_unix_ms: u64,
    },
    /// Deleted; its objects may still be there.
    Deleted,
    /// Its objects cannot be read; the text names them. Only `list` says this, `info` fails.
    Damaged(String),
}

/// The longest text that names the root of a log.
const MAX_LOG_ROOT: usize = 1024;

/// Makes a disk of zeros.
///
/// # Errors
/// The name is taken, the size is not possible, or the store cannot hold a disk; the text says what to do.
pub async fn create(location: &Location, options: &CreateOptions) -> Result<DiskInfo, Error> {
    check(options)?;
    connect::prepare(location.root())?;
    let log_root = options.log_root.as_ref().filter(|log| !log.is(location.root()));
    log_root.map_or(Ok(()), connect::prepare)?;
    let tuning = Tuning::default();
    let store = Store::of(location, &tuning, Arc::new(NoObserver))?;
    let patience = Patience::asking(tuning.open_deadline);
    let name = location.volume_name().clone();
    let taken = || Error::new(Kind::Invalid, format!("there is a disk {location} already"));
    let key = name.key("");
    match store.get(Cause::Directory, &key, None, patience).await {
        Ok(_) => return Err(taken()),
        Err(crate::store::StoreError::NotFound(_)) => {}
        Err(error) => return Err(error.tell(&format!("looking for {location}"))),
    }
    // Before anything is written: the key may not be there.
    let keys = new_keys(&store, options.key.as_ref()).await?;
    let volume = VolumeId(Uuid::from_u64_pair(store.random(), store.random()));
    let log_root = log_root.map(Root::recorded);
    if let Some(log_root) = &log_root {
        store.route_log(std::iter::once(volume), log_root)?;
    }
    let probing = Probing { store: &store, volume, rounds: tuning.probe, patience };
    if probing.probe().await?.capability == Capability::Advisory {
        tracing::warn!(%location, "the store ignores put-if-absent: it does not keep two gateways apart");
    }
    let descriptor = Descriptor { name, created_ms: unix_ms(), parent: None, sealed: !keys.is_empty() };
    found(&store, volume, &descriptor, (options, keys, log_root), patience).await?;
    // The name makes the disk: before it nobody can know the volume.
    let name_object = names::encode_name_object(volume).into_bytes();
    match store.place(Cause::Directory, &key, &name_object.into(), patience).await {
        Ok(Placed::Mine) => {}
        Ok(Placed::Other(_)) => return Err(taken()),
        Err(error) => return Err(error.tell(&format!("creating {location}"))),
    }
    describe(&store, Found { volume, descriptor }, patience).await
}

/// The first data key of a new disk, wrapped; none for a disk in clear.
async fn new_keys(store: &Store, source: Option<&KeySource>) -> Result<Vec<WrappedKey>, Error> {
    let Some(source) = source else { return Ok(Vec::new()) };
    let keys = DataKeys::generate();
    let wrapped = wrap(source, &keys).await?;
    store.unlock(Sealing::with(keys));
    Ok(wrapped)
}

/// Writes descriptor and first manifest of a volume that has no name yet.
async fn found(
    store: &Store,
    volume: VolumeId,
    descriptor: &Descriptor,
    (options, keys, log_root): (&CreateOptions, Vec<WrappedKey>, Option<String>),
    patience: Patience,
) -> Result<(), Error> {
    let key = ObjectName::Descriptor.key("", volume);
    let object = descriptor.encode(volume);
    let tried = || format!("creating {}", store.name_of(&key));
    match store.place(Cause::Directory, &key, &object.into(), patience).await.map_err(|error| error.tell(&tried()))? {
        Placed::Mine => {}
        Placed::Other(_) => return Err(Error::new(Kind::Io, format!("{}: it is there already", tried()))),
    }
    let first = Manifest {
        prev: [0; 32],
        state: State::Closed,
        owner: Owner {
            writer: Writer { epoch: Epoch(0), nonce: Nonce(store.random()) },
            host: host_name(None),
            journal: None,
            journal_dirty: false,
        },
        blocks: options.size / BLOCK_SIZE as u64,
        root: None,
        sealed: Vec::new(),
        open: None,
        window: Tuning::default().window,
        snapshots: Vec::new(),
        lineage: Vec::new(),
        keys,
        options: Options {
            frame_max: options.frame_max,
            codec: options.codec,
            segment_size: options.segment_target,
            flush: options.flush,
            lease_seconds: u32::try_from(options.lease.as_secs()).unwrap_or(u32::MAX),
        },
        log_root,
        copied: Vec::new(),
    };
    chain::found(store, volume, &first, patience).await
}

/// All disks of a root, by name.
///
/// # Errors
/// The store cannot be asked. A disk whose objects are damaged is listed as such.
pub async fn list(root: &Root) -> Result<Vec<DiskInfo>, Error> {
    let tuning = Tuning::default();
    let store = Store::new(root, &tuning, Arc::new(NoObserver))?;
    let patience = Patience::asking(tuning.open_deadline);
    let listed = store.list(Cause::Directory, directory::NAMES, None, usize::MAX, patience).await;
    let listed = listed.map_err(|error| error.tell(&format!("listing the disks of {root}")))?;
    let mut disks = Vec::with_capacity(listed.len());
    for object in listed {
        let Some(name) = object.key.strip_prefix("volumes/") else { continue };
        let Ok(location) = root.disk(name) else { continue };
        let found = async { describe(&store, directory::find(&store, &location, patience).await?, patience).await };
        disks.push(found.await.unwrap_or_else(|error| DiskInfo {
            name: name.to_owned(),
            id: String::new(),
            size: 0,
            created_unix_ms: 0,
            state: DiskState::Damaged(error.chain()),
            epoch: 0,
            checkpoint: 0,
            encrypted: false,
            flush: None,
        }));
    }
    Ok(disks)
}

/// One disk.
///
/// # Errors
/// There is no such disk, or it cannot be read.
pub async fn info(location: &Location) -> Result<DiskInfo, Error> {
    let tuning = Tuning::default();
    let store = Store::of(location, &tuning, Arc::new(NoObserver))?;
    let patience = Patience::asking(tuning.open_deadline);
    let found = directory::find(&store, location, patience).await?;
    describe(&store, found, patience).await
}

/// One disk that is encrypted, with what only its key tells.
///
/// # Errors
/// There is no such disk, it is not encrypted, this is not its key, or it cannot be read.
pub async fn info_with_key(location: &Location, key: &KeySource) -> Result<DiskInfo, Error> {
    let tuning = Tuning::default();
    let store = Store::of(location, &tuning, Arc::new(NoObserver))?;
    let patience = Patience::asking(tuning.open_deadline);
    let found = directory::find(&store, location, patience).await?;
    unlock(&store, &found, Some(key), location, patience).await?;
    describe(&store, found, patience).await
}

async fn describe(store: &Arc<Store>, found: Found, patience: Patience) -> Result<DiskInfo, Error> {
    let Found { volume, descriptor } = found;
    let (outline, unix_ms, checkpoint, flush) = if descriptor.sealed && !store.sealing().is_sealed() {
        let Outlined { outline, unix_ms } = chain::newest_outline(store, volume, patience).await?;
        (outline, unix_ms, 0, None)
    } else {
        let Chain { manifest, unix_ms, .. } = Chain::newest(store, volume, patience).await?;
        let (checkpoint, flush) = (manifest.root.map_or(0, |root| root.checkpoint.0), manifest.options.flush);
        (Outline::from(manifest), unix_ms, checkpoint, Some(flush))
    };
    Ok(DiskInfo {
        name: descriptor.name.as_str().to_owned(),
        id: volume.to_string(),
        size: outline.blocks * BLOCK_SIZE as u64,
        created_unix_ms: descriptor.created_ms,
        state: match outline.state {
            State::Closed => DiskState::Closed,
            State::Deleted => DiskState::Deleted,
            State::Open | State::Claim => DiskState::Open { host: outline.owner.host, since_unix_ms: unix_ms },
        },
        epoch: outline.owner.writer.epoch.0,
        checkpoint,
        encrypted: descriptor.sealed,
        flush,
    })
}

fn check(options: &CreateOptions) -> Result<(), Error> {
    let CreateOptions { size, frame_max, segment_target, .. } = *options;
    let refuse = |text: String| Err(Error::new(Kind::Invalid, text));
    if size == 0 || size > MAX_SIZE || !size.is_multiple_of(BLOCK_SIZE as u64) {
        return refuse(format!("a disk cannot have {size} bytes: it needs a multiple of 4096, up to 256 TiB"));
    }
    if !frame_max.is_power_of_two() || !(4 << 10..=256 << 10).contains(&frame_max) {
        return refuse(format!("a frame cannot have {frame_max} bytes: a power of two from 4 KiB to 256 KiB"));
    }
    if !(64 << 10..=64 << 20).contains(&segment_target) {
        return refuse(format!("a segment cannot have {segment_target} bytes: 64 KiB to 64 MiB"));
    }
    if options.log_root.as_ref().is_some_and(|root| root.recorded().len() > MAX_LOG_ROOT) {
        return refuse(format!("the root for the log is longer than {MAX_LOG_ROOT} bytes"));
    }
    Ok(())
}

pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
