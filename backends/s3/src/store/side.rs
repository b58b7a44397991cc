//! One bucket of a disk: its client, which can be made anew, and what is known of it.

use std::{fmt, sync::Arc, time::Duration};

use nbdgate_api::Error;
use object_store::{ObjectStore, path::Path};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{connect, health::Health, traffic::Traffic};
use crate::{Root, observer::UploadLevels};

/// Credentials are read again this often at the most.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// See the [module](self).
pub(crate) struct Side {
    root: Root,
    client: Mutex<Client>,
    prefix: Path,
    label: String,
    pub(super) traffic: Arc<Traffic>,
    pub(super) health: Health,
    told: Mutex<UploadLevels>,
}

struct Client {
    store: Arc<dyn ObjectStore>,
    made: Instant,
}

impl Side {
    /// Connects to the bucket of `root`; nothing is sent yet.
    pub(super) fn new(root: &Root) -> Result<Arc<Self>, Error> {
        let traffic = Traffic::of(root);
        Ok(Arc::new(Self {
            client: Mutex::new(Client { store: connect::connect(root, &traffic)?, made: Instant::now() }),
            prefix: root.prefix(),
            label: root.to_string(),
            root: root.clone(),
            traffic,
            health: Health::default(),
            told: Mutex::default(),
        }))
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// The root, for messages; without secrets.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    pub(super) fn client(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.client.lock().store)
    }

    /// Reads the credentials again: the environment may name files that were replaced.
    pub(super) fn renew(&self) {
        {
            let mut client = self.client.lock();
            if !connect::has_credentials(&self.root) || client.made.elapsed() < RENEW_EVERY {
                return;
            }
            client.made = Instant::now();
        }
        match connect::connect(&self.root, &self.traffic) {
            Ok(store) => {
                self.client.lock().store = store;
                tracing::info!(store = self.label, "the credentials were read again");
            }
            Err(error) => {
                tracing::warn!(store = self.label, error = error.chain(), "the credentials could not be read again");
            }
        }
    }

    pub(super) fn path(&self, key: &str) -> Path {
        self.prefix.parts().chain(Path::from(key).parts()).collect()
    }

    /// The key of a listed path; `None` if it is not below the prefix.
    pub(super) fn key(&self, path: &Path) -> Option<String> {
        let mut parts = path.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_owned());
        let first = parts.next()?;
        Some(parts.fold(first, |key, part| key + "/" + &part))
    }

    /// The levels of its uploads, if they have moved since the last call.
    pub(super) fn moved(&self) -> Option<UploadLevels> {
        let levels = self.traffic.levels();
        let mut told = self.told.lock();
        (*told != levels).then(|| {
            *told = levels;
            levels
        })
    }
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Side").field("label", &self.label).finish_non_exhaustive()
    }
}
