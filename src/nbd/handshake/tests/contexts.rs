//! Metadata contexts.

use std::{
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::export::{ExportName, Opened, SnapshotOpener, Snapshots};

const LIST: u32 = NBD_OPT_LIST_META_CONTEXT;
const SET: u32 = NBD_OPT_SET_META_CONTEXT;

fn structured() -> Script {
    Script::new(FIXED).option(NBD_OPT_STRUCTURED_REPLY, &[])
}

/// Replies to `script` after the one to STRUCTURED_REPLY: type and data.
fn answers(script: Script) -> Vec<(u32, Vec<u8>)> {
    talk(script).replies().into_iter().skip(1).map(|reply| (reply.kind, reply.data)).collect()
}

fn listed() -> Vec<(u32, Vec<u8>)> {
    vec![(NBD_REP_META_CONTEXT, b"\0\0\0\0base:allocation".to_vec()), (NBD_REP_ACK, Vec::new())]
}

fn selected() -> Vec<(u32, Vec<u8>)> {
    vec![(NBD_REP_META_CONTEXT, b"\0\0\0\x01base:allocation".to_vec()), (NBD_REP_ACK, Vec::new())]
}

fn none() -> Vec<(u32, Vec<u8>)> {
    vec![(NBD_REP_ACK, Vec::new())]
}

#[test]
fn contexts_without_structured_replies_are_invalid_and_the_connection_stays_usable() {
    for option in [LIST, SET] {
        let script = Script::new(FIXED).meta(option, "", &["base:allocation"]);
        assert!(talk(script.clone()).last_text().contains("structured replies"));
        let talk = talk(script.ask(NBD_OPT_GO, "", &[]));
        assert_eq!(talk.types()[0], (option, NBD_REP_ERR_INVALID));
        assert!(entered(talk).contexts.is_empty());
    }
}

#[test]
fn extended_headers_allow_contexts_too() {
    let script = Script::new(FIXED).option(NBD_OPT_EXTENDED_HEADERS, &[]).meta(SET, "", &["base:allocation"]);
    assert_eq!(answers(script), selected());
}

#[test]
fn list_without_queries_and_with_a_wildcard_gives_everything() {
    assert_eq!(answers(structured().meta(LIST, "", &[])), listed());
    assert_eq!(answers(structured().meta(LIST, "", &["base:"])), listed());
    assert_eq!(answers(structured().meta(LIST, "", &["base:allocation"])), listed());
    assert_eq!(answers(structured().meta(LIST, "", &["base:", "base:allocation", "base:"])), listed());
}

#[test]
fn set_selects_by_full_name_only() {
    assert_eq!(answers(structured().meta(SET, "", &["base:allocation", "base:allocation"])), selected());
    assert_eq!(answers(structured().meta(SET, "", &["base:"])), none());
    assert_eq!(answers(structured().meta(SET, "", &[])), none());
}

#[test]
fn unknown_namespaces_and_leaves_are_ignored() {
    let strange = ["x-other:thing", "qemu:dirty-bitmap:a", "base:unknown", "base", "", ":", "bas:"];
    for option in [LIST, SET] {
        assert_eq!(answers(structured().meta(option, "", &strange)), none());
    }
    let mixed = ["x-other:thing", "base:allocation"];
    assert_eq!(answers(structured().meta(SET, "", &mixed)), selected());
}

#[test]
fn an_export_that_knows_no_extents_has_contexts_too() {
    assert_eq!(answers(structured().meta(LIST, "bare", &[])), listed());
    assert_eq!(answers(structured().meta(SET, "bare", &["base:allocation"])), selected());
}

#[test]
fn contexts_of_unknown_exports_are_unknown() {
    for option in [LIST, SET] {
        let answers = answers(structured().meta(option, "nothing", &[]));
        assert_eq!(answers.iter().map(|answer| answer.0).collect::<Vec<_>>(), [NBD_REP_ERR_UNKNOWN]);
    }
}

#[test]
fn malformed_context_options_are_invalid_and_too_many_queries_too_big() {
    let many = vec!["base:allocation"; MAX_QUERIES as usize + 1];
    let beyond = [&client::string("")[..], &u32::MAX.to_be_bytes(), &client::string("base:")].concat();
    let huge = vec![0; MAX_OPTION_BYTES as usize + 1];
    for option in [LIST, SET] {
        for data in [&[][..], &[0; 4], &[0; 9], &beyond] {
            assert_eq!(answers(structured().option(option, data))[0].0, NBD_REP_ERR_INVALID);
        }
        assert_eq!(answers(structured().meta(option, "", &many))[0].0, NBD_REP_ERR_TOO_BIG);
        assert_eq!(answers(structured().meta(option, "", &many[1..])).last(), none().last());
        assert_eq!(answers(structured().option(option, &huge))[0].0, NBD_REP_ERR_TOO_BIG);
    }
}

#[test]
fn a_set_replaces_the_one_before_also_when_it_fails() {
    let first = structured().meta(SET, "", &["base:allocation"]);
    let many = vec!["base:allocation"; MAX_QUERIES as usize + 1];
    let huge = vec![0; MAX_OPTION_BYTES as usize + 1];
    let later = [
        first.clone().meta(SET, "", &[]),
        first.clone().meta(SET, "nothing", &["base:allocation"]),
        first.clone().meta(SET, "", &many),
        first.clone().option(SET, b"malformed"),
        first.clone().option(SET, &huge),
    ];
    for script in later {
        assert!(entered(talk(script.ask(NBD_OPT_GO, "", &[]))).contexts.is_empty());
    }
    let kept = first.meta(LIST, "disk", &[]).option(99, &[]).ask(NBD_OPT_GO, "nothing", &[]);
    assert_eq!(entered(talk(kept.ask(NBD_OPT_GO, "", &[]))).contexts, all_contexts());
}

#[test]
fn contexts_of_another_export_are_dropped() {
    let script = structured().meta(SET, "disk", &["base:allocation"]);
    assert!(entered(talk(script.clone().ask(NBD_OPT_GO, "", &[]))).contexts.is_empty());
    assert!(entered(talk(script.clone().option(NBD_OPT_EXPORT_NAME, b""))).contexts.is_empty());
    assert_eq!(entered(talk(script.clone().ask(NBD_OPT_GO, "disk", &[]))).contexts, all_contexts());
    assert_eq!(entered(talk(script.option(NBD_OPT_EXPORT_NAME, b"disk"))).contexts, all_contexts());
}

/// A shell with two snapshots.
struct Snapped(Shell);

impl Backend for Snapped {
    fn info(&self) -> &Info {
        self.0.info()
    }

    fn bitmaps(&self) -> Vec<Arc<str>> {
        vec!["monday".into(), "tuesday".into()]
    }

    fn submit(&self, io: Io) {
        self.0.submit(io);
    }

    fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

static OPENED: AtomicUsize = AtomicUsize::new(0);

struct Opener;

impl SnapshotOpener for Opener {
    fn open(&self, base: &Export, snapshot: &str, name: ExportName) -> Pin<Box<dyn Future<Output = Opened> + Send>> {
        assert_eq!(name.as_str(), format!("{}@{snapshot}", base.name()));
        OPENED.fetch_add(1, Ordering::Relaxed);
        let export = export(name.as_str(), "", Info { read_only: true, ..info() });
        Box::pin(async move { Ok(export) })
    }
}

fn snapped() -> Registry {
    let backend = Arc::new(Snapped(Shell(info())));
    let disk = Export::new("vm".parse().unwrap(), String::new(), backend, false, Budget::new(u32::MAX));
    let mut registry = Registry::default();
    registry.add(Arc::new(disk)).unwrap();
    registry.with_snapshots(Snapshots::new(Box::new(Opener)))
}

fn talk_snapped(exports: &Registry, script: Script) -> Talk {
    let stopping = AtomicBool::new(false);
    let terms = Terms { exports, tls: TlsPolicy::Off, stopping: &stopping };
    client::run(script, async |stream| haggle(stream, terms).await)
}

/// The names told after the reply to STRUCTURED_REPLY, with their ids.
fn told(script: Script) -> Vec<(u32, String)> {
    let replies = talk_snapped(&snapped(), script).replies();
    let context = |reply: &Reply| {
        let id = u32::from_be_bytes(reply.data[..4].try_into().unwrap());
        (id, String::from_utf8(reply.data[4..].to_vec()).unwrap())
    };
    replies.iter().filter(|reply| reply.kind == NBD_REP_META_CONTEXT).map(context).collect()
}

#[test]
fn dirty_bitmaps_are_listed_by_their_namespace_and_selected_by_name() {
    let (monday, tuesday) = ("qemu:dirty-bitmap:monday", "qemu:dirty-bitmap:tuesday");
    let names = |ids: [u32; 2]| vec![(ids[0], monday.to_owned()), (ids[1], tuesday.to_owned())];
    for query in ["qemu:", "qemu:dirty-bitmap:"] {
        assert_eq!(told(structured().meta(LIST, "vm", &[query])), names([0, 0]));
        assert_eq!(told(structured().meta(SET, "vm", &[query])), []);
    }
    assert_eq!(told(structured().meta(LIST, "vm", &[])).len(), 3);
    assert_eq!(told(structured().meta(SET, "vm", &[tuesday, monday])), names([2, 3]));
    assert_eq!(told(structured().meta(SET, "vm", &[tuesday])), [(2, tuesday.to_owned())]);
    assert_eq!(told(structured().meta(SET, "vm", &["qemu:dirty-bitmap:sunday", "qemu:dirty-bitmap:mon"])), []);
    let script = structured().meta(SET, "vm", &["base:allocation", tuesday]).ask(NBD_OPT_GO, "vm", &[]);
    let haggled = entered(talk_snapped(&snapped(), script));
    assert_eq!(haggled.bitmaps, ["tuesday".into()]);
    assert!(haggled.contexts.contains(MetaContext::Bitmap(0)) && haggled.contexts.contains(MetaContext::Allocation));
}

#[test]
fn a_snapshot_is_an_export_for_as_long_as_someone_uses_it() {
    let exports = snapped();
    let ask = || entered(talk_snapped(&exports, structured().ask(NBD_OPT_GO, "vm@monday", &[])));
    let (first, second) = (ask(), ask());
    assert!(first.export.info().read_only);
    assert!(Arc::ptr_eq(&first.export, &second.export), "connections share it");
    let by_name = entered(talk_snapped(&exports, Script::new(FIXED).option(NBD_OPT_EXPORT_NAME, b"vm@monday")));
    assert!(Arc::ptr_eq(&first.export, &by_name.export));
    assert_eq!(OPENED.load(Ordering::Relaxed), 1);
    drop((first, second, by_name));
    let _again = ask();
    assert_eq!(OPENED.load(Ordering::Relaxed), 2, "it was closed when the last left");
    for name in ["vm@sunday", "nothing@monday", "@monday", "vm@"] {
        let talk = talk_snapped(&exports, structured().ask(NBD_OPT_GO, name, &[]));
        assert_eq!(talk.types().last().unwrap().1, NBD_REP_ERR_UNKNOWN, "{name}");
    }
    assert_eq!(OPENED.load(Ordering::Relaxed), 2, "nothing is opened that is not listed");
}
