//! The form of replies.

use std::sync::Arc;

use nbdgate_api::{ByteRange, Error, Extent, ExtentKind, Io, Kind, Op};
use nbdgate_layers::{Action, Fault, Rule};
use nbdgate_memory::Memory;

use super::{
    MIB, Scripted, Server,
    answer::{Answer, Chunk, ERROR, ERROR_OFFSET, NONE, OFFSET_DATA, OFFSET_HOLE, STATUS, STATUS_EXT},
    client::*,
    pattern, until,
};

/// A disk whose second megabyte cannot be read.
fn with_a_bad_piece() -> Server {
    let fault = Fault::new(Arc::new(Memory::new(4 << 20).unwrap()), 1);
    let bad = |op: &Op| matches!(op, Op::Read(range) if range.offset() == 1 << 20);
    fault.add(Rule::new(Action::FailPiece(Kind::Io), bad).always());
    Server::new(Arc::new(fault))
}

#[test]
fn replies_carry_the_cookie_of_their_request() {
    for style in STYLES {
        let mut client = Server::memory(1 << 20).connect(style);
        for cookie in [u64::MAX, 1, 0x0102_0304_0506_0708] {
            for request in [Request::new(READ, 0, 4096), Request::flush(), Request::new(READ, u64::MAX, 1)] {
                assert_eq!(client.call(request.cookie(cookie)).request.cookie, cookie);
            }
        }
    }
}

#[test]
fn a_failed_simple_read_sends_no_payload() {
    let mut client = with_a_bad_piece().connect(Style::Simple);
    client.write(0, pattern(1, 4096));
    let answer = client.call(Request::new(READ, 0, 3 << 20));
    assert!(matches!(&answer.chunks[..], [Chunk::Simple { error: EIO, data }] if data.is_empty()));
    assert_eq!(client.read(0, 4096), pattern(1, 4096), "the stream can still be followed");
}

#[test]
fn structured_reads_are_answered_by_chunks_also_when_refused() {
    let mut client = with_a_bad_piece().connect(Style::Structured);
    client.write(0, pattern(1, 4096));
    assert_eq!(client.call(Request::new(READ, 0, 4096)).kinds()[0], OFFSET_DATA);
    assert_eq!(client.call(Request::new(READ, 0, 0)).kinds(), [ERROR]);
    assert_eq!(client.call(Request::new(READ, 4 << 20, 1)).kinds(), [ERROR]);
    assert_eq!(client.call(Request::new(READ, 1 << 20, 4096)).kinds()[0], ERROR_OFFSET);
    assert!(matches!(client.call(Request::flush()).chunks[..], [Chunk::Simple { error: 0, .. }]));
}

#[test]
fn extended_replies_are_all_extended_chunks() {
    let mut client = Server::memory(1 << 20).connect(Style::Extended);
    // The client panics on any other magic and on a wrong offset; here is what the chunks are.
    assert_eq!(client.call(Request::write(4096, vec![7; 4096])).kinds(), [NONE]);
    assert_eq!(client.call(Request::flush()).kinds(), [NONE]);
    assert_eq!(client.call(Request::new(TRIM, 4096, 512)).kinds(), [NONE]);
    assert_eq!(client.call(Request::new(READ, 6144, 512)).kinds()[0], OFFSET_DATA);
    assert_eq!(client.call(Request::new(BLOCK_STATUS, 4096, 512)).kinds(), [STATUS_EXT]);
    assert_eq!(client.call(Request::new(999, 77, 5)).kinds(), [ERROR]);
}

#[test]
fn done_is_on_the_last_chunk_only() {
    // Both halves come at once, or the second after the first was sent.
    for late in [false, true] {
        let fault = Arc::new(Fault::new(Arc::new(Memory::new(4 << 20).unwrap()), 1));
        if late {
            fault.add(Rule::new(Action::Hold, |op| matches!(op, Op::Read(range) if range.offset() == 1 << 20)));
        }
        let server = Server::new(fault.clone());
        let mut client = server.connect(Style::Structured);
        client.write(0, pattern(1, 2 << 20));
        let cookie = client.send(Request::new(READ, 0, 2 << 20));
        if late {
            assert_eq!(client.take_chunk().unwrap(), cookie, "the half that is ready comes first");
            until("the read is held", || fault.release());
        }
        // That DONE is on the last chunk and on no other is asserted of every answer.
        let answer = client.answer(cookie);
        assert!(answer.chunks.len() >= 2);
        assert_eq!(answer.content(), pattern(1, 2 << 20));
    }
}

#[test]
fn a_chunk_that_leaves_before_the_backend_ended_is_not_the_last() {
    let held = Arc::new(parking_lot::Mutex::new(None));
    let keep = held.clone();
    let backend = Scripted::new(1 << 20, move |io| {
        io.reply.data(0, pattern(3, 4096).into());
        *keep.lock() = Some(io.reply);
    });
    let mut client = Server::new(backend).connect(Style::Extended);
    let cookie = client.send(Request::new(READ, 0, 4096));
    client.take_chunk().unwrap();
    held.lock().take().unwrap().end(Err(Error::new(Kind::Io, "too late")));
    let answer = client.answer(cookie);
    assert_eq!((answer.kinds(), answer.error()), (vec![OFFSET_DATA, ERROR_OFFSET], EIO));
    let cookie = client.send(Request::new(READ, 0, 4096));
    client.take_chunk().unwrap();
    held.lock().take().unwrap().end(Ok(()));
    assert_eq!(client.answer(cookie).kinds(), [OFFSET_DATA, NONE]);
}

#[test]
fn chunks_cover_a_read_exactly_once() {
    for style in STYLES {
        let mut client = Server::memory(8 << 20).connect(style);
        client.write(100, pattern(1, 300_000));
        client.write((2 << 20) - 7, pattern(2, 20_000));
        let mut expected = vec![0; 8 << 20];
        expected[100..300_100].copy_from_slice(&pattern(1, 300_000));
        expected[(2 << 20) - 7..][..20_000].copy_from_slice(&pattern(2, 20_000));
        for (offset, length) in [(0, 8 << 20), (99, 5), (0, 1), (511, 2), (1 << 20, 3 << 20), (77, 4_000_001)] {
            // That chunks do not overlap and leave nothing out is asserted of every answer.
            assert_eq!(client.read(offset as u64, length as u64), expected[offset..offset + length]);
        }
    }
}

#[test]
fn chunk_borders_are_multiples_of_512() {
    // Pieces of odd lengths, in an order that leaves every sector open for a while.
    let backend = Scripted::new(1 << 20, |io| {
        let range = io.op.range().unwrap();
        let bytes = pattern(9, 1 << 20);
        let pieces: Vec<ByteRange> = range.pieces(777).collect();
        for piece in pieces.iter().step_by(2).chain(pieces.iter().skip(1).step_by(2)) {
            let (from, to) = (usize::try_from(piece.offset()).unwrap(), usize::try_from(piece.end()).unwrap());
            io.reply.copy(piece.offset(), &bytes[from..to]);
        }
        io.reply.end(Ok(()));
    });
    let mut client = Server::new(backend).connect(Style::Structured);
    for (offset, length) in [(0, 65_536), (13, 65_500), (700, 100), (511, 1), (1, 99_999)] {
        // Borders are asserted of every answer.
        assert_eq!(client.read(offset as u64, length as u64), pattern(9, 1 << 20)[offset..offset + length]);
    }
}

#[test]
fn df_reads_have_one_content_chunk() {
    for style in [Style::Structured, Style::Extended] {
        let mut client = Server::memory(8 << 20).connect(style);
        client.write(1 << 20, pattern(1, 100));
        let answer = client.call(Request::new(READ, 5, 6 << 20).flags(DF));
        assert_eq!(answer.kinds(), [OFFSET_DATA]);
        assert_eq!(answer.content()[(1 << 20) - 5..][..100], pattern(1, 100));
        let answer = client.call(Request::new(READ, 4 << 20, 4 << 20).flags(DF));
        assert!(matches!(answer.kinds()[..], [OFFSET_DATA | OFFSET_HOLE]));
        assert!(answer.content().iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_failed_piece_is_an_error_at_its_offset() {
    for style in [Style::Structured, Style::Extended] {
        let mut client = with_a_bad_piece().connect(style);
        client.write(0, pattern(1, 4096));
        let answer = client.call(Request::new(READ, 0, 4 << 20));
        assert_eq!((answer.error(), answer.failed_at()), (EIO, vec![1 << 20]));
        assert!(!answer.kinds().contains(&ERROR), "errors with and without offsets are not mixed");
        let delivered: u64 = answer.contents().iter().map(|(_, length, _)| length).sum();
        assert_eq!(delivered, 3 << 20, "the other pieces are delivered");
        let answer = client.call(Request::new(READ, 0, 4 << 20).flags(DF));
        assert_eq!(answer.kinds(), [ERROR], "one chunk can only fail as a whole");
    }
}

#[test]
fn block_status_has_one_chunk_for_each_context() {
    for (style, kind) in [(Style::Structured, STATUS), (Style::Extended, STATUS_EXT)] {
        let mut client = Server::memory(u64::from(MIB)).connect(style);
        client.write(256 << 10, vec![1; 256 << 10]);
        let answer = client.call(Request::new(BLOCK_STATUS, 0, MIB.into()));
        assert_eq!(answer.kinds(), [kind]);
        assert_eq!(answer.extents(), [(256 << 10, 3), (256 << 10, 0), (512 << 10, 3)]);
        let answer = client.call(Request::new(BLOCK_STATUS, 512, 300 << 10).flags(REQ_ONE));
        assert_eq!(answer.extents(), [((256 << 10) - 512, 3)]);
    }
    let mut client = Server::memory(u64::from(MIB)).connect(Style::Extended);
    let mut filter = Request::new(BLOCK_STATUS, 512, 12).flags(PAYLOAD_LEN);
    filter.payload = [&1024_u64.to_be_bytes()[..], &1_u32.to_be_bytes()[..]].concat();
    assert_eq!(client.call(filter.clone()).extents(), [(1024, 3)]);
    filter.payload[11] = 9;
    assert_eq!(client.call(filter).error(), EINVAL, "context 9 was not selected");
    assert_eq!(client.read(0, 512), [0; 512], "the payload was consumed");
}

/// Answers a dirty status with what its bitmap's name says: a dirty stretch of so many KiB, then a clean one.
fn with_bitmaps() -> Server {
    let extent = |start: u64, end: u64, kind| Extent { range: ByteRange::between(start, end), kind };
    Server::new(Scripted::new(1 << 20, move |io: Io| match io.op {
        Op::DirtyStatus { range, bitmap, .. } => {
            let Ok(kib) = bitmap.parse::<u64>() else {
                return io.reply.end(Err(Error::new(Kind::NotSupported, "no such bitmap")));
            };
            let cut = range.offset() + (kib << 10);
            let dirty = extent(range.offset(), cut, ExtentKind::Dirty);
            io.reply.extents(vec![dirty, extent(cut, range.end(), ExtentKind::Clean)]);
            io.reply.end(Ok(()));
        }
        Op::BlockStatus { range, .. } => {
            io.reply.extents(vec![Extent { range, kind: ExtentKind::Hole }]);
            io.reply.end(Ok(()));
        }
        op => panic!("{op:?} was not asked"),
    }))
}

/// The status chunks of an answer: context, and descriptors of 8 or 16 bytes as (length, status).
fn statuses(answer: &Answer, style: Style) -> Vec<(u64, Vec<(u64, u64)>)> {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let (head, half) = if style == Style::Extended { (8, 8) } else { (4, 4) };
    let bodies = answer.chunks.iter().map(|chunk| match chunk {
        Chunk::Part { body, .. } => body,
        Chunk::Simple { .. } => panic!("a simple reply has no status"),
    });
    let descriptors = |body: &[u8]| -> Vec<(u64, u64)> {
        body[head..].chunks(2 * half).map(|pair| (number(&pair[..half]), number(&pair[half..]))).collect()
    };
    bodies.map(|body| (number(&body[..4]), descriptors(body))).collect()
}

#[test]
fn block_status_tells_each_dirty_bitmap_in_a_chunk_of_its_own() {
    for (style, kind) in [(Style::Structured, STATUS), (Style::Extended, STATUS_EXT)] {
        let server = with_bitmaps();
        let mut client = server.connect_with(style, &["4", "64"]);
        let answer = client.call(Request::new(BLOCK_STATUS, 8192, 128 << 10));
        assert_eq!(answer.kinds(), [kind; 3]);
        let bitmap = |kib: u64| vec![(kib << 10, 1), ((128 - kib) << 10, 0)];
        let expected = vec![(1, vec![(128 << 10, 3)]), (2, bitmap(4)), (3, bitmap(64))];
        assert_eq!(statuses(&answer, style), expected);
        drop(client);
        let mut client = server.connect_with(style, &["gone", "4"]);
        let answer = client.call(Request::new(BLOCK_STATUS, 0, 4096));
        assert_eq!((answer.kinds(), answer.error()), (vec![ERROR], EINVAL), "one that fails fails all");
    }
}

#[test]
fn a_failed_block_status_is_an_error_chunk() {
    for style in [Style::Structured, Style::Extended] {
        let fault = Fault::new(Arc::new(Memory::new(1 << 20).unwrap()), 1);
        fault.add(Rule::new(Action::FailAfter(Kind::Io), |op| matches!(op, Op::BlockStatus { .. })));
        let mut client = Server::new(Arc::new(fault)).connect(style);
        let answer = client.call(Request::new(BLOCK_STATUS, 0, 4096));
        assert_eq!((answer.kinds(), answer.error()), (vec![ERROR], EIO));
        assert_eq!(client.call(Request::new(BLOCK_STATUS, 0, 4096)).error(), 0);
    }
}

#[test]
fn a_full_disk_is_enospc() {
    for style in STYLES {
        let fault = Fault::new(Arc::new(Memory::new(1 << 20).unwrap()), 1);
        let full = Error::from_io(std::io::ErrorKind::QuotaExceeded.into(), "writing").kind();
        fault.add(Rule::new(Action::Fail(full), |op| matches!(op, Op::Write { .. })));
        let mut client = Server::new(Arc::new(fault)).connect(style);
        assert_eq!(client.call(Request::write(0, [1; 512])).error(), ENOSPC);
        assert_eq!(client.call(Request::write((1 << 20) - 511, [1; 512])).error(), ENOSPC, "past the end");
        client.write(0, [1; 512]);
    }
}
