//! Backends that break their duties: the client gets an error, not a hang, and nobody else notices.

use nbdgate_api::{ByteRange, Error, Io, Kind, Op};

use super::{End, Scripted, Server, client::*};

fn range(offset: u64, length: u64) -> ByteRange {
    ByteRange::new(offset, length).unwrap()
}

/// Reads two megabytes, which are two parts, from a backend that answers the reads as `answer` says.
fn two_parts(name: &str, answer: impl Fn(&Io, ByteRange) -> Result<(), Error> + Clone + Send + Sync + 'static) {
    for style in STYLES {
        for flags in [0, DF] {
            if flags == DF && style == Style::Simple {
                continue;
            }
            let answer = answer.clone();
            let backend = Scripted::new(4 << 20, move |io: Io| {
                let Op::Read(range) = io.op else { return io.reply.end(Ok(())) };
                let outcome = answer(&io, range);
                io.reply.end(outcome);
            });
            let server = Server::new(backend);
            let mut client = server.connect(style);
            let error = client.call_anyhow(Request::new(READ, 0, 2 << 20).flags(flags));
            assert_eq!(error, EIO, "{name}, {style:?}");
            assert_eq!(client.call(Request::flush()).error(), 0, "{name}: the connection lives on");
            assert!(matches!(client.close(), End::Closed));
            server.assert_all_given_back();
        }
    }
}

#[test]
fn a_lost_request_is_an_error() {
    for style in STYLES {
        let server = Server::new(Scripted::new(4 << 20, drop));
        let mut client = server.connect(style);
        assert_eq!(client.call(Request::new(READ, 0, 2 << 20)).error(), EIO);
        assert_eq!(client.call(Request::write(0, [1; 512])).error(), EIO);
        assert_eq!(client.call(Request::new(CACHE, 0, 512)).error(), EIO);
        assert_eq!(client.call(Request::flush()).error(), EIO);
        assert!(matches!(client.close(), End::Closed));
        server.assert_all_given_back();
    }
}

#[test]
fn a_backend_that_panics_is_an_error() {
    for style in STYLES {
        let server = Server::new(Scripted::new(4 << 20, |io: Io| panic!("no {:?} today", io.op)));
        let mut client = server.connect(style);
        assert_eq!(client.call(Request::new(READ, 0, 512)).error(), EIO);
        assert_eq!(client.call(Request::write(0, [1; 512])).error(), EIO);
        assert_eq!(client.call(Request::flush()).error(), EIO);
        assert!(matches!(client.close(), End::Closed));
        server.assert_all_given_back();
    }
}

#[test]
fn a_read_that_ends_short_is_an_error() {
    two_parts("nothing", |_, _| Ok(()));
    two_parts("half of each part", |io, part| {
        io.reply.hole(range(part.offset(), part.length() / 2));
        Ok(())
    });
    two_parts("one part only", |io, part| {
        if part.offset() == 0 {
            io.reply.hole(part);
        }
        Ok(())
    });
}

#[test]
fn a_read_that_delivers_too_much_is_an_error() {
    two_parts("outside the request", |io, part| {
        io.reply.hole(part);
        io.reply.hole(range(3 << 20, 4096));
        Ok(())
    });
    two_parts("absurd lengths", |io, _| {
        io.reply.hole(range(0, u64::MAX));
        io.reply.hole(range(0, u64::MAX));
        Ok(())
    });
    two_parts("its part twice, and then a failure", |io, part| {
        if part.offset() == 0 {
            io.reply.hole(part);
            io.reply.hole(part);
        }
        Err(Error::new(Kind::Io, "out of breath"))
    });
    two_parts("the other's part", |io, part| {
        io.reply.hole(range((1 << 20) - part.offset(), 1 << 20));
        if part.offset() == 0 { Ok(()) } else { Err(Error::new(Kind::Io, "confused")) }
    });
}

#[test]
fn a_read_that_delivers_bytes_twice_and_others_never_is_an_error() {
    two_parts("the first half of each part twice", |io, part| {
        let half = range(part.offset(), part.length() / 2);
        io.reply.hole(half);
        io.reply.hole(half);
        Ok(())
    });
    two_parts("sectors crosswise", |io, part| {
        for piece in part.pieces(1024) {
            io.reply.copy(piece.offset(), &[1; 512]);
            io.reply.copy(piece.offset() + 256, &[1; 512]);
        }
        Ok(())
    });
}

#[test]
fn pieces_of_the_wrong_kind_are_an_error() {
    two_parts("extents", |io, _| {
        io.reply.extents(Vec::new());
        Ok(())
    });
    for style in STYLES {
        let backend = Scripted::new(1 << 20, |io: Io| {
            io.reply.hole(range(0, 512));
            io.reply.end(Ok(()));
        });
        let mut client = Server::new(backend).connect(style);
        assert_eq!(client.call(Request::new(CACHE, 0, 512)).error(), EIO);
        if style != Style::Simple {
            assert_eq!(client.call(Request::new(BLOCK_STATUS, 0, 512)).error(), EIO);
        }
    }
}
