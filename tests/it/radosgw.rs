//! The whole life of a disk on a store that somebody else wrote: Ceph's radosgw, from Debian, as `scripts/radosgw`
//! starts it. One for all tests; it ends with this process, whose end closes its standard input.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::OnceLock,
};

use crate::{
    bucket::Bucket,
    client::{Client, stamped},
    image::Image,
    process::{args, run},
};

const BLOCK: usize = 4096;

/// A running radosgw: how it is reached, and what keeps it running.
struct Radosgw {
    environment: Vec<(String, String)>,
    _lifeline: ChildStdin,
}

#[expect(clippy::zombie_processes, reason = "it ends with its standard input, which is when this process ends")]
fn radosgw() -> &'static Radosgw {
    static STARTED: OnceLock<Radosgw> = OnceLock::new();
    STARTED.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/radosgw");
        let mut child =
            Command::new(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the script starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines().map_while(Result::ok);
        let mut environment = Vec::new();
        let ready = lines.take_while(|line| line != "ready").try_for_each(|line| {
            let (name, value) = line.split_once('=')?;
            environment.push((name.to_owned(), value.to_owned()));
            Some(())
        });
        assert!(ready.is_some() && environment.len() == 4, "radosgw did not start; it said why above");
        Radosgw { environment, _lifeline: child.stdin.take().expect("stdin is piped") }
    })
}

#[test]
fn a_disk_is_created_written_crashed_recovered_and_closed() {
    let bucket = Bucket::new(radosgw().environment.clone(), "plain", "life");
    let image = Image::patchy();
    bucket.create(image.size()).ok();
    let source = bucket.path("source.img");
    image.write_to(&source);

    let gateway = bucket.serve("");
    run("nbdcopy", args!["--flush", source, gateway.uri(crate::gateway::Transport::Tcp)]).ok();
    let mut client = Client::enter(gateway.connect()).expect("served");
    for number in 0..20 {
        client.write(number * BLOCK as u64, &stamped(number + 1, BLOCK)).expect("written");
        client.flush().expect("flushed");
    }
    gateway.crash();

    let gateway = bucket.serve(",on-unclean=serve");
    let mut client = Client::enter(gateway.connect()).expect("served");
    for number in 0..20 {
        let seen = client.read(number * BLOCK as u64, BLOCK).expect("readable");
        assert_eq!(seen, stamped(number + 1, BLOCK), "block {number}");
        client.write(number * BLOCK as u64, image.part(number * BLOCK as u64, BLOCK as u64)).expect("written");
    }
    drop(client);
    gateway.stop();

    let gateway = bucket.serve("");
    let uri = gateway.uri(crate::gateway::Transport::Unix);
    run("qemu-img", args!["compare", "-f", "raw", "-F", "raw", source, uri]).ok();
    gateway.stop();
    assert!(bucket.nbdgate(&["disk", "list", "s3://plain/prefix"]).ok().contains("life"));
}

#[test]
fn a_disk_that_was_taken_over_is_fenced() {
    let bucket = Bucket::new(radosgw().environment.clone(), "plain", "fenced");
    bucket.create(1 << 20).ok();
    let first = bucket.serve("");
    let mut old = Client::enter(first.connect()).expect("served");
    old.write(0, &stamped(1, BLOCK)).expect("written");
    old.flush().expect("flushed");
    let successor = Bucket::new(radosgw().environment.clone(), "plain", "fenced");
    let second = successor.serve(",on-unclean=serve");
    let mut new = Client::enter(second.connect()).expect("served");
    assert_eq!(new.read(0, BLOCK).expect("readable"), stamped(1, BLOCK));
    // It may take a write, but must not say that it is durable.
    let _accepted = old.write(0, &stamped(2, BLOCK));
    old.flush().expect_err("it was fenced");
    assert_eq!(new.read(0, BLOCK).expect("readable"), stamped(1, BLOCK));
    drop(new);
    second.stop();
}

#[test]
fn a_bucket_with_versions_is_told_to_be_advisory() {
    let bucket = Bucket::new(radosgw().environment.clone(), "versioned", "disk");
    let warned = bucket.create(1 << 20);
    assert!(warned.stderr.contains("ignores put-if-absent"), "{warned}");
    warned.ok();
    let said = bucket.nbdgate(&["serve", "--listen=tcp:127.0.0.1:0", &bucket.export("")]).failed();
    assert!(said.contains("ignores put-if-absent"), "{said}");
}
