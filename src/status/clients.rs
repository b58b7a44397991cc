//! Who is connected: an entry for each connection in transmission, nothing for its requests.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use serde::Serialize;
use slab::Slab;

use crate::export::ExportName;

/// Most clients that are told of one by one; all are counted.
const MAX_TOLD: usize = 1024;

/// The connections in transmission. Cheap to clone; clones share the list.
#[derive(Clone, Debug, Default)]
pub struct Clients(Arc<Mutex<Slab<Client>>>);

#[derive(Clone, Debug)]
struct Client {
    peer: String,
    export: ExportName,
    style: Style,
    since: f64,
}

/// What replies a client negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// Simple replies.
    Simple,
    /// Structured reply chunks.
    Structured,
    /// Extended headers.
    Extended,
}

/// A place in the list; dropping it takes the client out.
#[derive(Debug)]
#[must_use = "the client is listed until this is dropped"]
pub struct Listed {
    clients: Clients,
    key: usize,
}

/// A client as it is told.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    peer: String,
    export: String,
    style: Style,
    since_unix_seconds: f64,
}

impl Clients {
    /// A client is served from now on. `peer` is what the log calls it; `export` may be a snapshot that is in no list.
    pub fn enter(&self, peer: &str, export: &ExportName, style: Style) -> Listed {
        let client = Client { peer: peer.to_owned(), export: export.clone(), style, since: now_unix_seconds() };
        Listed { clients: self.clone(), key: self.0.lock().insert(client) }
    }

    /// The exports that have any.
    pub(super) fn exports(&self) -> HashSet<ExportName> {
        self.0.lock().iter().map(|(_, client)| client.export.clone()).collect()
    }

    /// Those that came first, in the order of their coming, at most [`MAX_TOLD`]; and how many each export has at the same
    /// time.
    pub(super) fn tell(&self) -> (Vec<Told>, HashMap<ExportName, u64>) {
        let mut all: Vec<Client> = self.0.lock().iter().map(|(_, client)| client.clone()).collect();
        let mut counts = HashMap::new();
        for client in &all {
            *counts.entry(client.export.clone()).or_default() += 1;
        }
        all.sort_by(|one, other| one.since.total_cmp(&other.since));
        all.truncate(MAX_TOLD);
        (all.into_iter().map(Client::told).collect(), counts)
    }
}

impl Client {
    fn told(self) -> Told {
        let Self { peer, export, style, since } = self;
        Told { peer, export: export.to_string(), style, since_unix_seconds: since }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.clients.0.lock().remove(self.key);
    }
}

pub(super) fn now_unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_listed_until_they_leave() {
        let clients = Clients::default();
        let name: ExportName = "vm \"1\"".parse().expect("a name");
        let first = clients.enter("tcp:127.0.0.1:1", &name, Style::Simple);
        let _second = clients.enter("unix:uid=0,pid=1", &name, Style::Extended);
        assert_eq!(clients.tell().1[&name], 2);
        drop(first);
        let (told, _) = clients.tell();
        assert_eq!((told.len(), told[0].peer.as_str()), (1, "unix:uid=0,pid=1"));
        assert_eq!((told[0].export.as_str(), told[0].style), ("vm \"1\"", Style::Extended));
    }

    #[test]
    fn a_crowd_is_counted_and_its_first_are_told() {
        let clients = Clients::default();
        let name: ExportName = "vm".parse().expect("a name");
        let listed = |at| clients.enter(&format!("tcp:{at}"), &name, Style::Structured);
        let crowd: Vec<_> = (0..MAX_TOLD + 9).map(listed).collect();
        let (told, counts) = clients.tell();
        assert_eq!((told.len(), counts[&name]), (MAX_TOLD, crowd.len() as u64));
        assert_eq!(clients.exports(), [name].into());
        drop(crowd);
        let (told, counts) = clients.tell();
        assert_eq!((told.len(), counts.len(), clients.exports().len()), (0, 0, 0));
    }
}
