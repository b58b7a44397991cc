//! Opening disks of the object log, and what they share: the read cache, and the memory of the process.

use std::sync::Arc;

use anyhow::Context;
use nbdgate_api::Backend;
use nbdgate_s3::{Cache, CacheOptions, JournalOptions, Location, Memory, OpenOptions, Tuning};

use crate::{
    config::{Config, ExportConfig, ExportUri},
    metrics::{Metrics, ObjectMetrics},
    status::Status,
};

/// What all disks of the object log share.
#[derive(Clone, Debug)]
pub(super) struct Disks {
    cache: Option<Arc<Cache>>,
    memory: Arc<Memory>,
    status: Arc<Status>,
}

impl Disks {
    /// Opens the read cache, if there is one and an export that uses it.
    pub(super) fn new(config: &Config, metrics: &Metrics, status: &Arc<Status>) -> anyhow::Result<Self> {
        let used = config.exports.iter().any(|export| matches!(export.uri, ExportUri::Object(_)));
        let cache = config.object.cache.as_ref().filter(|_| used);
        let cache = cache.map(|cache| {
            let options = CacheOptions { path: cache.path.clone(), size: cache.size };
            Cache::open(&options).with_context(|| format!("cannot open the read cache {}", cache.path.display()))
        });
        let cache = cache.transpose()?;
        if let Some(cache) = &cache {
            metrics.watch_cache(cache);
        }
        let memory = Memory::new(config.object.memory);
        if used {
            metrics.watch_memory(&memory);
        }
        Ok(Self { cache, memory, status: Arc::clone(status) })
    }

    /// Opens the disk of an export.
    pub(super) async fn open(&self, url: &str, export: &ExportConfig) -> anyhow::Result<Arc<dyn Backend>> {
        let location: Location = url.parse()?;
        let asked = &export.object;
        let journal = asked.journal.as_ref();
        let options = OpenOptions {
            read_only: export.read_only,
            on_unclean: asked.on_unclean.into(),
            steal: asked.steal,
            fencing: asked.fencing.into(),
            snapshot: export.snapshot.clone(),
            journal: journal.map(|journal| JournalOptions { path: journal.path.clone(), size: journal.size }),
            abandon_journal: asked.abandon_journal,
            rpo: asked.rpo,
            key: asked.key.clone().map(Into::into),
            cache: self.cache.clone(),
            memory: Some(Arc::clone(&self.memory)),
            tuning: tuning(export),
            observer: Arc::new(ObjectMetrics::new(export.name.as_str())),
            ..OpenOptions::default()
        };
        let disk = Arc::new(nbdgate_s3::open(&location, options).await?);
        self.status.watch_object_disk(export.name.as_str(), &disk);
        Ok(disk)
    }
}

fn tuning(export: &ExportConfig) -> Tuning {
    let mut tuning = Tuning::default();
    let asked = &export.object;
    tuning.upload_delay = asked.upload_delay.unwrap_or(tuning.upload_delay);
    tuning.dirty_budget = asked.dirty_memory.unwrap_or(tuning.dirty_budget);
    tuning.reads.readahead = asked.read_ahead.unwrap_or(tuning.reads.readahead);
    tuning.scrub = asked.scrub.unwrap_or(tuning.scrub);
    tuning
}
