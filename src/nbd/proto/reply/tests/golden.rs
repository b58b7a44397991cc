//! The bytes of the specification.

use super::*;

const COOKIE: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
const OFFSET: [u8; 8] = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88];

fn structured(flags: u8, kind: [u8; 2], length: u8) -> Vec<u8> {
    [&[0x66, 0x8e, 0x33, 0xef, 0, flags][..], &kind, &COOKIE, &[0, 0, 0, length]].concat()
}

fn extended(flags: u8, kind: [u8; 2], length: u8) -> Vec<u8> {
    [&[0x6e, 0x8a, 0x27, 0x8c, 0, flags][..], &kind, &COOKIE, &OFFSET, &[0, 0, 0, 0, 0, 0, 0, length]].concat()
}

#[test]
fn simple_replies() {
    let to = to(ReplyStyle::Simple);
    let ok = [&[0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0][..], &COOKIE].concat();
    assert_eq!(bytes(|out| to.simple_data_header(out)), ok);
    assert_eq!(bytes(|out| to.success(out)), ok);
    let error = [&[0x67, 0x44, 0x66, 0x98, 0, 0, 0, 28][..], &COOKIE].concat();
    assert_eq!(bytes(|out| to.error(out, Kind::NoSpace, "never sent", Done::Yes)), error);
}

#[test]
fn success_is_simple_when_structured_and_a_chunk_when_extended() {
    let simple = [&[0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0][..], &COOKIE].concat();
    assert_eq!(bytes(|out| to(ReplyStyle::Structured).success(out)), simple);
    assert_eq!(bytes(|out| to(ReplyStyle::Extended).success(out)), extended(1, [0, 0], 0));
}

#[test]
fn none_is_empty_and_always_done() {
    assert_eq!(bytes(|out| to(ReplyStyle::Structured).none(out)), structured(1, [0, 0], 0));
    assert_eq!(bytes(|out| to(ReplyStyle::Extended).none(out)), extended(1, [0, 0], 0));
}

#[test]
fn data_headers_count_the_offset_and_the_data() {
    for (done, flag) in [(Done::No, 0), (Done::Yes, 1)] {
        let body = [0, 0, 0, 0, 0, 0, 2, 0];
        for (style, head) in
            [(ReplyStyle::Structured, structured(flag, [0, 1], 72)), (ReplyStyle::Extended, extended(flag, [0, 1], 72))]
        {
            let header = bytes(|out| to(style).data_header(out, 512, 64, done));
            assert_eq!(header, [&head[..], &body].concat());
            assert_eq!(header.len(), style.data_header_bytes());
        }
    }
}

#[test]
fn holes_are_twelve_bytes() {
    let body = [0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0x10, 0];
    let range = ByteRange::between(512, 512 + 4096);
    for (style, head) in
        [(ReplyStyle::Structured, structured(0, [0, 2], 12)), (ReplyStyle::Extended, extended(0, [0, 2], 12))]
    {
        assert_eq!(bytes(|out| to(style).hole(out, range, Done::No)), [&head[..], &body].concat());
    }
}

#[test]
fn errors_carry_number_and_text() {
    let body = [&[0, 0, 0, 22, 0, 3][..], b"bad"].concat();
    for (style, head) in
        [(ReplyStyle::Structured, structured(1, [0x80, 1], 9)), (ReplyStyle::Extended, extended(1, [0x80, 1], 9))]
    {
        assert_eq!(bytes(|out| to(style).error(out, Kind::Invalid, "bad", Done::Yes)), [&head[..], &body].concat());
    }
}

#[test]
fn error_offsets_carry_number_text_and_place() {
    let body = [&[0, 0, 0, 5, 0, 3][..], b"bad", &[0, 0, 0, 0, 0, 0, 2, 0]].concat();
    for (style, head) in
        [(ReplyStyle::Structured, structured(0, [0x80, 2], 17)), (ReplyStyle::Extended, extended(0, [0x80, 2], 17))]
    {
        let error = bytes(|out| to(style).error_offset(out, Kind::Io, "bad", 512, Done::No));
        assert_eq!(error, [&head[..], &body].concat());
    }
}

#[test]
fn error_texts_are_bounded() {
    for style in STYLES {
        let text = "x".repeat(70_000);
        let error = bytes(|out| to(style).error(out, Kind::Io, &text, Done::Yes));
        assert_eq!(chunk(style, &error).2.len(), 6 + 256);
        let error = bytes(|out| to(style).error_offset(out, Kind::Io, &text, 0, Done::Yes));
        assert_eq!(chunk(style, &error).2.len(), 14 + 256);
    }
}

#[test]
fn replies_are_appended() {
    let mut out = BytesMut::from(&b"before"[..]);
    to(ReplyStyle::Structured).none(&mut out);
    assert_eq!(out, [b"before", &structured(1, [0, 0], 0)[..]].concat());
}

#[test]
#[should_panic(expected = "no chunks")]
fn the_simple_style_cannot_send_chunks() {
    bytes(|out| to(ReplyStyle::Simple).none(out));
}
