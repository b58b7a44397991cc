//! A correct backend, as simple as can be: pages in a map, answers inside `submit`, and a copy of the pages that
//! stands for what is durable.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nbdgate_api::{
    Backend, BlockSizes, ByteRange, Capabilities, Error, Extent, ExtentKind, Home, Info, Io, Kind, Op, Reply,
};
use parking_lot::Mutex;

pub(crate) const PAGE: u64 = 4096;

/// Pages that were written to, by number.
pub(crate) type Pages = BTreeMap<u64, Vec<u8>>;

pub(crate) struct Plain {
    info: Info,
    pages: Mutex<Pages>,
    durable: Arc<Mutex<Pages>>,
    closed: AtomicBool,
}

impl Plain {
    /// A disk that holds what is durable.
    pub(crate) fn new(size: u64, durable: Arc<Mutex<Pages>>) -> Self {
        let info = Info {
            size,
            block: BlockSizes::default(),
            read_only: false,
            rotational: false,
            capabilities: Capabilities::ALL,
            read_piece: 1 << 20,
            home: Home::Spread,
        };
        let pages = Mutex::new(durable.lock().clone());
        Self { info, pages, durable, closed: AtomicBool::new(false) }
    }

    /// The same disk, opened again without being closed.
    pub(crate) fn crashed(&self) -> Self {
        Self::new(self.info.size, self.durable.clone())
    }

    fn serve(&self, op: &Op, reply: &Reply) -> Result<(), Error> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::new(Kind::Shutdown, "plain disk is closed"));
        }
        match op {
            Op::Read(range) => self.read(*range, reply),
            Op::Write { offset, payload, .. } => self.write(*offset, &payload.clone().into_contiguous()),
            Op::Trim { range, .. } => self.zero(*range, false),
            Op::WriteZeroes { range, zeroes, .. } => self.zero(*range, zeroes.no_hole),
            Op::BlockStatus { range, .. } => reply.extents(self.extents(*range)),
            Op::DirtyStatus { .. } => return Err(Error::new(Kind::NotSupported, "a plain disk has no dirty bitmaps")),
            Op::Flush | Op::Cache(_) => {}
        }
        if op.is_durable() {
            self.make_durable();
        }
        Ok(())
    }

    fn read(&self, range: ByteRange, reply: &Reply) {
        for part in range.pieces(PAGE) {
            let page = self.pages.lock().get(&(part.offset() / PAGE)).map(|page| page[within(part)].to_vec());
            match page {
                Some(bytes) => reply.data(part.offset(), bytes.into()),
                None => reply.hole(part),
            }
        }
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        let mut pages = self.pages.lock();
        let mut rest = bytes;
        for part in ByteRange::between(offset, offset + bytes.len() as u64).pieces(PAGE) {
            let page = pages.entry(part.offset() / PAGE).or_insert_with(blank);
            let (head, tail) = rest.split_at(within(part).len());
            page[within(part)].copy_from_slice(head);
            rest = tail;
        }
    }

    fn zero(&self, range: ByteRange, keep: bool) {
        let mut pages = self.pages.lock();
        for part in range.pieces(PAGE) {
            let number = part.offset() / PAGE;
            if keep {
                pages.entry(number).or_insert_with(blank)[within(part)].fill(0);
            } else if part.length() == PAGE {
                pages.remove(&number);
            } else if let Some(page) = pages.get_mut(&number) {
                page[within(part)].fill(0);
            }
        }
    }

    fn extents(&self, range: ByteRange) -> Vec<Extent> {
        let pages = self.pages.lock();
        let mut list = Vec::new();
        for part in range.pieces(PAGE) {
            let held = pages.contains_key(&(part.offset() / PAGE));
            let kind = if held { ExtentKind::Data } else { ExtentKind::Hole };
            Extent { range: part, kind }.push_onto(&mut list);
        }
        list
    }

    fn make_durable(&self) {
        let pages = self.pages.lock().clone();
        *self.durable.lock() = pages;
    }
}

impl Backend for Plain {
    fn info(&self) -> &Info {
        &self.info
    }

    fn submit(&self, io: Io) {
        let outcome = self.serve(&io.op, &io.reply);
        io.reply.end(outcome);
    }

    fn close(&self) -> Result<(), Error> {
        self.closed.store(true, Ordering::SeqCst);
        self.make_durable();
        Ok(())
    }
}

fn within(part: ByteRange) -> std::ops::Range<usize> {
    let start = usize::try_from(part.offset() % PAGE).expect("below a page");
    start..start + usize::try_from(part.length()).expect("at most a page")
}

fn blank() -> Vec<u8> {
    vec![0; usize::try_from(PAGE).expect("a page fits in memory")]
}
