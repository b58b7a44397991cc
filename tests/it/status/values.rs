//! /status.json and /metrics of one quiet gateway, value by value.

use std::{
    collections::BTreeMap,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use super::{PATIENCE, told};
use crate::{
    client::Client,
    gateway::Gateway,
    metrics::scrape,
    setup::{Engine, Setup, Storage},
};

type Series = BTreeMap<String, f64>;

/// Where a value of an export is in the JSON, and the family that shows it.
const LEVELS: [(&str, &str); 26] = [
    ("/in_flight", "nbdgate_export_requests_in_flight"),
    ("/flush_latched", "nbdgate_export_flush_latched"),
    ("/object/lease_held", "nbdgate_object_lease_held"),
    ("/object/commit_lag_seconds", "nbdgate_object_commit_lag_seconds"),
    ("/object/dirty_bytes", "nbdgate_object_dirty_bytes"),
    ("/object/gc/live_blocks", "nbdgate_object_gc_live_blocks"),
    ("/object/gc/stored_blocks", "nbdgate_object_gc_stored_blocks"),
    ("/object/gc/behind_bytes", "nbdgate_object_gc_behind_bytes"),
    ("/object/gc/waiting_bytes", "nbdgate_object_gc_waiting_bytes"),
    ("/object/gc/pinned_bytes", "nbdgate_object_gc_pinned_bytes"),
    ("/object/journal/size_bytes", "nbdgate_journal_size_bytes"),
    ("/object/journal/used_bytes", "nbdgate_journal_used_bytes"),
    ("/object/journal/lag_bytes", "nbdgate_journal_lag_bytes"),
    ("/object/journal/write_delay_seconds", "nbdgate_journal_write_delay_seconds"),
    ("/object/journal/failed", "nbdgate_journal_failed"),
    ("/rocksdb/allocated_bytes", "nbdgate_rocksdb_allocated_bytes"),
    ("/rocksdb/live_sst_bytes", "nbdgate_rocksdb_live_sst_bytes"),
    ("/rocksdb/live_blob_bytes", "nbdgate_rocksdb_live_blob_bytes"),
    ("/rocksdb/file_bytes", "nbdgate_rocksdb_file_bytes"),
    ("/rocksdb/memtable_bytes", "nbdgate_rocksdb_memtable_bytes"),
    ("/rocksdb/pending_compaction_bytes", "nbdgate_rocksdb_pending_compaction_bytes"),
    ("/rocksdb/pressure", "nbdgate_rocksdb_pressure_ratio"),
    ("/rocksdb/writes_stopped", "nbdgate_rocksdb_writes_stopped"),
    ("/rocksdb/stall_seconds", "nbdgate_rocksdb_stall_seconds_total"),
    ("/rocksdb/write_amplification", "nbdgate_rocksdb_write_amplification_ratio"),
    ("/rocksdb/latched", "nbdgate_rocksdb_latched"),
];

/// A name that JSON, URLs and Prometheus each write in their own way.
const ODD: &str = r#"a "b"\ é+&%/<i>"#;

/// A number or a boolean, as Prometheus counts.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_bool().map(|holds| f64::from(u8::from(holds))))
}

/// Whether both are there and the same number, but for what parsing loses; or neither is there.
fn is_same(one: Option<f64>, other: Option<f64>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() <= other.abs() * 1e-12,
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// Metrics that stood still while the page was asked, and what it told.
fn quiet(gateway: &Gateway) -> (Series, Value) {
    // An idle disk in an object store asks it now and then whether it is still its own.
    let is_idle = |name: &str| !name.starts_with("nbdgate_object_request") && !name.starts_with("nbdgate_object_bytes");
    let is_told = |name: &str| name.contains("export=") || name.starts_with("nbdgate_server_connections{");
    let of_exports =
        |series: Series| series.into_iter().filter(|(name, _)| is_told(name) && is_idle(name)).collect::<Series>();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let asked = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
        let before = scrape(gateway);
        let told = told(gateway, "/status.json");
        let after = scrape(gateway);
        let is_new = told["gateway"]["now_unix_seconds"].as_f64() >= Some(asked);
        if is_new && of_exports(before) == of_exports(after.clone()) {
            return (after, told);
        }
        assert!(Instant::now() < deadline, "the gateway is never quiet: {told}");
    }
}

/// Compares one export; how many values it has that are more than 0.
fn compare(export: &Value, series: &Series) -> usize {
    let name = export["name"].as_str().expect("a name").replace('\\', "\\\\").replace('"', "\\\"");
    let mut compared = 0;
    let mut same = |what: &str, value: &Value, shown: Option<f64>| {
        assert!(is_same(number(value), shown), "{what} is {value}, and {shown:?} in metrics: {export}");
        compared += usize::from(shown > Some(0.0));
    };
    for (at, family) in LEVELS {
        let shown = series.get(&format!("{family}{{export=\"{name}\"}}")).copied();
        let value = export.pointer(at).unwrap_or(&Value::Null);
        same(at, value, shown);
    }
    for (command, counted) in export["commands"].as_object().expect("commands") {
        let labels = format!("export=\"{name}\",command=\"{command}\"");
        let of = |family: &str| series.get(&format!("nbdgate_export_{family}{{{labels}}}")).copied();
        same("requests", &counted["requests"], of("requests_total"));
        let errors =
            series.iter().filter(|(key, _)| key.starts_with(&format!("nbdgate_export_errors_total{{{labels},")));
        same("errors", &counted["errors"], Some(errors.map(|(_, count)| count).sum()));
        same("seconds", &counted["seconds_sum"], Some(of("request_seconds_sum").unwrap_or_default()));
        let bytes = format!("nbdgate_export_bytes_total{{export=\"{name}\",direction=\"{command}\"}}");
        same("bytes", &counted["bytes"], series.get(&bytes).copied());
        let buckets = counted["buckets"].as_array().expect("a list");
        assert_eq!(buckets.is_empty(), of("requests_total") == Some(0.0), "{export}");
        for bucket in buckets {
            let bound = bucket["le"].as_f64().map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string());
            let shown = series.get(&format!("nbdgate_export_request_seconds_bucket{{{labels},le=\"{bound}\"}}"));
            assert!(shown.is_some(), "{bound} in {export}");
            same("bucket", &bucket["count"], shown.copied());
        }
    }
    compared
}

/// Ten writes, seven reads, a flush and an error.
fn work(gateway: &Gateway, export: &str) {
    let mut client = Client::enter_export(gateway.connect(), export).expect("served");
    for number in 0..10 {
        client.write(number * 8192, &[1; 8192]).expect("written");
    }
    for _ in 0..7 {
        client.read(0, 4096).expect("read");
    }
    client.flush().expect("flushed");
    let past_the_end = client.size;
    client.read(past_the_end, 512).expect_err("past the end");
}

fn the_page_tells_what_metrics_show(storage: Storage, engine: Engine) {
    let setup = Setup::new(storage, engine, 16 << 20);
    let odd = format!("--export={ODD}=mem:1M");
    let gateway = setup.serve_with("", &["--metrics=127.0.0.1:0", "--status-page", &odd]);
    work(&gateway, "");
    work(&gateway, ODD);
    let (series, told) = quiet(&gateway);
    let exports = told["exports"].as_array().expect("a list");
    assert_eq!(exports.iter().map(|export| &export["name"]).collect::<Vec<_>>(), ["", ODD]);
    for export in exports {
        let compared = compare(export, &series);
        assert!(compared > 20, "only {compared} values of {export} are more than nothing");
    }
    let listeners: f64 =
        series.iter().filter(|(key, _)| key.starts_with("nbdgate_server_connections{")).map(|(_, open)| open).sum();
    assert_eq!(told["gateway"]["connections"].as_f64(), Some(listeners), "{told}");
    let started = series.get("nbdgate_process_start_time_seconds").copied();
    assert!(is_same(told["gateway"]["started_unix_seconds"].as_f64(), started), "{told}");
    gateway.stop();
}

mod the_page_tells_what_metrics_show {
    on_setups! { the_page_tells_what_metrics_show: memory Memory Uring, file File Epoll }
    #[cfg(feature = "object-log")]
    on_setups! { the_page_tells_what_metrics_show: object_log ObjectLog Uring }
    #[cfg(feature = "rocksdb")]
    on_setups! { the_page_tells_what_metrics_show: rocksdb RocksDb Uring }
}

#[cfg(feature = "object-log")]
#[test]
fn a_journal_is_told_too() {
    let setup = Setup::new(Storage::Memory, Engine::Uring, 16 << 20);
    std::fs::create_dir(setup.path("bucket")).expect("a bucket");
    let disk = format!("dir:{}", setup.path("bucket/disk").display());
    crate::process::nbdgate(crate::process::args!["disk", "create", disk, "--size", "16M", "--flush", "journal"]).ok();
    let export = format!("vm={disk},journal={},journal-size=64M", setup.path("journal").display());
    let gateway = super::serve(&setup, &export);
    work(&gateway, "vm");
    let (series, told) = quiet(&gateway);
    assert!(told["exports"][0]["object"]["journal"]["size_bytes"].as_u64() > Some(0), "{told}");
    assert_eq!(told["exports"][0]["object"]["phase"], "open", "{told}");
    compare(&told["exports"][0], &series);
    gateway.stop();
}
