//! Round trips of opening, flushing, a takeover, a snapshot and a clone: in a store each of whose requests takes one
//! second of virtual time, seconds count what must be waited for one after the other, however much is asked at once.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use nbdgate_api::{Backend, Error as Refusal, Io, Op, Piece, Reply, Sink};
use nbdgate_s3::{CreateOptions, Disk, Location, OnUnclean, OpenOptions, Tuning};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::{Instant, sleep},
};

/// What a request takes.
const TRIP: Duration = Duration::from_secs(1);

/// Segments that a crashed gateway leaves behind its last checkpoint.
const SEGMENTS: u64 = 100;

/// Tells how a request ended.
struct Listener(UnboundedSender<std::result::Result<(), Refusal>>);

impl Sink for Listener {
    fn piece(&self, _tag: u64, _piece: Piece) {}

    fn end(&self, _tag: u64, outcome: std::result::Result<(), Refusal>) {
        // Whoever asked may have given up.
        let _ = self.0.send(outcome);
    }
}

async fn ask(disk: &Disk, op: Op) -> anyhow::Result<()> {
    let (tell, mut told) = unbounded_channel();
    disk.submit(Io { op, reply: Reply::new(Arc::new(Listener(tell)), 0) });
    let outcome = told.recv().await;
    Ok(outcome.ok_or_else(|| anyhow::anyhow!("a request was dropped"))??)
}

/// Round trips since then.
fn trips(begin: Instant) -> u64 {
    begin.elapsed().as_secs()
}

pub(crate) fn run() -> anyhow::Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    runtime.block_on(count())
}

async fn count() -> anyhow::Result<Value> {
    let store: Arc<dyn ObjectStore> = Arc::new(Far::default());
    let location = Location::in_store(Arc::clone(&store), "root", "disk");
    let create = CreateOptions { size: 1 << 30, lease: Duration::ZERO, ..CreateOptions::default() };
    nbdgate_s3::create(&location, &create).await?;
    let options = |host: &str| OpenOptions {
        host: Some(host.to_owned()),
        steal: true,
        on_unclean: OnUnclean::Serve,
        tuning: Tuning { attempt_timeout: 60 * TRIP, open_deadline: 600 * TRIP, ..Tuning::default() },
        ..OpenOptions::default()
    };
    let open = async |host: &str| nbdgate_s3::open(&location, options(host)).await;
    let begin = Instant::now();
    let disk = open("first").await?;
    let opening = trips(begin);
    let begin = Instant::now();
    for number in 0..SEGMENTS {
        ask(&disk, Op::Write { offset: number << 16, payload: vec![1; 4096].into(), fua: false }).await?;
        ask(&disk, Op::Flush).await?;
    }
    let flush = trips(begin) / SEGMENTS;
    let begin = Instant::now();
    let successor = open("second").await?;
    let takeover = trips(begin);
    let begin = Instant::now();
    successor.shutdown().await?;
    let closing = trips(begin);
    drop(disk);
    let disk = open("third").await?;
    ask(&disk, Op::Write { offset: 0, payload: vec![2; 4096].into(), fua: false }).await?;
    ask(&disk, Op::Flush).await?;
    let begin = Instant::now();
    disk.snapshot("snapshot").await?;
    let snapshot = trips(begin);
    let copy = Location::in_store(store, "root", "copy");
    let begin = Instant::now();
    nbdgate_s3::admin::clone(&location, "snapshot", &copy, &options("third")).await?;
    let clone = trips(begin);
    Ok(json!({
        "open": opening,
        "flush": flush,
        "takeover": takeover,
        "close": closing,
        "snapshot": snapshot,
        "clone": clone,
    }))
}

/// A store a second away.
#[derive(Debug, Default)]
struct Far(InMemory);

impl fmt::Display for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("far")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Far {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        sleep(TRIP).await;
        self.0.put_opts(location, payload, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        sleep(TRIP).await;
        self.0.get_opts(location, options).await
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.0.list(prefix);
        stream::once(sleep(TRIP)).flat_map(|()| stream::empty()).chain(listed).boxed()
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotImplemented { operation: "multipart".into(), implementer: "far".into() })
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(Error::NotImplemented { operation: "list with delimiter".into(), implementer: "far".into() })
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "copy".into(), implementer: "far".into() })
    }
}
