//! Opening a disk or a snapshot: everything that can be wrong with it is said here, with what to do about it.

use std::{path::Path, sync::Arc, sync::atomic::AtomicBool};

use nbdgate_api::{BlockSizes, Capabilities, Error, Home, Info, Kind};
use nbdgate_io::{gate::Gate, pool::Pool, shared_sync::SharedSync};

use crate::{
    CreateOptions, OpenOptions, Wanted,
    admin::find_snapshot,
    create::create,
    database::{Database, Family, Mode},
    disk::Core,
    flushed::{self, Flushed},
    layout::Layout,
    levels::Counters,
    lock::{Hold, Lock},
    meta::Meta,
    presence::{self, PAGE_EXTENTS, Presence},
    queue::Queue,
    recovery,
    room::Room,
};

/// Reads longer than this in bytes are cut, so that their pieces run side by side.
const READ_PIECE: u32 = 256 << 10;

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Core, Error> {
    let layout = Layout::new(path);
    ensure(&layout, options)?;
    let read_only = options.read_only || options.snapshot.is_some();
    let hold = if read_only { Hold::Read } else { Hold::Write };
    let (lock, directory, name, flushed) = match &options.snapshot {
        None => (Lock::take(&layout, hold)?, layout.database(), layout.name(), flushed::recorded(&layout)?),
        Some(snapshot) => {
            let name = format!("{}, snapshot {snapshot},", layout.name());
            let directory = find_snapshot(&layout, snapshot)?;
            (Lock::take_snapshot(&layout, snapshot, hold)?, directory, name, 0)
        }
    };
    let meta = recovery::inspect(&directory, &name, flushed, &options.shared)?;
    if let Some(asked) = &options.create {
        check_like(&meta, asked, &name)?;
    }
    let mode = if read_only { Mode::Read } else { Mode::Write };
    let database = Database::open(&directory, &name, mode, meta.shape(), &options.shared)?.holding(lock);
    let presence = load(&database, &meta)?;
    Ok(Core {
        database: Arc::new(database),
        info: info(&meta, read_only),
        extent: meta.extent.into(),
        presence,
        pool: Pool::new("rocksdb"),
        syncs: Pool::new("rocksdb-sync"),
        queue: Queue::default(),
        sync: SharedSync::new(),
        counters: Counters::default(),
        flushed: if read_only { None } else { Some(Flushed::open(&layout)?) },
        room: if read_only { None } else { Some(Room::of(&directory)?) },
        gate: Gate::default(),
        closed: AtomicBool::new(false),
        name,
    })
}

/// Makes the disk if that is asked for and it is missing.
fn ensure(layout: &Layout, options: &OpenOptions) -> Result<(), Error> {
    let Some(asked) = &options.create else { return layout.require() };
    if options.read_only || options.snapshot.is_some() {
        let text = format!("cannot make {} read-only: create it writable first", layout.name());
        return Err(Error::new(Kind::Invalid, text));
    }
    if layout.is_disk()? {
        return Ok(());
    }
    create(layout.root(), &asked.new_disk()).map(drop)
}

/// # Errors
/// The disk that is there is another than what was asked for.
fn check_like(meta: &Meta, asked: &Wanted, name: &str) -> Result<(), Error> {
    let there = CreateOptions { size: meta.size, extent: meta.extent, compression: meta.compression };
    if asked.is_met_by(&there) {
        return Ok(());
    }
    let text = |options: &CreateOptions| {
        format!("{} bytes in extents of {} with compression {}", options.size, options.extent, options.compression)
    };
    let text = format!(
        "{name} exists with {}, not {}: open it as it is, or choose another path",
        text(&there),
        text(&asked.new_disk())
    );
    Err(Error::new(Kind::Invalid, text))
}

/// Which extents there are, out of the bits family.
pub(crate) fn load(database: &Database, meta: &Meta) -> Result<Presence, Error> {
    let presence = Presence::new(meta.size.div_ceil(meta.extent.into()));
    let damaged =
        || Error::new(Kind::Io, format!("{} is damaged: its presence bitmap makes no sense", database.name()));
    database.each(Family::Bits, |key, value| {
        let number = u64::from(u32::from_be_bytes(key.try_into().map_err(|_| damaged())?));
        let page = presence::decode(value).ok_or_else(damaged)?;
        let first = number * PAGE_EXTENTS;
        let last = page
            .iter()
            .rposition(|word| *word != 0)
            .map(|word| first + word as u64 * 64 + u64::from(page[word].ilog2()));
        if last.is_some_and(|last| last >= presence.extents()) {
            return Err(damaged());
        }
        if last.is_some() {
            presence.store(number, &page);
        }
        Ok(())
    })?;
    Ok(presence)
}

fn info(meta: &Meta, read_only: bool) -> Info {
    let changes = !read_only;
    let capabilities = Capabilities {
        fua: changes,
        trim: changes,
        write_zeroes: changes,
        fast_zero: changes,
        cache: true,
        extents: true,
    };
    Info {
        size: meta.size,
        block: BlockSizes { minimum: 1, preferred: meta.extent, ..BlockSizes::default() },
        read_only,
        rotational: false,
        capabilities,
        read_piece: READ_PIECE,
        home: Home::Spread,
    }
}
