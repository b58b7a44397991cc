//! STARTTLS and the three policies.

use super::*;

#[test]
fn starttls_without_tls_is_refused_by_policy() {
    let talk = talk(Script::new(FIXED).option(NBD_OPT_STARTTLS, &[]).option(NBD_OPT_ABORT, &[]));
    assert_eq!(talk.types(), [(NBD_OPT_STARTTLS, NBD_REP_ERR_POLICY), (NBD_OPT_ABORT, NBD_REP_ACK)]);
    assert!(!talk.replies()[0].data.is_empty());
}

#[test]
fn starttls_hands_the_stream_over() {
    for policy in [TlsPolicy::Allow, TlsPolicy::Require] {
        let talk = talk_under(Script::new(FIXED).option(NBD_OPT_STARTTLS, &[]), policy, false);
        assert_eq!(talk.types(), [(NBD_OPT_STARTTLS, NBD_REP_ACK)]);
        assert!(matches!(talk.outcome, Outcome::StartTls(_)), "{:?}", talk.outcome);
    }
}

#[test]
fn plain_bytes_after_starttls_end_the_session() {
    let script = Script::new(FIXED).option(NBD_OPT_STARTTLS, &[]).ask(NBD_OPT_GO, "", &[]);
    let talk = talk_under(script, TlsPolicy::Allow, false);
    assert!(matches!(talk.outcome, Outcome::Ended(Ended::Violation(_))), "{:?}", talk.outcome);
}

#[test]
fn required_tls_comes_before_everything_but_abort() {
    let mut script = Script::new(FIXED);
    let refused = [1, 3, 4, 6, 7, 8, 9, 10, 11, 99];
    for option in &refused[1..] {
        script = script.option(*option, &[]);
    }
    let talk = talk_under(script.option(NBD_OPT_ABORT, b"x"), TlsPolicy::Require, false);
    let mut expected: Vec<_> = refused[1..].iter().map(|option| (*option, NBD_REP_ERR_TLS_REQD)).collect();
    expected.push((NBD_OPT_ABORT, NBD_REP_ACK));
    assert_eq!(talk.types(), expected);

    for flags in [0, FIXED] {
        let talk = talk_under(Script::new(flags).option(NBD_OPT_EXPORT_NAME, b""), TlsPolicy::Require, false);
        assert_eq!(talk.answer(), b"");
        assert!(matches!(talk.outcome, Outcome::Ended(Ended::Refused(_))), "{:?}", talk.outcome);
    }
}

#[test]
fn allowed_tls_is_not_required() {
    entered(talk_under(Script::new(FIXED).ask(NBD_OPT_GO, "", &[]), TlsPolicy::Allow, false));
}

/// Upgrades after `before`, then sends `after` where TLS would be.
fn secured(policy: TlsPolicy, before: Script, after: Script) -> Talk {
    let plain = talk_under(before.option(NBD_OPT_STARTTLS, &[]), policy, false);
    let Outcome::StartTls(token) = plain.outcome else { panic!("no upgrade but {:?}", plain.outcome) };
    let exports = registry();
    let stopping = AtomicBool::new(false);
    let terms = Terms { exports: &exports, tls: policy, stopping: &stopping };
    client::run(after, async |stream| resume(stream, terms, token).await)
}

#[test]
fn starttls_again_is_invalid_and_options_pass_once_secured() {
    let after = Script::secured().option(NBD_OPT_STARTTLS, &[]).option(NBD_OPT_STRUCTURED_REPLY, &[]);
    for policy in [TlsPolicy::Allow, TlsPolicy::Require] {
        let talk = secured(policy, Script::new(FIXED), after.clone());
        let kinds: Vec<_> = client::replies(&talk.sent).iter().map(|reply| reply.kind).collect();
        assert_eq!(kinds, [NBD_REP_ERR_INVALID, NBD_REP_ACK]);
    }
}

#[test]
fn nothing_negotiated_survives_starttls() {
    let before = Script::new(FIXED).option(NBD_OPT_EXTENDED_HEADERS, &[]).meta(
        NBD_OPT_SET_META_CONTEXT,
        "",
        &["base:allocation"],
    );
    let haggled = entered(secured(TlsPolicy::Allow, before, Script::secured().ask(NBD_OPT_GO, "", &[])));
    assert_eq!((haggled.style, haggled.contexts.is_empty()), (ReplyStyle::Simple, true));
}
