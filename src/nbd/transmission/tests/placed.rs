//! Data that a backend does not hand over: lent memory that it fills, and bytes that stand in a file.

use std::{fs::File, io::Write, sync::Arc};

use nbdgate_api::{Backend, ByteRange, Error, Io, Kind, Op, Stored};

use super::{
    End, Scripted, Server,
    answer::{ERROR, ERROR_OFFSET, OFFSET_DATA},
    client::*,
    pattern,
};

/// A disk of 4 MiB in a file, whose reads are offered in pieces of `step` bytes.
fn offering(step: u64, keep: u64) -> Arc<dyn Backend> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&pattern(3, 4 << 20)).unwrap();
    file.set_len(keep).unwrap();
    let file = Arc::new(file);
    Scripted::new(4 << 20, move |io| {
        let Io { op: Op::Read(range), reply } = io else { panic!("the disk is only read") };
        for piece in range.pieces(step) {
            reply.stored(stored(&file, piece)).expect("a connection takes bytes of files");
        }
        reply.end(Ok(()));
    })
}

fn stored(file: &Arc<File>, range: ByteRange) -> Stored {
    let length = u32::try_from(range.length()).unwrap();
    Stored { offset: range.offset(), length, file: file.clone(), at: range.offset() }
}

#[test]
fn bytes_of_a_file_arrive_whole_and_in_parts() {
    let whole = pattern(3, 4 << 20);
    for (style, step) in STYLES.into_iter().flat_map(|style| [(style, 4 << 20), (style, 100_000), (style, 777)]) {
        let mut client = Server::new(offering(step, 4 << 20)).connect(style);
        for (offset, length) in [(0, 131_072), (5, 40_001), (511, 3 << 20), ((4 << 20) - 9, 9), (0, 4 << 20)] {
            let found = client.read(offset as u64, length as u64);
            assert!(found == whole[offset..offset + length], "{style:?}, {offset}+{length} in steps of {step}");
        }
    }
}

#[test]
fn replies_behind_bytes_of_a_file_keep_their_order() {
    let mut client = Server::new(offering(4 << 20, 4 << 20)).connect(Style::Structured);
    let cookies: Vec<_> = (0..40)
        .map(|index| client.send(Request::new(READ, index * 70_000, if index % 3 == 0 { 100 } else { 60_000 })))
        .collect();
    for (index, cookie) in cookies.into_iter().enumerate() {
        let length = if index % 3 == 0 { 100 } else { 60_000 };
        let answer = client.answer(cookie);
        assert_eq!(answer.kinds(), [OFFSET_DATA]);
        assert!(answer.content() == pattern(3, 4 << 20)[index * 70_000..][..length]);
    }
}

#[test]
fn a_file_that_became_shorter_ends_the_connection_where_a_reply_has_begun() {
    let mut client = Server::new(offering(4 << 20, 1 << 20)).connect(Style::Simple);
    client.send(Request::new(READ, 1 << 20, 65_536));
    assert!(matches!(client.end(), End::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof));
}

#[test]
fn a_file_that_became_shorter_is_an_error_where_a_reply_is_put_together() {
    let mut client = Server::new(offering(65_536, 1 << 20)).connect(Style::Structured);
    let answer = client.call(Request::new(READ, (1 << 20) - 65_536, 131_072));
    assert_eq!((answer.error(), answer.failed_at()), (EIO, vec![1 << 20]));
    assert_eq!(client.call(Request::new(READ, (1 << 20) - 65_536, 131_072).flags(DF)).kinds(), [ERROR]);
}

#[test]
fn lent_memory_that_is_not_filled_delivers_nothing() {
    let backend = Scripted::new(1 << 20, |io| {
        let range = io.op.range().unwrap();
        let length = usize::try_from(range.length()).unwrap();
        assert!(!io.reply.fill(range.offset(), length, &mut |memory| {
            memory.fill(0xEE);
            false
        }));
        io.reply.copy(range.offset(), &pattern(4, 1 << 20)[..length]);
        io.reply.end(Ok(()));
    });
    for style in STYLES {
        let mut client = Server::new(backend.clone()).connect(style);
        for length in [1, 4096, 32_768, 40_000] {
            assert!(client.read(0, length as u64) == pattern(4, 1 << 20)[..length]);
        }
    }
}

#[test]
fn a_read_that_fails_after_it_was_filled_is_an_error() {
    let backend = Scripted::new(1 << 20, |io| {
        io.reply.copy(0, &[1; 4096]);
        io.reply.end(Err(Error::new(Kind::Io, "too late")));
    });
    for (style, kind) in [(Style::Structured, ERROR_OFFSET), (Style::Extended, ERROR_OFFSET)] {
        let answer = Server::new(backend.clone()).connect(style).call(Request::new(READ, 0, 4096));
        assert_eq!((answer.error(), answer.kinds()), (EIO, vec![kind]));
    }
    assert_eq!(Server::new(backend).connect(Style::Simple).call(Request::new(READ, 0, 4096)).error(), EIO);
}
