//! Mutations that overlap reach the backend one after the other.

use std::time::{Duration, Instant};

use nbdgate_layers::{Action, Fault, Record, Rule, Shuffle};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

/// Mutations wait in the fault layer for the test; the recorder above it sees when they come and end.
fn holding() -> (Arc<Scheduler>, Arc<Record>, Arc<Fault>) {
    let fault = Arc::new(Fault::new(memory(), 1));
    fault.add(Rule::new(Action::Hold, Op::is_mutation).always());
    let record = Arc::new(Record::new(fault.clone()));
    (scheduler(record.clone()), record, fault)
}

#[test]
fn overlapping_mutations_wait_and_others_do_not() {
    let (scheduler, record, fault) = holding();
    let ends = Arc::<Ends>::default();
    ends.submit(&scheduler, 1, write(0, 1, 1024));
    ends.submit(&scheduler, 2, write(512, 2, 1024));
    ends.submit(&scheduler, 3, Op::Trim { range: range(1400, 100), fua: false });
    ends.submit(&scheduler, 4, write(4096, 4, 512));
    ends.submit(&scheduler, 5, Op::Read(range(0, 4096)));
    assert_eq!(fault.held().len(), 2, "the second and the third wait, the third for the second");
    assert_eq!(ends.take(), [(5, Ok(()))], "reads wait for nobody");
    while fault.release() {}
    assert_eq!(ends.take(), [(1, Ok(())), (4, Ok(())), (2, Ok(())), (3, Ok(()))]);
    let log = record.requests();
    assert!(log[0].ended_before(&log[3]) && log[3].ended_before(&log[4]));
}

#[test]
fn a_long_chain_of_overlapping_writes_neither_overflows_nor_is_lost() {
    const COUNT: usize = 100_000;
    let (scheduler, _, fault) = holding();
    let ends = Arc::<Ends>::default();
    let started = Instant::now();
    for (tag, byte) in (0..COUNT).zip((0..251).cycle()) {
        ends.submit(&scheduler, tag as u64, write(0, byte, 512));
    }
    fault.clear();
    assert!(fault.release());
    let ended = ends.take();
    assert!(ended.len() == COUNT && ended.iter().enumerate().all(|(i, end)| *end == (i as u64, Ok(()))));
    assert_eq!(read(&*scheduler.backend, 0, 1), [u8::try_from((COUNT - 1) % 251).unwrap()]);
    assert!(started.elapsed() < Duration::from_secs(20), "quadratic: {:?}", started.elapsed());
}

#[test]
fn many_waiting_for_one_start_together() {
    const COUNT: usize = 20_000;
    let (scheduler, _, fault) = holding();
    let ends = Arc::<Ends>::default();
    ends.submit(&scheduler, 0, Op::Trim { range: range(0, 16 << 20), fua: false });
    for tag in 0..COUNT {
        // Twice over the same places: the second half waits for the first.
        ends.submit(&scheduler, tag as u64 + 1, write((tag % (COUNT / 2)) as u64 * 512, 1, 512));
    }
    assert_eq!(fault.held().len(), 1);
    assert!(fault.release());
    assert_eq!(fault.held().len(), COUNT / 2);
    fault.release_shuffled();
    assert_eq!(fault.held().len(), COUNT / 2);
    fault.release_all();
    assert_eq!(ends.take().len(), COUNT + 1);
}

#[test]
fn no_two_overlapping_mutations_are_ever_in_flight() {
    for seed in 0..10 {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let record = Arc::new(Record::new(Arc::new(Shuffle::new(memory(), seed).unwrap())));
        let scheduler = scheduler(record.clone());
        let ends = Arc::<Ends>::default();
        let mut model = vec![0; 4096];
        for tag in 0..500 {
            let (offset, length) = (rng.random_range(0..4000), rng.random_range(1..96));
            let byte = rng.random();
            model[offset..offset + length].fill(byte);
            ends.submit(&scheduler, tag, write(offset as u64, byte, length));
        }
        while ends.0.lock().len() < 500 {
            std::thread::yield_now();
        }
        let log = record.requests();
        for (index, one) in log.iter().enumerate() {
            for other in &log[index + 1..] {
                let overlap = one.op.range().unwrap().overlaps(other.op.range().unwrap());
                assert!(!overlap || one.ended_before(other), "{one:?} and {other:?}");
            }
        }
        assert_eq!(read(&*record, 0, 4096), model);
    }
}
