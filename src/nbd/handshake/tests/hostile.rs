//! Streams that no honest client sends.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use proptest::prelude::*;
use tokio::io::ReadBuf;

use super::*;

fn everything() -> Script {
    Script::new(FIXED)
        .option(NBD_OPT_LIST, &[])
        .option(NBD_OPT_STARTTLS, &[])
        .option(NBD_OPT_STRUCTURED_REPLY, &[])
        .meta(NBD_OPT_LIST_META_CONTEXT, "", &["base:"])
        .meta(NBD_OPT_SET_META_CONTEXT, "disk", &["base:allocation"])
        .option(NBD_OPT_EXTENDED_HEADERS, &[])
        .option(99, b"unknown")
        .ask(NBD_OPT_INFO, "bare", &[NBD_INFO_NAME])
        .ask(NBD_OPT_GO, "disk", &[NBD_INFO_BLOCK_SIZE])
}

#[test]
fn a_stream_cut_at_any_byte_ends_the_session() {
    let whole = everything();
    let sent = talk(whole.clone()).sent;
    for end in 0..whole.0.len() {
        let talk = talk(Script(whole.0[..end].to_vec()));
        let ended = matches!(talk.outcome, Outcome::Ended(Ended::Closed | Ended::Truncated(_)));
        assert!(ended, "cut at {end}: {:?}", talk.outcome);
        assert!(sent.starts_with(&talk.sent), "cut at {end}");
    }
    entered(talk(whole));
}

#[test]
fn an_oversized_option_that_is_cut_ends_the_session() {
    let script = Script::new(FIXED).raw(b"IHAVEOPT\0\0\0\x07\0\x10\0\0").raw(&vec![0; 100_000]);
    let talk = talk(script);
    assert!(matches!(talk.outcome, Outcome::Ended(Ended::Truncated(_))), "{:?}", talk.outcome);
    assert_eq!(talk.answer(), b"");
}

#[test]
fn an_absurd_option_length_ends_the_session() {
    let talk = talk(Script::new(FIXED).raw(b"IHAVEOPT\0\0\0\x07\xff\xff\xff\xff"));
    assert!(matches!(talk.outcome, Outcome::Ended(Ended::Violation(_))), "{:?}", talk.outcome);
}

#[test]
fn unknown_client_flags_end_the_session() {
    for bit in 2..32 {
        let talk = talk(Script::new(FIXED | 1 << bit).option(NBD_OPT_ABORT, &[]));
        assert!(matches!(talk.outcome, Outcome::Ended(Ended::Violation(_))), "{:?}", talk.outcome);
        assert_eq!(talk.answer(), b"");
    }
}

#[test]
fn a_wrong_option_magic_ends_the_session() {
    let talk = talk(Script::new(FIXED).raw(b"IHAVEOPS\0\0\0\x02\0\0\0\0"));
    assert!(matches!(talk.outcome, Outcome::Ended(Ended::Violation(_))), "{:?}", talk.outcome);
}

#[test]
fn options_without_fixed_newstyle_end_the_session() {
    for option in [NBD_OPT_LIST, NBD_OPT_GO, NBD_OPT_STARTTLS, 99] {
        let talk = talk_under(Script::new(0).option(option, &[]), TlsPolicy::Allow, false);
        assert!(matches!(talk.outcome, Outcome::Ended(Ended::Violation(_))), "{:?}", talk.outcome);
        assert_eq!(talk.answer(), b"");
    }
}

#[test]
fn a_client_cannot_haggle_forever() {
    let mut script = Script::new(FIXED);
    for _ in 0..=MAX_OPTIONS {
        script = script.option(NBD_OPT_STRUCTURED_REPLY, &[]);
    }
    let talk = talk(script);
    assert!(matches!(talk.outcome, Outcome::Ended(Ended::Violation(_))), "{:?}", talk.outcome);
    assert_eq!(talk.replies().len(), MAX_OPTIONS as usize);
}

/// Plays a script one option at a time and counts writes.
struct Counting {
    input: Vec<Vec<u8>>,
    writes: Vec<usize>,
    largest_read: usize,
    gone: bool,
}

impl AsyncRead for Counting {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.largest_read = self.largest_read.max(buf.remaining());
        if let Some(next) = self.input.first_mut() {
            let here = next.len().min(buf.remaining());
            buf.put_slice(&next[..here]);
            next.drain(..here);
            if next.is_empty() {
                self.input.remove(0);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.gone && !self.writes.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.writes.push(buf.len());
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn count(input: Vec<Vec<u8>>, gone: bool) -> (Counting, Outcome) {
    let mut stream = Counting { input, writes: Vec::new(), largest_read: 0, gone };
    let exports = registry();
    let stopping = AtomicBool::new(false);
    let terms = Terms { exports: &exports, tls: TlsPolicy::Off, stopping: &stopping };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome = runtime.block_on(haggle(&mut stream, terms));
    (stream, outcome)
}

#[test]
fn every_option_is_answered_by_one_write() {
    let options = [
        Script::new(FIXED).option(NBD_OPT_LIST, &[]),
        Script(Vec::new()).option(NBD_OPT_STRUCTURED_REPLY, &[]),
        Script(Vec::new()).meta(NBD_OPT_SET_META_CONTEXT, "", &["base:allocation"]),
        Script(Vec::new()).ask(NBD_OPT_GO, "", &[NBD_INFO_NAME, NBD_INFO_DESCRIPTION]),
    ];
    let (stream, outcome) = count(options.map(|script| script.0).to_vec(), false);
    assert!(matches!(outcome, Outcome::Transmission(_)), "{outcome:?}");
    assert_eq!(stream.writes.len(), 1 + 4, "{:?}", stream.writes);
}

#[test]
fn abort_is_graceful_when_the_client_does_not_wait() {
    let (_, outcome) = count(vec![Script::new(FIXED).option(NBD_OPT_ABORT, &[]).0], true);
    assert!(matches!(outcome, Outcome::Ended(Ended::Aborted)), "{outcome:?}");
}

#[test]
fn input_is_never_held_beyond_the_largest_option() {
    let oversized = vec![0; 4 << 20];
    let mut largest = vec![0; MAX_OPTION_BYTES as usize];
    largest[0] = 1;
    let script = Script::new(FIXED).option(NBD_OPT_GO, &oversized).option(NBD_OPT_GO, &largest).option(99, &largest);
    let (stream, _) = count(vec![script.0], false);
    assert!(stream.largest_read <= 2 * (MAX_OPTION_BYTES as usize + 16), "{}", stream.largest_read);
}

fn any_script() -> impl Strategy<Value = Script> {
    let data = prop_oneof![
        Just(Vec::new()),
        proptest::collection::vec(prop_oneof![Just(0u8), 0u8..5, any::<u8>()], 0..24),
        Just(Script(Vec::new()).ask(NBD_OPT_INFO, "disk", &[3]).0[16..].to_vec()),
        Just(Script(Vec::new()).meta(9, "", &["base:allocation"]).0[16..].to_vec()),
    ];
    let options = proptest::collection::vec((0u32..13, data), 0..12);
    let tail = proptest::collection::vec(any::<u8>(), 0..40);
    (0u32..5, options, tail).prop_map(|(flags, options, tail)| {
        let script = options.iter().fold(Script::new(flags), |script, (option, data)| script.option(*option, data));
        script.raw(&tail)
    })
}

proptest! {
    #[test]
    fn random_bytes_end_the_session(bytes: Vec<u8>) {
        let talk = talk(Script(bytes));
        prop_assert!(matches!(talk.outcome, Outcome::Ended(_)), "{:?}", talk.outcome);
    }

    #[test]
    fn random_options_are_each_answered_to_the_end(script in any_script(), tls in 0usize..3) {
        let policy = [TlsPolicy::Off, TlsPolicy::Allow, TlsPolicy::Require][tls];
        let talk = talk_under(script, policy, false);
        if !matches!(&talk.outcome, Outcome::Transmission(_)) {
            // Only whole replies, and NOTLS never asks for TLS.
            let replies = talk.replies();
            prop_assert!(policy != TlsPolicy::Off || replies.iter().all(|reply| reply.kind != NBD_REP_ERR_TLS_REQD));
            prop_assert!(replies.iter().all(|reply| reply.data.len() <= 4096 + 4096 + 4));
        }
    }
}
