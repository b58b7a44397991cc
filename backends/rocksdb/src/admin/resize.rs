//! Giving a disk another size.

use std::path::Path;

use nbdgate_api::{Error, Kind};
use rocksdb::WriteBatch;

use super::opened::Opened;
use crate::{
    CreateOptions, DiskInfo,
    database::{Family, Tier},
    failure::failed,
    layout::Layout,
    lock::{Hold, Lock},
    presence::{self, PAGE_EXTENTS},
};

/// Whether a disk may become smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shrink {
    /// No: a smaller size is an error.
    #[default]
    Refuse,
    /// Yes: what lies behind the new end is given up. Snapshots keep theirs.
    Allow,
}

/// Gives a disk `size` bytes. New bytes are zeros. Nobody may have it open. The change is whole or not at all, also if it is
/// interrupted.
///
/// # Errors
/// The size is not possible, or smaller without leave; somebody has the disk open, or it is damaged.
pub fn resize(path: &Path, size: u64, shrink: Shrink) -> Result<DiskInfo, Error> {
    let layout = Layout::new(path);
    layout.require()?;
    let lock = Lock::take(&layout, Hold::Write)?;
    let mut opened = Opened::write(&layout)?;
    let before = opened.meta.size;
    let meta = &opened.meta;
    CreateOptions { size, extent: meta.extent, compression: meta.compression }.check()?;
    if size < before && shrink == Shrink::Refuse {
        let name = layout.name();
        let text =
            format!("{name} has {before} bytes: making it smaller loses what lies behind {size}, so ask for that");
        return Err(Error::new(Kind::Invalid, text));
    }
    opened.meta.size = size;
    let mut batch = WriteBatch::default();
    opened.meta.put(&opened.database, &mut batch);
    if size < before {
        cut(&opened, size, &mut batch)?;
    }
    opened.commit(&layout, batch)?;
    if size < before {
        let from = size.div_ceil(u64::from(opened.meta.extent));
        opened.database.drop_tables(from, u64::MAX)?;
        opened.database.compact(from);
    }
    drop((opened, lock));
    tracing::info!(disk = %layout.name(), before, size, "disk resized");
    crate::info(path)
}

/// Forgets everything behind `size`, so that growing again shows zeros.
fn cut(opened: &Opened, size: u64, batch: &mut WriteBatch) -> Result<(), Error> {
    let (database, extent) = (&opened.database, u64::from(opened.meta.extent));
    let (data, bits) = (database.family(Family::Data), database.family(Family::Bits));
    let mut end = size.div_ceil(extent);
    batch.delete_range_cf(data, end.to_be_bytes(), u64::MAX.to_be_bytes());
    let tail = usize::try_from(size % extent).expect("an extent fits in memory");
    if tail > 0 {
        let index = end - 1;
        let read = database.extent(index, Tier::Device);
        let read = read.map_err(|error| failed(format!("cannot read extent {index} of {}", database.name()), error))?;
        if let Some(value) = &read
            && !value.is_empty()
            && value.len() as u64 != extent
        {
            let text = format!("extent {index} of {} is damaged: it has {} bytes", database.name(), value.len());
            return Err(Error::new(Kind::Io, text));
        }
        // Zeros that count as allocated stay that.
        let read = read.filter(|value| !value.is_empty());
        match read.map(|value| value[..tail].iter().any(|&byte| byte != 0).then(|| value[..tail].to_vec())) {
            Some(Some(mut kept)) => {
                kept.resize(opened.meta.extent as usize, 0);
                batch.put_cf(data, index.to_be_bytes(), kept);
            }
            Some(None) => {
                batch.delete_cf(data, index.to_be_bytes());
                end = index;
            }
            None => {}
        }
    }
    let number = end / PAGE_EXTENTS;
    batch.delete_range_cf(bits, presence::key(number), [u8::MAX; 4]);
    let stored = database.get(Family::Bits, &presence::key(number))?;
    if let Some(mut page) = stored.as_deref().and_then(presence::decode) {
        (end..(number + 1) * PAGE_EXTENTS).for_each(|index| presence::set(&mut page, index, false));
        if page.iter().any(|word| *word != 0) {
            batch.put_cf(bits, presence::key(number), presence::encode(&page));
        }
    }
    Ok(())
}
