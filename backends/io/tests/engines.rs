//! What an I/O thread offers is the same in both engines, and file operations work on each and without one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::{
    cell::Cell,
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt,
    rc::Rc,
    sync::mpsc,
    time::Duration,
};

use bytes::Bytes;
use nbdgate_io::{Buffer, Engine, EngineChoice, File, probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The engines that this kernel allows; epoll always.
fn engines() -> Vec<Engine> {
    let mut engines = vec![Engine::Epoll];
    match probe() {
        Ok(()) => engines.push(Engine::Uring),
        Err(error) => println!("this kernel refuses io_uring: {error}"),
    }
    engines
}

/// Runs `future` on each engine, and checks that the engine is what `resolve` would choose.
fn on_each<F: Future<Output = ()>>(future: impl Fn() -> F) {
    for engine in engines() {
        println!("on {engine}");
        engine.run(future()).unwrap();
    }
}

#[test]
fn tasks_need_not_be_send_and_timers_fire() {
    on_each(|| async {
        let count = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let count = count.clone();
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    count.set(count.get() + 1);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(count.get(), 10);
        let late = tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
        assert!(late.is_err());
    });
}

#[test]
fn sockets_work() {
    on_each(|| async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(&word).await.unwrap();
        });
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let mut word = [0; 4];
        client.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"ping");
        server.await.unwrap();
    });
}

#[test]
fn another_thread_can_wake_an_idle_io_thread() {
    on_each(|| async {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || sender.send(7).unwrap());
        assert_eq!(receiver.await.unwrap(), 7);
    });
}

#[test]
fn an_engine_can_run_again_on_the_same_thread() {
    for _ in 0..3 {
        on_each(|| async {
            let (file, _path) = file_with(&[3; 8192], 0);
            assert_eq!(read(&file, 0, 8192).await.unwrap(), vec![3; 8192]);
        });
    }
}

#[test]
fn operations_still_in_flight_at_the_end_are_answered_or_dropped() {
    for engine in engines() {
        let (file, _path) = file_with(&vec![4; 1 << 20], direct_flag());
        let (sender, receiver) = mpsc::channel();
        let submit = async {
            for block in 0..256 {
                let sender = sender.clone();
                file.read(Buffer::new(4096), 0, block * 4096, move |buffer, outcome| {
                    sender.send((outcome.is_ok(), buffer[0])).unwrap();
                });
            }
        };
        engine.run(submit).unwrap();
        drop(sender);
        let answers: Vec<_> = receiver.iter().collect(); // ends when the last callback is gone
        assert!(answers.len() <= 256 && answers.iter().all(|answer| *answer == (true, 4)), "{answers:?}");
    }
}

#[test]
fn more_operations_than_a_ring_holds_are_all_answered_with_their_own_bytes() {
    const OPERATIONS: usize = 5000;
    let content: Vec<u8> = (0..OPERATIONS).flat_map(|block| [tag(block); 512]).collect();
    for flags in [0, direct_flag()] {
        on_each(|| async {
            let (file, _path) = file_with(&content, flags);
            let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
            for block in 0..OPERATIONS {
                let sender = sender.clone();
                file.read(Buffer::zeroed(512), 0, block as u64 * 512, move |buffer, outcome| {
                    outcome.unwrap();
                    assert!(buffer.iter().all(|byte| *byte == tag(block)), "block {block}");
                    sender.send(block).unwrap();
                });
            }
            drop(sender);
            let mut answered = vec![false; OPERATIONS];
            while let Some(block) = receiver.recv().await {
                assert!(!std::mem::replace(&mut answered[block], true), "block {block} was answered twice");
            }
            assert_eq!(answered.iter().position(|answered| !answered), None);
        });
    }
}

#[test]
fn the_choice_is_kept_and_bad_words_are_refused() {
    assert_eq!("epoll".parse::<EngineChoice>().unwrap().resolve().unwrap(), Engine::Epoll);
    assert_eq!(EngineChoice::Auto.resolve().unwrap(), *engines().last().unwrap());
    assert_eq!("uring".parse::<EngineChoice>().unwrap().resolve().is_ok(), probe().is_ok());
    let error = "ring".parse::<EngineChoice>().unwrap_err();
    assert_eq!(error.to_string(), "unknown io engine \"ring\": use auto, uring or epoll");
    for choice in [EngineChoice::Auto, EngineChoice::Uring, EngineChoice::Epoll] {
        assert_eq!(choice.to_string().parse::<EngineChoice>().unwrap(), choice);
    }
}

#[test]
fn reads_and_writes_round_trip_buffered_and_direct() {
    for flags in [0, direct_flag()] {
        on_each(|| async {
            let (file, _path) = file_with(&vec![0; 1 << 20], flags);
            for durable in [false, true] {
                let byte = 0x40 + u8::from(durable);
                let slices = vec![Bytes::from(vec![byte; 4096]), Bytes::from(vec![byte + 2; 8192])];
                write(&file, slices, 4096, durable).await.unwrap();
                assert_eq!(read(&file, 4096, 4096).await.unwrap(), vec![byte; 4096]);
                assert_eq!(read(&file, 8192, 8192).await.unwrap(), vec![byte + 2; 8192]);
                assert_eq!(read(&file, 16384, 4096).await.unwrap(), vec![0; 4096]);
            }
        });
    }
}

#[test]
fn files_work_without_a_runtime() {
    let (file, _path) = file_with(&[9; 10_000], 0);
    let (sender, receiver) = mpsc::channel();
    file.read(Buffer::new(10_000), 0, 0, move |buffer, outcome| {
        sender.send(outcome.map(|()| buffer.to_vec())).unwrap();
    });
    assert_eq!(receiver.recv().unwrap().unwrap(), vec![9; 10_000]);
}

#[test]
fn reading_past_the_end_is_an_error_and_not_zeros() {
    on_each(|| async {
        let (file, _path) = file_with(&[9; 100], 0);
        assert_eq!(read(&file, 50, 51).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn a_partial_read_is_completed_from_where_it_stopped() {
    on_each(|| async {
        let content: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let (file, _path) = file_with(&content, 0);
        let mut buffer = Buffer::new(100_000);
        let now = file.read_now(&mut buffer[..33_333], 0);
        assert!(now <= 33_333);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        file.read(buffer, now, now as u64, move |buffer, outcome| {
            outcome.unwrap();
            sender.send(buffer).unwrap();
        });
        assert_eq!(receiver.await.unwrap()[..], content[..]);
    });
}

#[test]
fn write_now_takes_a_prefix_and_write_does_the_rest() {
    on_each(|| async {
        let (file, _path) = file_with(&vec![1; 65_536], 0);
        let slices = vec![Bytes::from(vec![2; 1000]), Bytes::from(vec![3; 1000])];
        let now = file.write_now(&slices, 100).unwrap();
        write_from(&file, slices, now, 100, false).await.unwrap();
        let mut expected = vec![1; 65_536];
        expected[100..1100].fill(2);
        expected[1100..2100].fill(3);
        assert_eq!(read(&file, 0, 65_536).await.unwrap(), expected);
    });
}

#[test]
fn more_slices_than_the_kernel_takes_at_once_are_written() {
    on_each(|| async {
        let (file, _path) = file_with(&vec![0; 65_536], 0);
        let slices: Vec<_> = (0..3000).map(|index: u32| Bytes::from(index.to_le_bytes().to_vec())).collect();
        write(&file, slices.clone(), 8, true).await.unwrap();
        assert_eq!(read(&file, 8, 12_000).await.unwrap(), slices.concat());
    });
}

#[test]
fn errors_reach_the_callback() {
    on_each(|| async {
        let path = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let read_only = File::new(std::fs::File::open(path.path()).unwrap()).unwrap();
        let error = write(&read_only, vec![Bytes::from_static(b"no")], 0, false).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        assert_eq!(read_only.write_now(&[Bytes::from_static(b"no")], 0).unwrap_err().raw_os_error(), Some(libc::EBADF));
    });
}

#[test]
fn a_closed_file_leaves_no_descriptor_behind() {
    on_each(|| async {
        let (file, path) = file_with(&[1; 4096], 0);
        read(&file, 0, 4096).await.unwrap();
        drop(file);
        let path = path.path().canonicalize().unwrap();
        let open_here = || {
            let list = std::fs::read_dir("/proc/self/fd").unwrap();
            list.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
                .filter(|target| *target == path)
                .count()
        };
        // One is the test's own; a pool thread may still be dropping its clone of the file.
        for _ in 0..100_000 {
            if open_here() == 1 {
                return;
            }
            std::thread::yield_now();
        }
        panic!("{} descriptors of a closed file", open_here());
    });
}

/// Tells the blocks of a file apart.
fn tag(block: usize) -> u8 {
    u8::try_from(block % 251 + 1).unwrap()
}

/// A file of `content`, in the target directory because /tmp may not do direct I/O.
fn file_with(content: &[u8], flags: i32) -> (File, tempfile::NamedTempFile) {
    let path = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(path.path(), content).unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(path.path()).unwrap();
    (File::new(file).unwrap(), path)
}

/// O_DIRECT where the file system has it.
fn direct_flag() -> i32 {
    let path = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path.path());
    opened.map_or(0, |_| libc::O_DIRECT)
}

async fn read(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    file.read(Buffer::new(length), 0, offset, move |buffer, outcome| {
        sender.send(outcome.map(|()| buffer.to_vec())).unwrap();
    });
    receiver.await.unwrap()
}

async fn write(file: &File, slices: Vec<Bytes>, offset: u64, durable: bool) -> io::Result<()> {
    write_from(file, slices, 0, offset, durable).await
}

async fn write_from(file: &File, slices: Vec<Bytes>, start: usize, offset: u64, durable: bool) -> io::Result<()> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    file.write(slices, start, offset, durable, move |outcome| sender.send(outcome).unwrap());
    receiver.await.unwrap()
}
