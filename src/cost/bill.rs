//! Use times prices.

use serde::Serialize;

use super::{GIB, Item, Prices, Usage};

/// One cause on a bill.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// The cause, or `storage`.
    pub cause: String,
    /// PUT and LIST requests in the month.
    pub puts: f64,
    /// GET and HEAD requests in the month.
    pub gets: f64,
    /// DELETE requests in the month.
    pub deletes: f64,
    /// Bytes sent.
    pub sent_bytes: f64,
    /// Bytes received.
    pub received_bytes: f64,
    /// What it costs.
    pub cost: f64,
}

/// A month.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bill {
    /// Whose prices.
    pub prices: Prices,
    /// Bytes stored on average.
    pub stored_bytes: f64,
    /// For storage alone.
    pub storage_cost: f64,
    /// By cause.
    pub lines: Vec<Line>,
    /// Everything.
    pub total_cost: f64,
}

impl Bill {
    /// Prices a month.
    pub fn new(usage: &Usage, prices: &Prices) -> Self {
        let line = |(cause, item): (&String, &Item)| Line {
            cause: cause.clone(),
            puts: item.puts,
            gets: item.gets,
            deletes: item.deletes,
            sent_bytes: item.sent,
            received_bytes: item.received,
            cost: price(item, prices),
        };
        let lines: Vec<Line> = usage.causes.iter().map(line).collect();
        let storage_cost = usage.stored / GIB * prices.storage_gib_month;
        let total_cost = storage_cost + lines.iter().map(|line| line.cost).sum::<f64>();
        Self { prices: prices.clone(), stored_bytes: usage.stored, storage_cost, lines, total_cost }
    }
}

fn price(item: &Item, prices: &Prices) -> f64 {
    item.puts / 1e6 * prices.put_million
        + item.gets / 1e6 * prices.get_million
        + item.deletes / 1e6 * prices.delete_million
        + item.sent / GIB * prices.upload_gib
        + item.received / GIB * prices.download_gib
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::PriceList;

    #[test]
    fn a_bill_is_use_times_prices() {
        let mut usage = Usage { stored: 500.0 * GIB, ..Usage::default() };
        usage.add("segment", &Item { puts: 2e6, sent: 10.0 * GIB, ..Item::default() });
        usage.add("read", &Item { gets: 1e6, received: GIB, ..Item::default() });
        let bill = Bill::new(&usage, PriceList::built_in().get("aws").expect("there"));
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(bill.storage_cost, 11.5) && close(bill.total_cost, 11.5 + 10.0 + 0.4), "{bill:?}");
        let express = Bill::new(&usage, PriceList::built_in().get("aws-express").expect("there"));
        assert!(close(express.lines[1].cost, 2.26 + 0.032), "uploads are priced by the byte: {express:?}");
    }
}
