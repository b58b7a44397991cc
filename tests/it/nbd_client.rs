//! nbd-client, the kernel's companion.
//!
//! What it can do without the kernel's `nbd` module, which containers and many hosts do not have: haggle and list.
//! The requests of the kernel itself are plain: simple replies, no metadata contexts; `libnbd_calls` speaks the same.

use crate::{
    process::{args, run},
    setup::{Engine, Setup, Storage},
};

#[test]
fn the_exports_are_listed_over_tcp_and_unix() {
    let setup = Setup::new(Storage::Memory, Engine::Epoll, 1 << 20);
    let gateway = setup.serve_with("", &["--export=second=mem:1M"]);
    let by_tcp = run("nbd-client", args!["-l", "127.0.0.1", gateway.port().to_string()]).ok();
    let by_unix = run("nbd-client", args!["-l", "-u", gateway.socket()]).ok();
    for listed in [by_tcp, by_unix] {
        assert!(listed.lines().any(|line| line.trim() == "second"), "{listed}");
    }
    gateway.stop();
}
