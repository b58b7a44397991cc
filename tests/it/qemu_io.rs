//! qemu-io: single requests of QEMU's client, with the flags that guests use.

use crate::{
    gateway::{TRANSPORTS, Transport},
    process::run,
    setup::{Engine, Setup, Storage},
};

on_every_setup! {
    patterns_are_read_back_across_requests_of_every_kind,
    vectored_and_overlapping_requests_keep_their_bytes,
}

/// Runs commands in one session, and fails if one does or if a pattern is not what it should be.
#[track_caller]
fn qemu_io(uri: &str, commands: &[&str]) -> String {
    let mut all: Vec<&str> = vec!["-f", "raw", "-d", "unmap", "-t", "none"];
    for command in commands {
        all.extend(["-c", command]);
    }
    all.push(uri);
    let all: Vec<_> = all.iter().map(|argument| argument as &dyn AsRef<std::ffi::OsStr>).collect();
    let told = run("qemu-io", &all).ok();
    assert!(!told.contains("failed") && !told.contains("error"), "{commands:?}: {told}");
    told
}

fn patterns_are_read_back_across_requests_of_every_kind(storage: Storage, engine: Engine) {
    let setup = Setup::new(storage, engine, 32 << 20);
    let gateway = setup.serve();
    for transport in TRANSPORTS {
        let uri = gateway.uri(transport);
        qemu_io(
            &uri,
            &[
                "write -P 0x11 0 1M",
                "write -f -P 0x22 1M 64k", // FUA
                "write -P 0x33 1000 3000", // unaligned
                "flush",
                "read -P 0x33 1000 3000",
                "read -P 0x11 0 1000",
                "read -P 0x11 4000 1044576",
                "read -P 0x22 1M 64k",
                "write -z 512k 128k", // zeroes, no holes
                "read -P 0 512k 128k",
                "write -z -u 4k 8k", // zeroes, holes allowed
                "read -P 0 4k 8k",
                "discard 768k 128k",
                "read -P 0 768k 128k",
                "read -P 0x11 896k 128k",
                "write -z -f 1M 4k", // zeroes with FUA
                "read -P 0 1M 4k",
                "read -P 0x22 1052672 60k",
                "write -P 0x44 33550336 4k", // the last bytes
                "read -P 0x44 33550336 4k",
            ],
        );
        qemu_io(&uri, &["read -P 0x44 33550336 4k", "discard 0 32M", "read -P 0 0 32M", "flush"]);
    }
    gateway.stop();
}

fn vectored_and_overlapping_requests_keep_their_bytes(storage: Storage, engine: Engine) {
    let setup = Setup::new(storage, engine, 8 << 20);
    let gateway = setup.serve();
    qemu_io(
        &gateway.uri(Transport::Unix),
        &[
            "writev -P 0x55 4096 512 1024 4096 65536",
            "readv -P 0x55 4096 65536 512 1024 4096",
            // Asynchronous: in flight together until aio_flush.
            "aio_write -P 0x66 1M 1M",
            "aio_write -P 0x77 2M 1M",
            "aio_write -z 3M 64k",
            "aio_flush",
            "aio_read -P 0x66 1M 1M",
            "aio_read -P 0x77 2M 1M",
            "aio_read -P 0 3M 64k",
            "aio_flush",
            "read -P 0x55 4096 71168",
        ],
    );
    gateway.stop();
}

#[test]
fn zeroes_and_discards_may_be_longer_than_any_payload() {
    // 6 GiB: only extended headers, which QEMU has since 8.2, can say that at once; earlier ones split it. The client
    // does not discard more than 2 GiB at once.
    let setup = Setup::new(Storage::Memory, Engine::Epoll, 8 << 30);
    let gateway = setup.serve();
    let uri = gateway.uri(Transport::Unix);
    qemu_io(&uri, &["write -P 0x11 6442446848 4k", "write -z -u -n 0 6G", "read -P 0 6442446848 4k"]);
    qemu_io(&uri, &["write -P 0x11 2147479552 4k", "discard 0 2147483136", "read -P 0 2147479552 3584"]);
    gateway.stop();
}
