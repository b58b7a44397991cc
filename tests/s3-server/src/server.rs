//! The server: a listener on loopback and a thread that serves it.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use tokio::sync::oneshot;

use crate::{
    ACCESS_KEY, BUCKET, Counts, REGION, SECRET_KEY,
    counters::Counters,
    fate::Die,
    objects::Objects,
    service::Service,
    settings::Settings,
    wire::{Line, answer},
};

/// Threads that serve connections.
const WORKERS: usize = 2;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) objects: Objects,
    pub(crate) counters: Counters,
    pub(crate) settings: Mutex<Settings>,
    pub(crate) die: Die,
    pub(crate) up: Line,
    pub(crate) down: Line,
}

impl Shared {
    /// Changes some settings, written as a query.
    pub(crate) fn change(&self, query: &str) -> Result<(), String> {
        let mut settings = self.settings.lock();
        *settings = settings.changed_by(query)?;
        Ok(())
    }
}

/// A running server; it ends when it is dropped, and its objects with it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves on a free port of 127.0.0.1. Faults are drawn from `seed`.
    ///
    /// # Errors
    ///
    /// When the settings make no sense, or there is no port or no thread.
    pub fn start(settings: Settings, seed: u64) -> io::Result<Self> {
        let settings = settings.checked().map_err(|text| io::Error::new(io::ErrorKind::InvalidInput, text))?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            objects: Objects::default(),
            counters: Counters::default(),
            settings: Mutex::new(settings),
            die: Die::new(seed),
            up: Line::default(),
            down: Line::default(),
        });
        shared.objects.make_bucket(BUCKET);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("s3-server".to_owned()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = serve(listener, serving) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how it behaves from now on.
    pub fn set(&self, settings: Settings) {
        *self.shared.settings.lock() = settings;
    }

    /// What was asked of it so far.
    pub fn counts(&self) -> Counts {
        self.shared.counters.read(false)
    }

    /// Every name in [`BUCKET`] with the length of its object, sorted.
    pub fn names(&self) -> Vec<(String, usize)> {
        self.shared.objects.names(BUCKET)
    }

    /// The environment with which a client of S3 finds it and is let in.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT", format!("http://{}", self.address)),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
        ]
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

fn service(shared: &Arc<Shared>) -> S3Service {
    let mut builder = S3ServiceBuilder::new(Service(Arc::clone(shared)));
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    builder.build()
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("the listener does not block");
    let service = service(&shared);
    loop {
        // Too many connections at once: some will end.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        // A connection that is gone already says so when it is served.
        let _ = stream.set_nodelay(true);
        let (shared, service) = (Arc::clone(&shared), service.clone());
        tokio::spawn(async move {
            let respond = service_fn(move |request| answer(Arc::clone(&shared), service.clone(), request));
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new());
            // Ends with an error where a fault asked for it.
            let _ = builder.serve_connection(TokioIo::new(stream), respond).await;
        });
    }
}
