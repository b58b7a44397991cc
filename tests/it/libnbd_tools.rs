//! nbdinfo and nbdcopy, the tools of libnbd.

use std::{collections::BTreeMap, fs};

use serde_json::Value;

use crate::{
    gateway::{Gateway, TRANSPORTS, Transport},
    image::Image,
    process::{args, run},
    setup::{Engine, Setup, Storage},
};

on_every_setup! {
    nbdinfo_tells_what_the_export_is_and_can,
    nbdcopy_copies_in_and_out_over_several_connections,
}

fn nbdinfo_tells_what_the_export_is_and_can(storage: Storage, engine: Engine) {
    let setup = Setup::new(storage, engine, 16 << 20);
    let gateway = setup.serve_with(",description=a disk for tests", &[]);
    for transport in TRANSPORTS {
        let uri = gateway.uri(transport);
        let told: Value = serde_json::from_str(&run("nbdinfo", args!["--json", uri]).ok()).expect("JSON");
        let export = &told["exports"][0];
        assert_eq!(export["export-size"], setup.size(), "{told}");
        assert_eq!(export["description"], "a disk for tests", "{told}");
        assert_eq!(export["contexts"][0], "base:allocation", "{told}");
        assert_eq!(run("nbdinfo", args!["--size", uri]).ok().trim(), setup.size().to_string());
        for can in ["connect", "write", "flush", "fua", "trim", "zero", "df", "cache", "multi-conn", "structured reply"]
        {
            run("nbdinfo", args!["--can", can, uri]).ok();
        }
        assert_ne!(run("nbdinfo", args!["--is", "read-only", uri]).code, Some(0), "it can be written");
        assert_ne!(run("nbdinfo", args!["--is", "tls", uri]).code, Some(0), "it is not encrypted");
    }
    gateway.stop();
}

fn nbdcopy_copies_in_and_out_over_several_connections(storage: Storage, engine: Engine) {
    let image = Image::patchy();
    let setup = Setup::new(storage, engine, image.size());
    let source = setup.path("source.img");
    image.write_to(&source);
    let gateway = setup.serve();
    for transport in TRANSPORTS {
        let uri = gateway.uri(transport);
        let back = setup.path("back.img");
        // --destination-is-zero is not given: zeroes are written over what the round before left.
        run("nbdcopy", args!["--flush", "--connections=4", "--requests=16", source, uri]).ok();
        run("nbdcopy", args!["--connections=4", "--requests=16", uri, back]).ok();
        assert!(fs::read(&back).expect("readable") == image.bytes(), "{uri} gave other bytes");
        assert_eq!(data_of(&gateway, transport), Image::patches_size(), "holes stayed holes");
        fs::remove_file(&back).expect("removed");
        run("nbdcopy", args!["--connections=1", "--synchronous", uri, back]).ok();
        assert!(fs::read(&back).expect("readable") == image.bytes(), "{uri} gave other bytes, asked one by one");
    }
    gateway.stop();
}

/// Bytes that nbdinfo says are data.
fn data_of(gateway: &Gateway, transport: Transport) -> u64 {
    let text = run("nbdinfo", args!["--map", "--json", gateway.uri(transport)]).ok();
    let map: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let length = |extent: &&Value| extent["length"].as_u64().expect("length");
    map.iter().filter(|extent| extent["type"] == 0).map(|extent| length(&extent)).sum()
}

#[test]
fn nbdinfo_lists_every_export_with_its_description() {
    let setup = Setup::new(Storage::Memory, Engine::Epoll, 1 << 20);
    let image = setup.path("image.img");
    fs::write(&image, vec![7; 4096]).expect("an image");
    let export = format!("--export=b=file:{},readonly,description=the second", image.display());
    let gateway = setup.serve_with(",description=the first", &[&export, "--export=a/ü=mem:2M"]);
    for transport in TRANSPORTS {
        let text = run("nbdinfo", args!["--list", "--json", gateway.uri(transport)]).ok();
        let told: Value = serde_json::from_str(&text).expect("JSON");
        let exports = told["exports"].as_array().expect("a list");
        let found: BTreeMap<_, _> = exports
            .iter()
            .map(|export| {
                let text = |key: &str| export[key].as_str().unwrap_or_default().to_owned();
                let size = export["export-size"].as_u64().expect("a size");
                (text("export-name"), (text("description"), size, export["is_read_only"] == true))
            })
            .collect();
        let expected =
            [("", "the first", 1 << 20, false), ("a/ü", "", 2 << 20, false), ("b", "the second", 4096, true)];
        let expected =
            expected.map(|(name, text, size, read_only)| (name.to_owned(), (text.to_owned(), size, read_only)));
        assert_eq!(found, BTreeMap::from(expected));
    }
    let unknown = run("nbdinfo", args![gateway.uri_of(Transport::Unix, "nowhere")]).failed();
    assert!(unknown.contains("nowhere") || unknown.contains("No such file"), "{unknown}");
    gateway.stop();
}
