//! Metadata contexts.

use super::*;

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
