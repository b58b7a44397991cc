//! `make demo`, but for its build and its ports: what it prints works, and its disk is there at the next run.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use crate::{
    gateway::Gateway,
    process::{args, run},
};

/// Runs the script; gives the gateway that it became and what it said before.
fn demo(folder: &Path) -> (Gateway, String) {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/demo"));
    let said = folder.join("said");
    command.stdout(File::create(&said).expect("a file"));
    command.env("NBDGATE", env!("CARGO_BIN_EXE_nbdgate")).env("DEMO_DIR", folder.join("demo"));
    command.env("PORT", "0").env("METRICS_PORT", "0");
    let gateway = Gateway::launch(command, folder.join("demo/nbd.sock"));
    (gateway, fs::read_to_string(said).expect("text"))
}

/// The command of which a line of the text begins with these words.
fn printed<'a>(said: &'a str, words: &str) -> &'a str {
    let line = said.lines().map(str::trim).find(|line| line.starts_with(words));
    line.unwrap_or_else(|| panic!("{words:?} in {said}"))
}

#[test]
fn its_commands_work_and_its_disk_lasts() {
    let folder = tempfile::tempdir().expect("a folder");
    let (gateway, said) = demo(folder.path());
    let info = run("sh", args!["-c", printed(&said, "qemu-img info")]).ok();
    assert!(info.contains("10 GiB"), "{info}");
    let same = format!("DEMO_DIR={}", folder.path().join("demo").display());
    let program = concat!("NBDGATE=", env!("CARGO_BIN_EXE_nbdgate"));
    let twin = run("env", args![same, program, concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/demo")]);
    assert!(twin.failed().contains("another one is running"));
    let image = folder.path().join("image.qcow2");
    run("qemu-img", args!["create", "-q", "-f", "qcow2", image, "8M"]).ok();
    run("qemu-io", args!["-f", "qcow2", "-c", "write -P 0x5a 1M 2M", image]).ok();
    let convert = printed(&said, "qemu-img convert -n").replace("image.qcow2", &image.display().to_string());
    run("sh", args!["-c", convert]).ok();
    for client in ["nbdcopy --flush", "sudo nbd-client", "qemu-system-x86_64"] {
        printed(&said, client);
    }
    gateway.stop();

    let (gateway, said) = demo(folder.path());
    assert!(said.contains("disk of an earlier run"), "{said}");
    let uri = gateway.uri(crate::gateway::Transport::Tcp);
    let read = run("qemu-io", args!["-f", "raw", "-c", "read -P 0x5a 1M 2M", "-c", "read -P 0 3M 5M", uri]).ok();
    assert!(!read.contains("failed"), "{read}");
    gateway.stop();
}
