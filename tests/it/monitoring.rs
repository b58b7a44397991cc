//! The rules for Prometheus and the dashboards for Grafana in `deploy/`: they say what the program says, and have data.
//!
//! The checks are Python, in `tests/it/monitoring`; `promtool` and `prometheus` are Debian's.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use nbdgate_s3_server::{BUCKET, Server, Settings};

use crate::{
    process::{Argument, args, run},
    python::PYTHON,
};

/// The seed of the store's faults.
const SEED: u64 = 7;

fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/monitoring").join(name)
}

/// The files of a folder, of which there are some.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder that can be listed");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    assert!(!paths.is_empty(), "nothing in {}", folder.display());
    paths.sort();
    paths
}

/// Runs promtool with these words, and then every file of a folder below deploy/prometheus.
fn promtool(words: &[&str], folder: &str) -> String {
    let paths = files(&deployed("prometheus").join(folder));
    let words = words.iter().map(|word| word as Argument<'_>);
    let arguments: Vec<_> = words.chain(paths.iter().map(|path| path as Argument<'_>)).collect();
    run("promtool", &arguments).ok()
}

#[test]
fn the_dashboards_are_as_they_are_described() {
    run(PYTHON, args!["-B", deployed("grafana/generate"), "--check"]).ok();
}

#[test]
fn rules_and_dashboards_name_only_what_is_measured_and_hang_together() {
    run(PYTHON, args!["-B", script("static.py")]).ok();
}

#[test]
fn prometheus_finds_nothing_to_say_about_the_configuration_and_the_rules() {
    run("promtool", args!["check", "config", deployed("prometheus/prometheus.yml")]).ok();
    promtool(&["check", "rules", "--lint=all", "--lint-fatal"], "rules");
}

#[test]
fn every_alert_fires_and_does_not_fire_just_below() {
    promtool(&["test", "rules"], "tests");
}

#[test]
fn every_expression_has_data_in_a_prometheus_that_scrapes_a_gateway_under_load() {
    println!("store seed {SEED}");
    // Three refusals in a row are a request that failed, and one that is tried again.
    let server = Server::start(Settings { busy: 300, ..Settings::default() }, SEED).expect("a store");
    let folder = tempfile::tempdir().expect("a folder");
    let environment = server.environment().map(|(name, value)| OsString::from(format!("{name}={value}")));
    let (program, bucket) = (env!("CARGO_BIN_EXE_nbdgate"), format!("s3://{BUCKET}/prefix"));
    let mut words: Vec<Argument<'_>> = environment.iter().map(|word| word as Argument<'_>).collect();
    let (script, scene) = (script("live.py"), folder.path().join("scene"));
    words.extend_from_slice(args![PYTHON, "-B", script, program, bucket, scene]);
    let told = run("env", &words).ok();
    assert!(told.contains("expressions have data"), "{told}");
}
