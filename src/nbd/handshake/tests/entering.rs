//! Ways into the transmission phase, and what was agreed on there.

use super::*;

const ALWAYS: u16 = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_CAN_MULTI_CONN;
const WRITABLE: u16 = NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO | NBD_FLAG_SEND_CACHE;

#[test]
fn go_enters_with_what_was_negotiated() {
    let script = Script::new(FIXED)
        .option(NBD_OPT_STRUCTURED_REPLY, &[])
        .meta(NBD_OPT_SET_META_CONTEXT, "", &["base:allocation"])
        .ask(NBD_OPT_GO, "", &[NBD_INFO_BLOCK_SIZE]);
    let haggled = entered(talk(script));
    assert_eq!(haggled.export.name().as_str(), "");
    assert_eq!((haggled.style, haggled.contexts), (ReplyStyle::Structured, all_contexts()));
    assert!(haggled.block_sizes_negotiated && haggled.leftover.is_empty());
    let shape = haggled.shape();
    assert_eq!((shape.size, shape.minimum_block, shape.maximum_payload), (10 << 20, 512, 1 << 20));
    assert_eq!((shape.flags, shape.style, shape.contexts), (haggled.flags, haggled.style, haggled.contexts));
}

#[test]
fn go_without_asking_for_block_sizes_is_accepted_and_told_them() {
    let talk = talk(Script::new(FIXED).ask(NBD_OPT_GO, "", &[]));
    assert!(talk.replies().iter().any(|reply| reply.data.starts_with(&NBD_INFO_BLOCK_SIZE.to_be_bytes())));
    assert!(!entered(talk).block_sizes_negotiated);
}

#[test]
fn go_may_be_repeated_after_a_failure() {
    let script = Script::new(FIXED).ask(NBD_OPT_GO, "nothing", &[]).option(NBD_OPT_GO, b"malformed").ask(
        NBD_OPT_GO,
        "disk",
        &[],
    );
    let talk = talk(script);
    assert_eq!(talk.types()[..2], [(NBD_OPT_GO, NBD_REP_ERR_UNKNOWN), (NBD_OPT_GO, NBD_REP_ERR_INVALID)]);
    assert_eq!(entered(talk).export.name().as_str(), "disk");
}

#[test]
fn go_ends_with_the_acknowledgement_and_no_zeroes() {
    for flags in [NBD_FLAG_C_FIXED_NEWSTYLE, FIXED] {
        let talk = talk(Script::new(flags).ask(NBD_OPT_GO, "", &[]));
        assert_eq!(talk.types().last(), Some(&(NBD_OPT_GO, NBD_REP_ACK)));
    }
}

#[test]
fn go_tells_what_info_told() {
    for style in [NBD_OPT_LIST, NBD_OPT_STRUCTURED_REPLY, NBD_OPT_EXTENDED_HEADERS] {
        let script = Script::new(FIXED)
            .option(style, &[])
            .meta(NBD_OPT_SET_META_CONTEXT, "", &["base:allocation"])
            .ask(NBD_OPT_INFO, "", &[NBD_INFO_NAME])
            .ask(NBD_OPT_GO, "", &[NBD_INFO_NAME]);
        let replies = talk(script).replies();
        let of = |option| -> Vec<_> {
            replies.iter().filter(|reply| reply.option == option).map(|reply| (reply.kind, &reply.data)).collect()
        };
        assert_eq!(of(NBD_OPT_INFO), of(NBD_OPT_GO));
        assert_eq!(of(NBD_OPT_GO).len(), 4);
    }
}

#[test]
fn export_name_is_answered_with_zeroes_unless_declined() {
    let zeroes = talk(Script::new(NBD_FLAG_C_FIXED_NEWSTYLE).option(NBD_OPT_EXPORT_NAME, b"disk"));
    let flags = ALWAYS | NBD_FLAG_READ_ONLY | NBD_FLAG_SEND_CACHE;
    let answer = [&(10u64 << 20).to_be_bytes()[..], &flags.to_be_bytes()].concat();
    assert_eq!(zeroes.answer(), [&answer[..], &[0; 124]].concat());
    let none = talk(Script::new(FIXED).option(NBD_OPT_EXPORT_NAME, b"disk"));
    assert_eq!(none.answer(), answer);
    let haggled = entered(none);
    assert_eq!((haggled.export.name().as_str(), haggled.flags), ("disk", flags));
    assert_eq!(haggled.style, ReplyStyle::Simple);
}

#[test]
fn export_name_works_without_fixed_newstyle_and_after_other_options() {
    for flags in [0, NBD_FLAG_C_NO_ZEROES] {
        entered(talk(Script::new(flags).option(NBD_OPT_EXPORT_NAME, b"")));
    }
    let script = Script::new(FIXED).option(NBD_OPT_STRUCTURED_REPLY, &[]).option(NBD_OPT_EXPORT_NAME, b"");
    assert_eq!(entered(talk(script)).style, ReplyStyle::Structured);
}

#[test]
fn export_name_that_cannot_be_served_ends_the_session() {
    let huge = vec![b'a'; MAX_OPTION_BYTES as usize + 1];
    for name in [&b"nothing"[..], b"\xff", b"a\0", &[b'a'; 4097], &huge] {
        let talk = talk(Script::new(FIXED).option(NBD_OPT_EXPORT_NAME, name));
        assert_eq!(talk.answer(), b"");
        assert!(matches!(talk.outcome, Outcome::Ended(Ended::Refused(_) | Ended::Violation(_))), "{:?}", talk.outcome);
    }
}

#[test]
fn export_name_after_extended_headers_ends_the_session() {
    let script = Script::new(FIXED).option(NBD_OPT_EXTENDED_HEADERS, &[]).option(NBD_OPT_EXPORT_NAME, b"");
    let talk = talk(script);
    assert_eq!(talk.types(), [(NBD_OPT_EXTENDED_HEADERS, NBD_REP_ACK)]);
    assert!(matches!(talk.outcome, Outcome::Ended(Ended::Violation(_))), "{:?}", talk.outcome);
}

#[test]
fn bytes_after_the_last_option_are_kept() {
    for script in [Script::new(FIXED).ask(NBD_OPT_GO, "", &[]), Script::new(FIXED).option(NBD_OPT_EXPORT_NAME, b"")] {
        assert_eq!(entered(talk(script.raw(b"first request"))).leftover, b"first request"[..]);
    }
}

#[test]
fn flags_follow_capabilities_and_style() {
    let simple = |name| entered(talk(Script::new(FIXED).ask(NBD_OPT_GO, name, &[]))).flags;
    assert_eq!(simple(""), ALWAYS | WRITABLE);
    assert_eq!(simple("bare"), ALWAYS | NBD_FLAG_ROTATIONAL | NBD_FLAG_SEND_WRITE_ZEROES);
    assert_eq!(simple("disk"), ALWAYS | NBD_FLAG_READ_ONLY | NBD_FLAG_SEND_CACHE);

    let with = |option, contexts: &[&str]| {
        let script = Script::new(FIXED).option(option, &[]).meta(NBD_OPT_SET_META_CONTEXT, "", contexts);
        entered(talk(script.ask(NBD_OPT_GO, "", &[]))).flags
    };
    assert_eq!(with(NBD_OPT_STRUCTURED_REPLY, &["base:allocation"]), ALWAYS | WRITABLE | NBD_FLAG_SEND_DF);
    assert_eq!(with(NBD_OPT_EXTENDED_HEADERS, &[]), ALWAYS | WRITABLE | NBD_FLAG_SEND_DF);
    let filtered = ALWAYS | WRITABLE | NBD_FLAG_SEND_DF | NBD_FLAG_BLOCK_STATUS_PAYLOAD;
    assert_eq!(with(NBD_OPT_EXTENDED_HEADERS, &["base:allocation"]), filtered);
}

#[test]
fn fast_zero_is_never_offered_without_write_zeroes() {
    let capabilities = Capabilities { write_zeroes: false, ..Capabilities::ALL };
    let info = Info { capabilities, ..info() };
    let flags = transmission_flags(&info, ReplyStyle::Simple, MetaContexts::default());
    assert_eq!(flags & NBD_FLAG_SEND_FAST_ZERO, 0);
}
