//! qemu-img: what moves images in production. QEMU 8.2 and later negotiates extended headers, earlier ones
//! structured replies.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    gateway::TRANSPORTS,
    image::Image,
    process::{args, run},
    setup::{Engine, Setup, Storage},
};

on_every_setup! {
    converts_in_and_out_byte_for_byte,
    maps_data_and_holes_as_they_were_written,
    bench_ends_without_an_error,
}

fn converts_in_and_out_byte_for_byte(storage: Storage, engine: Engine) {
    let image = Image::patchy();
    let setup = Setup::new(storage, engine, image.size());
    let gateway = setup.serve();
    let source = setup.path("source.img");
    image.write_to(&source);
    for transport in TRANSPORTS {
        let uri = gateway.uri(transport);
        let back = setup.path("back.img");
        run("qemu-img", args!["convert", "-n", "-f", "raw", "-O", "raw", source, uri]).ok();
        run("qemu-img", args!["compare", "-f", "raw", "-F", "raw", source, uri]).ok();
        run("qemu-img", args!["convert", "-f", "raw", "-O", "raw", uri, back]).ok();
        assert!(fs::read(&back).expect("readable") == image.bytes(), "{uri} gave other bytes");
    }
    // One byte more is seen.
    run("qemu-io", args!["-f", "raw", "-c", "write -P 0x77 12345 1", gateway.uri(TRANSPORTS[0])]).ok();
    let differs = run("qemu-img", args!["compare", "-f", "raw", "-F", "raw", source, gateway.uri(TRANSPORTS[1])]);
    assert_eq!(differs.code, Some(1), "{differs}");
    gateway.stop();
}

fn maps_data_and_holes_as_they_were_written(storage: Storage, engine: Engine) {
    let image = Image::patchy();
    let setup = Setup::new(storage, engine, image.size());
    let source = setup.path("source.img");
    image.write_to(&source);
    let gateway = setup.serve();
    let uri = gateway.uri(TRANSPORTS[0]);
    assert_eq!(map(&uri), [(0, image.size(), false)], "a new disk is one hole");
    run("qemu-img", args!["convert", "-n", "-f", "raw", "-O", "raw", source, uri]).ok();
    for transport in TRANSPORTS {
        assert_eq!(map(&gateway.uri(transport)), Image::patchy_extents());
    }
    gateway.stop();
}

/// Extents as (offset, length, holds data), neighbours of one kind joined.
fn map(uri: &str) -> Vec<(u64, u64, bool)> {
    let text = run("qemu-img", args!["map", "-f", "raw", "--output=json", uri]).ok();
    let told: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let mut extents: Vec<(u64, u64, bool)> = Vec::new();
    for extent in told {
        let number = |key: &str| extent[key].as_u64().expect(key);
        let data = !extent["zero"].as_bool().expect("zero");
        match extents.last_mut() {
            Some(last) if last.2 == data => last.1 += number("length"),
            _ => extents.push((number("start"), number("length"), data)),
        }
    }
    extents
}

fn bench_ends_without_an_error(storage: Storage, engine: Engine) {
    let setup = Setup::new(storage, engine, 64 << 20);
    let gateway = setup.serve();
    for transport in TRANSPORTS {
        let uri = gateway.uri(transport);
        let bench = |more: &[&str]| {
            let fixed: &[&str] = &["bench", "-f", "raw", "-t", "none", "-c", "2000", "-d", "32", "-s", "4096"];
            let all = [fixed, more, &[uri.as_str()]].concat();
            let all: Vec<_> = all.iter().map(|argument| argument as &dyn AsRef<std::ffi::OsStr>).collect();
            run("qemu-img", &all).ok()
        };
        assert!(bench(&["-w", "--flush-interval=64"]).contains("Run completed"));
        assert!(bench(&[]).contains("Run completed"));
    }
    gateway.stop();
}

#[test]
fn a_read_only_export_can_be_read_and_not_be_written() {
    let setup = Setup::new(Storage::File, Engine::Epoll, 1 << 20);
    let gateway = setup.serve_with(",readonly", &[]);
    let uri = gateway.uri(TRANSPORTS[0]);
    run("qemu-img", args!["convert", "-f", "raw", "-O", "raw", uri, setup.path("back.img")]).ok();
    let error = run("qemu-img", args!["convert", "-n", "-f", "raw", "-O", "raw", Path::new("/dev/null"), uri]).failed();
    assert!(error.contains("Permission denied"), "{error}");
    gateway.stop();
}
