//! The site as its endpoint asks it, with exports of memory.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::{StatusCode, header::HeaderMap};
use nbdgate_api::{Backend, Op};
use nbdgate_layers::{Action, Fault, Rule};
use nbdgate_memory::Memory;
use serde_json::Value;

use super::*;
use crate::{
    export::ExportName,
    metrics::{Asked, Health, Metrics, ServerMetrics},
    scheduler::permits::Budget,
};

/// A gateway whose exports are in memory, behind faults.
struct Gateway {
    status: Arc<Status>,
    metrics: Metrics,
    exports: Vec<(Arc<Export>, Arc<Fault>)>,
}

impl Gateway {
    fn new(names: &[String], patience: Duration) -> Self {
        let metrics = Metrics::detached();
        let exports: Vec<_> = metrics::with_local_recorder(metrics.recorder(), || {
            let _registered = ServerMetrics::new();
            names.iter().map(|name| export(name)).collect()
        });
        let status = Status { details: detail::Details::patient_for(patience), ..Status::default() };
        status.show(exports.iter().map(|(export, _)| shown(export)).collect());
        Self { status: Arc::new(status), metrics, exports }
    }

    async fn get(&self, path: &str, query: Option<&str>) -> (StatusCode, HeaderMap, Value) {
        let metrics = self.metrics.clone();
        let asked = Asked { path: path.to_owned(), query: query.map(str::to_owned), metrics, health: Health::Serving };
        let (head, body) = site::answer(&self.status, &asked).await.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into());
        (head.status, head.headers, body)
    }

    async fn export(&self, query: &str) -> (StatusCode, Value) {
        let (status, _, body) = self.get("/status/export.json", Some(query)).await;
        (status, body)
    }
}

fn export(name: &str) -> (Arc<Export>, Arc<Fault>) {
    let fault = Arc::new(Fault::new(Arc::new(Memory::new(16 << 20).expect("a disk")), 1));
    let (name, backend): (ExportName, Arc<dyn Backend>) = (name.parse().expect("a name"), fault.clone());
    (Arc::new(Export::new(name, String::new(), backend, false, Budget::new(256 << 20))), fault)
}

fn shown(export: &Arc<Export>) -> Shown {
    Shown {
        export: Arc::downgrade(export),
        storage: Storage::Memory,
        directory: None,
        is_snapshot: false,
        served_snapshots: Vec::new(),
        provider: None,
    }
}

fn gateway(names: &[&str]) -> Gateway {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    Gateway::new(&names, Duration::from_mins(1))
}

fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}

#[test]
fn every_answer_forbids_browsers_what_the_page_does_not_need() {
    block_on(async {
        let gateway = gateway(&["vm"]);
        for (path, code, kind) in [
            ("/", 307, "text/plain; charset=utf-8"),
            ("/status", 200, "text/html; charset=utf-8"),
            ("/status.css", 200, "text/css; charset=utf-8"),
            ("/status.js", 200, "text/javascript; charset=utf-8"),
            ("/status.json", 200, "application/json"),
            ("/status/export.json", 400, "text/plain; charset=utf-8"),
            ("/status/missing.js", 404, "text/plain; charset=utf-8"),
        ] {
            let (status, headers, _) = gateway.get(path, None).await;
            assert_eq!((status.as_u16(), headers["content-type"].to_str().expect("text")), (code, kind), "{path}");
            let policy = headers["content-security-policy"].to_str().expect("text");
            assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
            assert!(policy.contains("frame-ancestors 'none'") && policy.contains("connect-src 'self'"), "{policy}");
            assert_eq!(headers["cache-control"], "no-store", "{path}");
            assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
            assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        }
        assert_eq!(gateway.get("/", None).await.1["location"], "/status");
    });
}

#[test]
fn exports_and_clients_are_told_as_they_are() {
    block_on(async {
        let gateway = gateway(&["", "a \"b\"\\\n<c>"]);
        let name = gateway.exports[1].0.name();
        gateway.exports[1].0.metrics().requests_started(2);
        let _listed = gateway.status.clients().enter("tcp:127.0.0.1:9", name, Style::Structured);
        let (_, _, told) = gateway.get("/status.json", None).await;
        assert_eq!(told["gateway"]["state"], "serving", "{told}");
        let names: Vec<_> = told["exports"].as_array().expect("a list").iter().map(|export| &export["name"]).collect();
        assert_eq!(names, ["", name.as_str()]);
        assert_eq!((&told["exports"][0]["connections"], &told["exports"][1]["connections"]), (&0.into(), &1.into()));
        assert_eq!(told["exports"][1]["in_flight"], 2);
        assert_eq!(told["exports"][0]["description"], Value::Null);
        assert_eq!((&told["exports"][0]["object"], &told["exports"][0]["rocksdb"]), (&Value::Null, &Value::Null));
        assert_eq!(
            (&told["clients"][0]["style"], &told["clients"][0]["export"]),
            (&"structured".into(), &name.as_str().into())
        );
    });
}

#[test]
fn exports_are_found_by_any_name_and_unknown_ones_are_not() {
    block_on(async {
        let odd = "a+b &=%?#/ä\u{1F4BE}";
        let gateway = gateway(&["", odd]);
        let encoded = "name=a%2Bb%20%26%3D%25%3F%23%2F%C3%A4%F0%9F%92%BE";
        for (query, name) in [("name=", ""), (encoded, odd)] {
            let (status, told) = gateway.export(query).await;
            assert_eq!((status, &told["name"]), (StatusCode::OK, &name.into()), "{query}: {told}");
            assert_eq!(told["allocation"]["allocated_bytes"], 0, "{told}");
            assert_eq!(
                (&told["segments"], &told["snapshots"], &told["cost"]),
                (&Value::Null, &Value::Null, &Value::Null)
            );
        }
        for (query, code) in [("name=c", 404), ("name=%FF", 404), ("names=", 400), ("", 400)] {
            assert_eq!(gateway.export(query).await.0.as_u16(), code, "{query}");
        }
    });
}

#[test]
fn a_hung_backend_is_asked_once_and_the_page_goes_on() {
    block_on(async {
        let gateway = Gateway::new(&["vm".to_owned()], Duration::from_millis(20));
        let fault = &gateway.exports[0].1;
        fault.add(Rule::new(Action::Hold, |op| matches!(op, Op::BlockStatus { .. })).always());
        let (status, told) = gateway.export("name=vm").await;
        assert_eq!((status, &told["allocation"]), (StatusCode::OK, &Value::Null), "{told}");
        let (_, again) = gateway.export("name=vm").await;
        assert_eq!(again["taken_unix_seconds"], told["taken_unix_seconds"], "what was told is shared");
        gateway.status.details.forget_what_was_told();
        let (_, later) = gateway.export("name=vm").await;
        assert_ne!(later["taken_unix_seconds"], told["taken_unix_seconds"]);
        assert_eq!((&later["allocation"], fault.held().len()), (&Value::Null, 1), "one request hangs, not two");
        fault.clear();
        fault.release_all();
        let deadline = std::time::Instant::now() + Duration::from_mins(1);
        loop {
            gateway.status.details.forget_what_was_told();
            let (_, told) = gateway.export("name=vm").await;
            if told["allocation"]["allocated_bytes"] == 0 {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "it never comes back: {told}");
        }
    });
}

#[test]
fn viewers_beyond_the_limit_are_sent_away_and_do_not_wait() {
    block_on(async {
        let gateway = Gateway::new(&["vm".to_owned()], Duration::from_millis(200));
        gateway.exports[0].1.add(Rule::new(Action::Hold, |op| matches!(op, Op::BlockStatus { .. })).always());
        let (mut served, mut busy) = (0, 0);
        let mut viewers = tokio::task::JoinSet::new();
        let gateway = Arc::new(gateway);
        for _ in 0..50 {
            let gateway = Arc::clone(&gateway);
            viewers.spawn(async move { gateway.export("name=vm").await.0 });
        }
        while let Some(status) = viewers.join_next().await {
            match status.expect("no panic") {
                StatusCode::OK => served += 1,
                StatusCode::SERVICE_UNAVAILABLE => busy += 1,
                other => panic!("{other}"),
            }
        }
        assert_eq!((served, busy), (detail::MAX_WAITING, 50 - detail::MAX_WAITING));
        assert_eq!(gateway.exports[0].1.held().len(), 1);
    });
}

#[test]
fn what_is_remembered_is_bounded_also_while_everything_hangs() {
    block_on(async {
        let names: Vec<_> = (0..detail::MAX_LOOKS + 3).map(|number| format!("vm{number}")).collect();
        let healthy = Gateway::new(&names, Duration::from_mins(1));
        for name in &names {
            assert_eq!(healthy.export(&format!("name={name}")).await.0, StatusCode::OK, "the oldest goes");
        }
        let hung = Gateway::new(&names, Duration::from_millis(1));
        for (_, fault) in &hung.exports {
            fault.add(Rule::new(Action::Hold, |op| matches!(op, Op::BlockStatus { .. })).always());
        }
        let mut refused = 0;
        for name in &names {
            refused += usize::from(hung.export(&format!("name={name}")).await.0 == StatusCode::SERVICE_UNAVAILABLE);
        }
        assert_eq!(refused, 3, "none of those under way is forgotten");
    });
}
