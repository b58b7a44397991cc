//! What a disk in an object store costs: requests and bytes by cause, priced with a list that can be edited.
//!
//! ```text
//!  metrics of a gateway ─┐
//!  described workload ───┼─► Usage (a month) ──► Bill: a line per cause, the storage, the total
//!  replayed trace ───────┘       × Prices
//! ```
//!
//! Pure: nothing here asks a store or a gateway. Money is in the currency of the price list; a month has 30 days and
//! a gigabyte is 2^30 bytes, as the stores count.

mod bill;
mod metered;
mod prices;
mod trace;
mod usage;
mod workload;

pub use self::{
    bill::{Bill, Line},
    metered::{Metered, NoMeter},
    prices::{PriceList, Prices},
    trace::{BadTrace, Trace},
    usage::{Item, Usage},
    workload::{FlushTo, Workload},
};

/// Seconds of a month.
pub const MONTH_SECONDS: f64 = 30.0 * 86_400.0;

/// Bytes of a gigabyte.
pub const GIB: f64 = (1_u64 << 30) as f64;
