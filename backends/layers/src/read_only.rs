//! A backend that cannot be changed.

use std::sync::Arc;

use nbdgate_api::{Backend, Capabilities, Error, Info, Io, Kind};

/// Refuses every mutation with [`Kind::Permission`] and says so in its [`Info`]; the rest passes through.
pub struct ReadOnly {
    inner: Arc<dyn Backend>,
    info: Info,
}

impl ReadOnly {
    /// A read-only view of `inner`.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        let whole = inner.info().clone();
        let capabilities =
            Capabilities { cache: whole.capabilities.cache, extents: whole.capabilities.extents, ..Capabilities::NONE };
        Self { info: Info { read_only: true, capabilities, ..whole }, inner }
    }
}

impl Backend for ReadOnly {
    fn info(&self) -> &Info {
        &self.info
    }

    fn submit(&self, io: Io) {
        if io.op.is_mutation() {
            io.reply.end(Err(Error::new(Kind::Permission, "export is read-only")));
        } else {
            self.inner.submit(io);
        }
    }

    fn bitmaps(&self) -> Vec<Arc<str>> {
        self.inner.bitmaps()
    }

    fn close(&self) -> Result<(), Error> {
        self.inner.close()
    }
}
