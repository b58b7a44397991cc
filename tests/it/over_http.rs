//! The object log over real HTTP: the program, its S3 client, and a store with latency and faults.

use nbdgate_s3_server::{BUCKET, Server, Settings};

use crate::{
    bucket::Bucket,
    client::{Client, stamped},
    filesystem::{compare_files, grow_tree},
    gateway::{TRANSPORTS, Transport},
    process::{args, run},
};

const BLOCK: usize = 4096;

/// The seed of the stores' faults.
const SEED: u64 = 20;

fn store(settings: Settings) -> (Server, Bucket) {
    println!("store seed {SEED}");
    let server = Server::start(settings, SEED).expect("a store");
    let environment = server.environment().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let bucket = Bucket::new(environment, BUCKET, "disk");
    (server, bucket)
}

/// Several gateways, one after the other, each killed: what was flushed is there, whatever the store does.
fn what_was_flushed_survives_crashes(settings: Settings) {
    let (server, bucket) = store(settings);
    bucket.create(64 << 20).ok();
    let blocks = |life: u64| (0..20).map(move |n| (life * 100 + n, (n * 37 + life) % 1000 * BLOCK as u64));
    for life in 0..4 {
        let gateway = bucket.serve(",on-unclean=serve");
        let mut client = Client::enter(gateway.connect()).expect("served");
        for (number, offset) in (0..life).flat_map(blocks) {
            assert_eq!(client.read(offset, BLOCK).expect("readable"), stamped(number, BLOCK), "of life {life}");
        }
        for (number, offset) in blocks(life) {
            client.write(offset, &stamped(number, BLOCK)).expect("written");
            if number % 3 == 0 {
                client.flush().expect("flushed");
            }
        }
        client.flush().expect("flushed");
        // Perhaps on its way when the gateway dies, at an offset of its own.
        client.write(32 << 20, &stamped(life, BLOCK)).expect("written");
        gateway.crash();
    }
    let counts = server.counts();
    assert_eq!(counts.overwrites, 0, "an object was put with two contents: {counts:?}");
    assert!(counts.puts > 20, "{counts:?}");
}

#[test]
fn what_was_flushed_survives_crashes_on_a_good_day() {
    what_was_flushed_survives_crashes(Settings { get_ms: 2, put_ms: 5, ..Settings::default() });
}

#[test]
fn what_was_flushed_survives_crashes_on_a_bad_day() {
    what_was_flushed_survives_crashes(Settings::storm());
}

#[test]
fn an_ext4_tree_survives_the_way_in_a_crash_and_the_way_out_on_a_bad_day() {
    const SIZE: u64 = 48 << 20;
    let (server, bucket) = store(Settings::storm());
    bucket.create(SIZE).ok();
    let tree = grow_tree(&bucket.path("tree"));
    let image = bucket.path("made.img");
    run("mkfs.ext4", args!["-q", "-F", "-d", tree, image, format!("{}k", SIZE >> 10)]).ok();
    let gateway = bucket.serve("");
    run("nbdcopy", args!["--flush", "--connections=4", image, gateway.uri(Transport::Tcp)]).ok();
    gateway.crash();
    let gateway = bucket.serve(",on-unclean=serve");
    for transport in TRANSPORTS {
        let back = bucket.path("back.img");
        run("nbdcopy", args!["--connections=4", gateway.uri(transport), back]).ok();
        run("cmp", args![image, back]).ok();
        run("e2fsck", args!["-f", "-n", back]).ok();
        compare_files(&tree, &back, &bucket.path("dumped"));
    }
    gateway.stop();
    assert!(server.counts().faults > 10, "there was hardly any trouble: {:?}", server.counts());
    assert_eq!(server.counts().overwrites, 0);
}

#[test]
fn a_store_that_goes_away_delays_a_flush_and_loses_nothing() {
    let (server, bucket) = store(Settings::default());
    bucket.create(16 << 20).ok();
    let gateway = bucket.serve("");
    let mut client = Client::enter(gateway.connect()).expect("served");
    let before = server.counts();
    server.set(Settings { busy: 1000, ..Settings::default() });
    client.write(0, &stamped(1, BLOCK)).expect("memory takes it");
    assert_eq!(client.read(0, BLOCK).expect("from memory"), stamped(1, BLOCK));
    std::thread::scope(|scope| {
        let flush = scope.spawn(|| client.flush());
        // It has asked and was refused, more than once.
        while server.counts().faults < before.faults + 3 {
            std::thread::yield_now();
        }
        assert!(!flush.is_finished(), "a flush was answered without a store");
        server.set(Settings::default());
        flush.join().expect("no panic").expect("flushed when the store is back");
    });
    drop(client);
    gateway.crash();
    let gateway = bucket.serve(",on-unclean=serve");
    let mut client = Client::enter(gateway.connect()).expect("served");
    assert_eq!(client.read(0, BLOCK).expect("readable"), stamped(1, BLOCK));
    drop(client);
    gateway.stop();
}

#[test]
fn a_store_that_ignores_conditions_is_refused_unless_asked_for_by_name() {
    let (_server, bucket) = store(Settings { ignore_conditions: true, ..Settings::default() });
    bucket.create(1 << 20).ok();
    let refused = bucket.nbdgate(&["serve", "--listen=tcp:127.0.0.1:0", &bucket.export("")]).failed();
    assert!(refused.contains("ignores put-if-absent") && refused.contains("fencing=advisory"), "{refused}");
    let gateway = bucket.serve(",fencing=advisory");
    let mut client = Client::enter(gateway.connect()).expect("served");
    client.write(0, &stamped(1, BLOCK)).expect("written");
    client.flush().expect("flushed");
    drop(client);
    gateway.stop();
}

#[test]
fn wrong_keys_are_told_and_not_shown() {
    let (server, _) = store(Settings::default());
    let mut environment: Vec<(String, String)> =
        server.environment().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    for (name, value) in &mut environment {
        if name == "AWS_SECRET_ACCESS_KEY" {
            "not-the-secret".clone_into(value);
        }
    }
    let refused = Bucket::new(environment, BUCKET, "disk").create(1 << 20).failed();
    assert!(refused.contains("credentials"), "{refused}");
    assert!(!refused.contains("not-the-secret"), "{refused}");
}
