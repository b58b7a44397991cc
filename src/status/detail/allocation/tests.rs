//! Maps of disks whose allocation is known, and of backends that fail or hang.

use nbdgate_api::{BlockSizes, Capabilities, Home, Info, Kind, wait};
use nbdgate_layers::{Action, Fault, Rule};
use nbdgate_memory::Memory;
use tokio::runtime;

use super::*;
use crate::scheduler::permits::Budget;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

fn export(backend: Arc<dyn Backend>) -> Arc<Export> {
    Arc::new(Export::new("vm".parse().expect("a name"), String::new(), backend, false, Budget::new(256 << 20)))
}

fn map(export: &Arc<Export>) -> Option<Allocation> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(walk(Arc::downgrade(export)))
}

#[test]
fn cells_show_where_data_lies() {
    let disk: Arc<dyn Backend> = Arc::new(Memory::new(GIB).expect("a disk"));
    for offset in [0, 512 * MIB, 512 * MIB + MIB / 2, GIB - MIB] {
        wait::write(disk.as_ref(), offset, vec![7; 1 << 19]).expect("written");
    }
    let map = map(&export(disk)).expect("a map");
    assert_eq!((map.cell_bytes, map.cells.len(), map.estimated), (MIB, 1024, false));
    assert_eq!(map.allocated_bytes, 2 * MIB);
    let filled: Vec<_> = map.cells.iter().enumerate().filter(|(_, part)| **part > 0.0).collect();
    assert_eq!(filled, [(0, &0.5), (512, &1.0), (1023, &0.5)]);
}

#[test]
fn a_small_disk_has_few_cells_and_the_last_may_be_short() {
    let disk: Arc<dyn Backend> = Arc::new(Memory::new(3 * 4096 + 512).expect("a disk"));
    wait::write(disk.as_ref(), 3 * 4096, vec![7; 512]).expect("written");
    let map = map(&export(disk)).expect("a map");
    assert_eq!((map.cell_bytes, map.cells.len()), (4096, 4));
    assert!(map.cells[3] > 0.99, "{map:?}");
}

#[test]
fn a_backend_that_fails_has_no_map() {
    let fault = Arc::new(Fault::new(Arc::new(Memory::new(GIB).expect("a disk")), 1));
    fault.add(Rule::new(Action::Fail(Kind::Io), |op| matches!(op, Op::BlockStatus { .. })));
    let backend: Arc<dyn Backend> = fault;
    assert_eq!(map(&export(backend)), None);
}

/// A disk of 16 TiB of which every other block is data; tells so many extents at a time as the object log does.
#[derive(Debug)]
struct Fragmented {
    info: Info,
    asked: Mutex<u64>,
}

impl Fragmented {
    fn new() -> Self {
        let info = Info {
            size: 16 << 40,
            block: BlockSizes::default(),
            read_only: false,
            rotational: false,
            capabilities: Capabilities::NONE,
            read_piece: 1 << 20,
            home: Home::Spread,
        };
        Self { info, asked: Mutex::new(0) }
    }
}

impl Backend for Fragmented {
    fn info(&self) -> &Info {
        &self.info
    }

    fn submit(&self, io: Io) {
        *self.asked.lock() += 1;
        let Op::BlockStatus { range, .. } = io.op else { panic!("nothing else is asked") };
        let extents = (range.offset() / 4096..range.end() / 4096).take(4096).map(|block| Extent {
            range: ByteRange::between(block * 4096, (block + 1) * 4096),
            kind: if block % 2 == 0 { ExtentKind::Data } else { ExtentKind::Hole },
        });
        io.reply.extents(extents.collect());
        io.reply.end(Ok(()));
    }

    fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

#[test]
fn a_huge_fragmented_disk_costs_no_more_requests_than_allowed() {
    let disk = Arc::new(Fragmented::new());
    let backend: Arc<dyn Backend> = disk.clone();
    let map = map(&export(backend)).expect("a map");
    assert_eq!((map.cells.len(), map.estimated, *disk.asked.lock()), (1024, true, CELL_REQUESTS * MAX_CELLS));
    assert!(map.cells.iter().all(|part| (part - 0.5).abs() < 0.001), "{map:?}");
    assert_eq!(map.allocated_bytes, 8 << 40);
}

#[test]
fn a_walk_that_hangs_keeps_no_export() {
    let fault = Arc::new(Fault::new(Arc::new(Memory::new(GIB).expect("a disk")), 1));
    fault.add(Rule::new(Action::Hold, |op| matches!(op, Op::BlockStatus { .. })));
    let backend: Arc<dyn Backend> = fault.clone();
    let export = export(backend);
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let walking = runtime.spawn(walk(Arc::downgrade(&export)));
    let deadline = Instant::now() + Duration::from_mins(1);
    while fault.held().is_empty() {
        assert!(Instant::now() < deadline, "nothing was asked");
        std::thread::yield_now();
    }
    assert_eq!(Arc::strong_count(&export), 1, "the walk does not keep the export");
    drop(export);
    fault.release_all();
    let ended = runtime.block_on(async { time::timeout(Duration::from_mins(1), walking).await });
    ended.expect("it ends").expect("no panic");
}
