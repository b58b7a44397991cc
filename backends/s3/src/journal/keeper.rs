//! Opening a journal: what a medium holds, and the superblocks that say so.

use std::sync::Arc;

use nbdgate_api::{Error, Kind};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::{
    MIN_SIZE, Medium, RING_START,
    file::FileMedium,
    medium::io,
    superblock::{self, BLANK, Mark, Start, Superblock},
};
use crate::{
    JournalOptions,
    format::{BLOCK_SIZE, Epoch, FormatErrorKind, VolumeId},
};

/// The smallest ring of any medium.
const MIN_RING: u64 = 64 << 10;

/// What a journal that was opened may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing that the bucket does not have.
    Spent,
    /// Perhaps writes that nothing else has.
    Holding,
}

/// An open journal and its newest superblock, which is stable.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) medium: Arc<dyn Medium>,
    pub(crate) superblock: Superblock,
}

impl Keeper {
    /// Opens the file or device of `options`.
    pub(crate) async fn open(options: &JournalOptions, volume: VolumeId, fresh: Uuid) -> Result<Self, Error> {
        let (options, runtime) = (options.clone(), Handle::current());
        let opening = runtime.clone().spawn_blocking(move || FileMedium::open(&options, runtime));
        let medium =
            opening.await.map_err(|error| Error::new(Kind::Io, "opening the journal").with_source(error))??;
        Self::of(Arc::new(medium), volume, fresh).await
    }

    /// Reads what `medium` holds. An unused one becomes a journal of `volume` with the id `fresh`; whatever else it is, it is
    /// not written to here.
    pub(crate) async fn of(medium: Arc<dyn Medium>, volume: VolumeId, fresh: Uuid) -> Result<Self, Error> {
        let keeper = Self::read(&medium, volume, fresh).await;
        if keeper.is_err() {
            medium.close();
        }
        keeper
    }

    async fn read(medium: &Arc<dyn Medium>, volume: VolumeId, fresh: Uuid) -> Result<Self, Error> {
        let name = medium.name();
        let start = io::read(&**medium, 0..BLANK.min(medium.size())).await;
        let start = start.map_err(|error| Error::from_io(error, format!("reading the journal {name}")))?;
        let found = superblock::read(medium.size(), &start).map_err(|error| {
            let kind = match error.kind() {
                FormatErrorKind::FutureVersion => Kind::NotSupported,
                FormatErrorKind::Corrupt => Kind::Io,
                _ => Kind::Invalid,
            };
            let text = format!("{name} cannot be used as a journal, nothing was written to it");
            Error::new(kind, text).with_source(error)
        })?;
        match found {
            Start::Journal(superblock) if superblock.volume != volume => Err(Error::new(
                Kind::Invalid,
                format!("{name} is the journal of another disk ({}), this one is {volume}", superblock.volume),
            )),
            Start::Journal(superblock) => Ok(Self { medium: Arc::clone(medium), superblock }),
            Start::Blank => Self::format(medium, volume, fresh).await,
        }
    }

    async fn format(medium: &Arc<dyn Medium>, volume: VolumeId, fresh: Uuid) -> Result<Self, Error> {
        let block = BLOCK_SIZE as u64;
        let ring = medium.size().saturating_sub(RING_START) / block * block;
        if ring < MIN_RING {
            let (name, size) = (medium.name(), medium.size());
            let text = format!("the journal {name} is too small: {size} bytes, a file needs {MIN_SIZE}");
            return Err(Error::new(Kind::Invalid, text));
        }
        let superblock = Superblock {
            journal: fresh,
            volume,
            epoch: Epoch(0),
            count: 0,
            generation: 0,
            ring,
            tail: Mark { lsn: 1, position: 0, prev_crc: 0 },
            spent: true,
        };
        let mut keeper = Self { medium: Arc::clone(medium), superblock };
        keeper.store(superblock).await?;
        tracing::info!(journal = %fresh, path = medium.name(), bytes = ring, "journal created");
        Ok(keeper)
    }

    pub(crate) fn standing(&self) -> Standing {
        if self.superblock.spent { Standing::Spent } else { Standing::Holding }
    }

    /// The writer of `epoch` is about to use it; its records begin a generation. Epochs come from the bucket, so a generation
    /// stays unique, as its key must, even if the medium was set back to an earlier state.
    pub(crate) async fn begin(&mut self, epoch: Epoch) -> Result<(), Error> {
        let count = self.superblock.count + 1;
        let generation = (self.superblock.generation + 1).max(u64::from(epoch.0));
        self.store(Superblock { epoch, count, generation, ..self.superblock }).await
    }

    /// From here on it may hold what nothing else has.
    pub(crate) async fn hold(&mut self) -> Result<(), Error> {
        self.store(Superblock { count: self.superblock.count + 1, spent: false, ..self.superblock }).await
    }

    /// Nothing in it is missing in the bucket: the chain begins anew at `tail`.
    pub(crate) async fn spend(&mut self, tail: Mark) -> Result<(), Error> {
        self.store(Superblock { count: self.superblock.count + 1, tail, spent: true, ..self.superblock }).await
    }

    async fn store(&mut self, superblock: Superblock) -> Result<(), Error> {
        let failed =
            |error| Error::from_io(error, format!("writing the superblock of the journal {}", self.medium.name()));
        io::write(&*self.medium, superblock.offset(), superblock.encode()).await.map_err(failed)?;
        io::sync(&*self.medium).await.map_err(failed)?;
        self.superblock = superblock;
        Ok(())
    }
}
