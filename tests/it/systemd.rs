//! Under systemd, which is played by Python scripts in `tests/it/systemd`: what is notified, a stop before it serves,
//! the watchdog, sockets passed on, the filters of the units. And the units themselves, as systemd's own tools judge them.

use std::path::Path;

use nbdgate_s3_server::{BUCKET, Server, Settings};

use crate::{
    process::{Argument, args},
    python::run_script,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_nbdgate");
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn systemd_is_told_from_start_to_end() {
    run_script(Path::new("systemd/notifying.py"), args![PROGRAM]);
}

#[test]
fn the_watchdog_is_fed_only_while_every_thread_turns() {
    run_script(Path::new("systemd/watchdog.py"), args![PROGRAM]);
}

#[test]
fn passed_sockets_are_served_and_stay_with_systemd() {
    run_script(Path::new("systemd/sockets.py"), args![PROGRAM]);
}

#[test]
fn a_signal_while_exports_are_opened_ends_it_and_closes_what_is_open() {
    let server = Server::start(Settings::default(), 1).expect("a store");
    run_on_store("opening.py", args![PROGRAM, format!("s3://{BUCKET}/slow")], &server);
}

#[test]
fn the_gateway_works_under_the_filters_of_its_unit() {
    let unit = Path::new(REPOSITORY).join("deploy/systemd/nbdgate.service");
    let server = Server::start(Settings::default(), 1).expect("a store");
    run_on_store("confinement.py", args![PROGRAM, unit, format!("s3://{BUCKET}/confined")], &server);
    assert!(server.counts().puts > 0, "the disk in the store was not used");
}

/// Runs a script with the environment of a store behind its arguments.
#[track_caller]
fn run_on_store(script: &str, arguments: &[Argument<'_>], server: &Server) {
    let environment: Vec<_> = server.environment().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let environment = environment.iter().map(|pair| pair as Argument<'_>);
    let arguments = arguments.iter().copied().chain(environment).collect::<Vec<_>>();
    run_script(&Path::new("systemd").join(script), &arguments);
}

#[test]
fn units_and_drop_ins_are_right_and_as_hardened_as_documented() {
    run_script(Path::new("systemd/units.py"), args![REPOSITORY, PROGRAM]);
}
