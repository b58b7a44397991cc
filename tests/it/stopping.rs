//! The end of a gateway: clean when it can be, bounded when it cannot.

use std::io::Read;

use rustix::process::Signal;

use crate::{
    client::Client,
    crowd::ask_and_never_read,
    gateway::Gateway,
    setup::{Engine, Setup, Storage},
};

on_every_engine! {
    idle_and_half_connected_clients_do_not_hold_up_a_stop,
    a_second_signal_ends_a_stop_that_waits,
    the_shutdown_timeout_ends_a_stop_that_waits,
}

fn idle_and_half_connected_clients_do_not_hold_up_a_stop(engine: Engine) {
    for signal in [Signal::TERM, Signal::INT] {
        let setup = Setup::new(Storage::File, engine, 1 << 20);
        // A stop that waited for the clients would fail at this deadline.
        let mut gateway = setup.serve_with("", &["--shutdown-timeout=20s", "--handshake-timeout=60s"]);
        let mut half = gateway.connect();
        let mut idle = Client::enter(gateway.connect()).expect("served");
        idle.write(4096, &[9; 4096]).expect("written, and never flushed");
        gateway.signal(signal);
        let status = gateway.wait();
        assert!(status.success(), "{status}");
        assert!(!gateway.socket().exists(), "the socket is removed");
        half.read_to_end(&mut Vec::new()).expect("it was hung up on");
        idle.read(0, 512).expect_err("it was hung up on");
        let image = std::fs::read(setup.path("disk.img")).expect("the image");
        assert_eq!(image[4096..8192], [9; 4096]);
    }
}

/// A gateway in the middle of its stop, waiting for a client that does not take its replies.
fn stuck(setup: &Setup, timeout: &str) -> (Gateway, impl Drop + use<>) {
    let mut gateway = setup.serve_with("", &[timeout]);
    let client = ask_and_never_read(&gateway);
    gateway.signal(Signal::TERM);
    gateway.wait_for_log("stopping:");
    (gateway, std::os::fd::OwnedFd::from(client))
}

fn a_second_signal_ends_a_stop_that_waits(engine: Engine) {
    let setup = Setup::new(Storage::Memory, engine, 64 << 20);
    let (mut gateway, _client) = stuck(&setup, "--shutdown-timeout=10m");
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().code(), Some(1));
    gateway.wait_for_log("second signal");
}

fn the_shutdown_timeout_ends_a_stop_that_waits(engine: Engine) {
    let setup = Setup::new(Storage::Memory, engine, 64 << 20);
    let (mut gateway, _client) = stuck(&setup, "--shutdown-timeout=200ms");
    assert_eq!(gateway.wait().code(), Some(1));
    gateway.wait_for_log("shutdown timeout");
}
