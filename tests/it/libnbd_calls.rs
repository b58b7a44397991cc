//! Single calls of libnbd, by its Python bindings, with structured and with simple replies.

use crate::{
    gateway::{TRANSPORTS, Transport},
    process::args,
    python::check,
    setup::{Engine, Setup, Storage},
};

on_every_setup! {
    structured_replies_carry_chunks_holes_and_status,
    every_command_works_in_both_reply_styles,
    errors_are_those_of_the_specification,
    a_flush_covers_the_other_connections,
}

const SIZE: u64 = 16 << 20;

fn structured_replies_carry_chunks_holes_and_status(storage: Storage, engine: Engine) {
    on_both_transports("structured.py", storage, engine);
}

fn every_command_works_in_both_reply_styles(storage: Storage, engine: Engine) {
    on_both_transports("commands.py", storage, engine);
}

fn errors_are_those_of_the_specification(storage: Storage, engine: Engine) {
    on_both_transports("errors.py", storage, engine);
}

fn a_flush_covers_the_other_connections(storage: Storage, engine: Engine) {
    on_both_transports("connections.py", storage, engine);
}

fn on_both_transports(script: &str, storage: Storage, engine: Engine) {
    let setup = Setup::new(storage, engine, SIZE);
    let gateway = setup.serve();
    for transport in TRANSPORTS {
        check(script, args![gateway.uri(transport)]);
    }
    gateway.stop();
}

#[test]
fn a_read_only_export_refuses_every_change() {
    let setup = Setup::new(Storage::File, Engine::Epoll, SIZE);
    let gateway = setup.serve_with(",readonly", &[]);
    check("read_only.py", args![gateway.uri(Transport::Unix)]);
    gateway.stop();
}
