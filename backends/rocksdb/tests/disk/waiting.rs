//! Reads that have to wait for a device do so on threads of their own (B1).

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use nbdgate_api::{Op, wait};

use crate::support::{Place, close, files, levels, noise, range, read, write};

const LENGTH: usize = 16 << 10;
const EXTENT: u64 = LENGTH as u64;

/// Whoever opens the file waits, until this is dropped: another process has a lease on it.
struct Held(Child);

impl Held {
    fn new(file: &Path) -> Self {
        let script = "import fcntl, os, signal, sys\n\
            signal.signal(signal.SIGIO, signal.SIG_IGN)\n\
            held = os.open(sys.argv[1], os.O_RDWR)\n\
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n\
            print('held', flush=True)\n\
            sys.stdin.read()";
        let mut python = Command::new("python3");
        python.args(["-c", script]).arg(file).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = python.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        Self(child)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn a_read_that_waits_for_its_file_keeps_nobody_else_waiting() {
    let place = Place::new();
    let path = place.path();
    let disk = place.create(&path, 1 << 20, 16 << 10);
    (0..10).for_each(|index| write(&disk, index * EXTENT, noise(index, LENGTH)));
    close(disk);
    let disk = Place::new().open(&path);
    write(&disk, 20 * EXTENT, noise(20, LENGTH));
    // A blob file is opened by the first read of it. A submit that waits for it would go on when the lease has run out,
    // after the time in /proc/sys/fs/lease-break-time, and its read would be over.
    let held = Held::new(&files(&path, ".blob")[0]);
    let one = wait::submit(&disk, Op::Read(range(0, EXTENT)));
    let several = wait::submit(&disk, Op::Read(range(EXTENT, 4 * EXTENT)));
    let hint = wait::submit(&disk, Op::Cache(range(0, 10 * EXTENT)));
    let part = wait::submit(&disk, Op::Write { offset: 9 * EXTENT + 1, payload: vec![1].into(), fua: false });
    assert_eq!(read(&disk, 20 * EXTENT, EXTENT), noise(20, LENGTH), "what is in memory is read");
    assert_eq!(read(&disk, 30 * EXTENT, EXTENT), [0; LENGTH], "a hole is told");
    assert!(wait::extents(&disk, range(0, 1 << 20)).is_ok());
    wait::flush(&disk).unwrap();
    assert!(![&one, &several, &hint, &part].iter().any(|pending| pending.is_ended()), "the file cannot be opened yet");
    drop(held);
    for pending in [one, several, hint, part] {
        let answer = pending.wait();
        answer.outcome.unwrap();
        assert!(!answer.pieces.iter().any(|piece| matches!(piece, nbdgate_api::Piece::Failed(..))));
    }
    assert_eq!(read(&disk, 0, EXTENT), noise(0, LENGTH));
    assert!(levels(&disk).reads_pooled >= 2);
    close(disk);
}
