//! What is used in a month: requests and bytes by cause, and bytes stored.

use std::collections::BTreeMap;

/// Requests and bytes of one cause in a month. Fractions are averages.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Item {
    /// PUT and LIST requests: the stores price them alike.
    pub puts: f64,
    /// GET and HEAD requests.
    pub gets: f64,
    /// DELETE requests.
    pub deletes: f64,
    /// Bytes sent to the store.
    pub sent: f64,
    /// Bytes received from it.
    pub received: f64,
}

impl Item {
    /// Adds another to it.
    pub fn add(&mut self, other: &Self) {
        self.puts += other.puts;
        self.gets += other.gets;
        self.deletes += other.deletes;
        self.sent += other.sent;
        self.received += other.received;
    }

    /// So many times as much of everything.
    #[must_use]
    pub fn times(&self, factor: f64) -> Self {
        Self {
            puts: self.puts * factor,
            gets: self.gets * factor,
            deletes: self.deletes * factor,
            sent: self.sent * factor,
            received: self.received * factor,
        }
    }
}

/// A month's use of a store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// By cause, in the words of the metrics' label `cause`.
    pub causes: BTreeMap<String, Item>,
    /// Bytes stored, on average.
    pub stored: f64,
}

impl Usage {
    /// Adds to one cause.
    pub fn add(&mut self, cause: &str, item: &Item) {
        self.causes.entry(cause.to_owned()).or_default().add(item);
    }

    /// Everything together.
    pub fn total(&self) -> Item {
        let mut total = Item::default();
        self.causes.values().for_each(|item| total.add(item));
        total
    }
}
