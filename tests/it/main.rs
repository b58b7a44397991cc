//! The program as its users meet it: the real `nbdgate`, real clients, and sockets that misbehave.
//!
//! One binary for all of it. What runs against every storage and both I/O engines is declared with
//! `on_every_setup!`, which makes a test of each combination. Every gateway listens on a Unix socket and on a TCP port
//! that the system chose, lives in a folder of its own, and ends with its test; every client has a deadline. The
//! clients are those of Debian's packages, which `make test` installs; one that is missing fails its tests.

#[macro_use]
mod setup;
mod client;
mod gateway;
mod image;
mod process;
mod python;

#[cfg(feature = "object-log")]
mod bucket;
#[cfg(feature = "object-log")]
mod demo;
mod filesystem;
mod fio;
mod libnbd_calls;
mod libnbd_tools;
mod nbd_client;
#[cfg(all(feature = "object-log", feature = "rocksdb"))]
mod operating;
#[cfg(feature = "object-log")]
mod over_http;
mod qemu_img;
mod qemu_io;
#[cfg(feature = "object-log")]
mod radosgw;
mod restart;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "rocksdb")]
mod rocksdb_full;
#[cfg(feature = "rocksdb")]
mod rocksdb_kills;

mod bad_bytes;
mod command_line;
mod crowd;
mod metrics;
#[cfg(all(feature = "object-log", feature = "rocksdb"))]
mod monitoring;
#[cfg(feature = "object-log")]
mod snapshots;
mod starting;
mod status;
#[cfg(all(feature = "object-log", feature = "rocksdb"))]
mod status_page;
mod stopping;
mod storage_trouble;
#[cfg(all(feature = "object-log", feature = "rocksdb"))]
mod systemd;
