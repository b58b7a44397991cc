//! What the benches of the object log (benches/object) measure in one process. Each command prints one line of JSON.
//!
//! `put` and `get` are the raw store, with the same HTTP client as the gateway; `map` is the memory of the map; `fill` and
//! `open` are a large disk; `round-trips` counts what must be waited for one after the other, in virtual time.

mod large;
mod map;
mod raw;
mod round_trips;

use clap::{Parser, Subcommand};
use serde_json::Value;

#[derive(Debug, Parser)]
#[command(name = "nbdgate-object-tool", version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// PUT new objects
    Put(raw::Load),
    /// GET ranges of objects, which are PUT first
    Get(raw::Get),
    /// Fill a map and tell the memory it takes
    Map(map::Map),
    /// Create a disk and write single blocks all over it
    Fill(large::Fill),
    /// Open a disk, perhaps TRIM all of it, and tell how long it took
    Open(large::Open),
    /// Count the store's round trips of opening, of a takeover and of closing
    RoundTrips,
}

fn main() -> anyhow::Result<()> {
    let told: Value = match Args::parse().command {
        Command::Put(load) => load.put()?,
        Command::Get(get) => get.run()?,
        Command::Map(map) => map.run(),
        Command::Fill(fill) => fill.run()?,
        Command::Open(open) => open.run()?,
        Command::RoundTrips => round_trips::run()?,
    };
    println!("{told}");
    Ok(())
}
