//! The raw store: so many requests of one size, so many at once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, aws::AmazonS3Builder, path::Path};
use rand::{RngCore, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

/// A load of equal requests. The endpoint and the keys come from the environment (AWS_*).
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// The bucket.
    #[arg(long, default_value = "bucket")]
    bucket: String,
    /// What the names begin with.
    #[arg(long, default_value = "raw")]
    prefix: String,
    /// Bytes of one request.
    #[arg(long)]
    bytes: u64,
    /// Requests in flight.
    #[arg(long, default_value_t = 1)]
    parallel: usize,
    /// Requests in all.
    #[arg(long)]
    requests: u64,
}

/// Ranged GETs.
#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    load: Load,
    /// Bytes of an object; a multiple of the bytes of a request.
    #[arg(long, default_value_t = 8 << 20)]
    object: u64,
    /// Objects, which are read round and round.
    #[arg(long, default_value_t = 16)]
    objects: u64,
}

/// How long each request took, and all of them.
struct Times {
    each: Vec<Duration>,
    all: Duration,
}

impl Times {
    fn told(mut self, bytes: u64) -> Value {
        self.each.sort_unstable();
        let at = |percent: usize| self.each[(self.each.len() * percent / 100).min(self.each.len() - 1)].as_micros();
        let (seconds, count) = (self.all.as_secs_f64(), self.each.len() as f64);
        json!({
            "seconds": seconds,
            "rate": count / seconds,
            "mib_per_second": count * bytes as f64 / f64::from(1 << 20) / seconds,
            "p50_us": u64::try_from(at(50)).unwrap_or(u64::MAX),
            "p99_us": u64::try_from(at(99)).unwrap_or(u64::MAX),
        })
    }
}

fn noise(bytes: u64) -> anyhow::Result<Bytes> {
    let mut noise = vec![0; usize::try_from(bytes)?];
    StdRng::seed_from_u64(bytes).fill_bytes(&mut noise);
    Ok(noise.into())
}

impl Load {
    fn store(&self) -> anyhow::Result<Arc<dyn ObjectStore>> {
        let builder = AmazonS3Builder::from_env().with_bucket_name(&self.bucket).with_allow_http(true);
        Ok(Arc::new(builder.build().context("the settings for S3 in the environment")?))
    }

    pub(crate) fn put(&self) -> anyhow::Result<Value> {
        let (store, body) = (self.store()?, noise(self.bytes)?);
        let request = async |number: u64| {
            let name = Path::from(format!("{}/{number:08x}", self.prefix));
            store.put_opts(&name, body.clone().into(), PutMode::Create.into()).await.map(|_| ())
        };
        runtime()?.block_on(self.time(request))
    }

    /// Runs the requests, numbered from 0.
    async fn time(&self, request: impl AsyncFn(u64) -> object_store::Result<()>) -> anyhow::Result<Value> {
        let begin = Instant::now();
        let timed = async |number: u64| {
            let begin = Instant::now();
            request(number).await.map(|()| begin.elapsed())
        };
        let each = stream::iter((0..self.requests).map(timed)).buffer_unordered(self.parallel.max(1));
        let each: Vec<Duration> = each.try_collect().await?;
        anyhow::ensure!(!each.is_empty(), "there is nothing to measure in 0 requests");
        Ok(Times { each, all: begin.elapsed() }.told(self.bytes))
    }
}

impl Get {
    pub(crate) fn run(&self) -> anyhow::Result<Value> {
        let bytes = self.load.bytes;
        anyhow::ensure!(bytes > 0 && self.object.is_multiple_of(bytes), "requests must divide objects");
        let (store, body) = (self.load.store()?, noise(self.object)?);
        let name = |number: u64| Path::from(format!("{}/{number:08x}", self.load.prefix));
        let (runtime, parts) = (runtime()?, self.object / bytes);
        runtime.block_on(async {
            for number in 0..self.objects {
                store.put(&name(number), body.clone().into()).await?;
            }
            let request = async |number: u64| {
                let begin = number % parts * bytes;
                store.get_range(&name(number / parts % self.objects), begin..begin + bytes).await.map(|_| ())
            };
            self.load.time(request).await
        })
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}
