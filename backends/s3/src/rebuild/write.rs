//! Making the rebuilt state the disk.

use nbdgate_api::{Error, Kind};

use super::{replay::Restored, report::RebuildReport, survey::Survey};
use crate::{
    Location, OpenOptions,
    format::{
        Descriptor, Epoch, Fence, Manifest, ManifestNo, Nonce, ObjectName, Seq, Writer,
        manifest::{OpenLog, Owner},
        names,
    },
    inspect::{
        Inspect,
        identity::{Identity, Standing},
    },
    observer::Cause,
    offline::{self, Replacement},
    ownership::{chain::Chain, claim::Claim, fence::OldLog, host::host_name},
    store::{Placed, Store},
};

/// Fences what may still be written, and publishes the state behind whatever manifest stands last. Returns the checkpoint.
///
/// There is no claim before: a claim names logs, and a crash would leave a disk that opens with less. The number of the
/// manifest decides a race, and the fence stops a gateway that lives.
pub(super) async fn publish(
    inspect: &Inspect,
    survey: &Survey,
    state: Restored,
    options: &OpenOptions,
) -> Result<u32, Error> {
    offline::check_store(&inspect.store, inspect.volume, options, inspect.patience.renewed()).await?;
    let epoch = survey.epoch.0.checked_add(1).ok_or_else(|| Error::new(Kind::Io, "there is no epoch left"))?;
    let writer = Writer { epoch: Epoch(epoch), nonce: Nonce(inspect.store.random()) };
    let host = host_name(options.host.as_deref());
    let fence = Fence { by: writer, host: host.clone() };
    for &(log, slot) in &state.fence {
        close(inspect, survey, &fence, log, slot).await?;
    }
    let Restored { committed, root, checkpoint, position, .. } = state;
    let blocks = committed.map.blocks();
    let owner = Owner { writer, host, journal: None, journal_dirty: false };
    let manifest = Manifest { owner, blocks, ..survey.template() };
    let newest = (ManifestNo(survey.newest_no), survey.newest_hash);
    let chain = Chain::behind(&inspect.store, inspect.volume, newest, manifest);
    let mut claim = Claim::of(chain, writer);
    let (map, segments) = committed.into_parts();
    let replacement = Replacement { root, map, segments, checkpoint, position };
    let published = offline::publish(&inspect.store, inspect.volume, &mut claim, replacement, inspect.patience).await?;
    Ok(published.checkpoint.0)
}

/// Ends a log at its first free slot from `slot` on.
async fn close(inspect: &Inspect, survey: &Survey, fence: &Fence, log: Writer, slot: Seq) -> Result<(), Error> {
    let taken = survey.logs.get(&log);
    let mut first = slot;
    while taken.is_some_and(|slots| slots.contains(&first)) {
        if inspect.is_fence(log, first).await? {
            return Ok(());
        }
        first = Seq(first.0 + 1);
    }
    let window = survey.manifest.as_ref().map_or(64, |manifest| manifest.window);
    let old = OldLog {
        store: &inspect.store,
        volume: inspect.volume,
        log: OpenLog { writer: log, first },
        patience: inspect.patience,
    };
    if old.close(fence, window, first).await? > first {
        let text = "the disk was written while it was rebuilt; its gateway is fenced now: rebuild once more";
        return Err(Error::new(Kind::Shutdown, text));
    }
    Ok(())
}

/// Puts name and descriptor back where they are missing. Damaged ones are left: nothing is replaced.
pub(super) async fn restore(
    inspect: &Inspect,
    location: &Location,
    survey: &Survey,
    identity: &Identity,
    report: &mut RebuildReport,
) -> Result<(), Error> {
    let descriptor_key = ObjectName::Descriptor.key("", inspect.volume);
    let name_key = location.volume_name().key("");
    if matches!(identity.descriptor, Standing::Missing) {
        let parent = survey.lineage.first().copied();
        let (name, sealed) = (location.volume_name().clone(), inspect.store.sealing().is_sealed());
        let descriptor = Descriptor { name, created_ms: crate::admin::unix_ms(), parent, sealed };
        place(&inspect.store, &descriptor_key, descriptor.encode(inspect.volume), inspect, report).await?;
    }
    if matches!(identity.name, Standing::Missing) {
        let object = names::encode_name_object(inspect.volume).into_bytes().into();
        place(&inspect.store, &name_key, object, inspect, report).await?;
    }
    let damaged = [
        (descriptor_key, matches!(identity.descriptor, Standing::Damaged(_))),
        (name_key, matches!(identity.name, Standing::Damaged(_))),
    ];
    for (key, _) in damaged.iter().filter(|(_, damaged)| *damaged) {
        report.left.push(format!("{key} is damaged: remove it, and rebuild once more to have it made again"));
    }
    Ok(())
}

async fn place(
    store: &Store,
    key: &str,
    object: bytes::Bytes,
    inspect: &Inspect,
    report: &mut RebuildReport,
) -> Result<(), Error> {
    let placed = store.place(Cause::Directory, key, &object.into(), inspect.patience.renewed()).await;
    match placed.map_err(|error| error.tell(&format!("making {} again", store.name_of(key))))? {
        Placed::Mine => report.restored.push(key.to_owned()),
        Placed::Other(_) => report.left.push(format!("{key} was made by somebody else meanwhile")),
    }
    Ok(())
}
