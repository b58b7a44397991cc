//! Chunk planning: from the pieces that a backend delivers to the chunks of a reply.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion};
use nbdgate::scheduler::plan::{Chunk, Gather, Stream};
use nbdgate_api::{ByteRange, Piece};

const BLOCK: u64 = 4 << 10;
const LARGE: u64 = 1 << 20;

/// What a backend answers one read with.
struct Answer {
    name: &'static str,
    length: u64,
    /// Bytes of a piece.
    step: u64,
    /// Every second piece is a hole.
    holes: bool,
}

const ANSWERS: [Answer; 4] = [
    Answer { name: "4 KiB, one piece", length: BLOCK, step: BLOCK, holes: false },
    Answer { name: "1 MiB, one piece", length: LARGE, step: LARGE, holes: false },
    Answer { name: "1 MiB, data and holes of 64 KiB", length: LARGE, step: 64 << 10, holes: true },
    // No border but the ends is a multiple of a sector: every piece leaves fragments behind.
    Answer { name: "1 MiB, unaligned pieces", length: LARGE, step: (16 << 10) + 1, holes: true },
];

impl Answer {
    fn request(&self) -> ByteRange {
        ByteRange::between(LARGE, LARGE + self.length)
    }

    /// The pieces, sharing `bytes`.
    fn pieces(&self, bytes: &Bytes) -> Vec<Piece> {
        let piece = |(index, range): (usize, ByteRange)| {
            if self.holes && index % 2 == 1 {
                return Piece::Hole(range);
            }
            let length = usize::try_from(range.length()).expect("a piece lies in memory");
            Piece::Data { offset: range.offset(), bytes: bytes.slice(..length) }
        };
        let offsets = (0..self.length).step_by(usize::try_from(self.step).expect("a step is small"));
        let cut = |start: u64| (LARGE + start, LARGE + (start + self.step).min(self.length));
        offsets.map(cut).map(|(start, end)| ByteRange::between(start, end)).enumerate().map(piece).collect()
    }
}

fn streamed(request: ByteRange, pieces: Vec<Piece>, chunks: &mut Vec<Chunk>) {
    let mut stream = Stream::new(request);
    for piece in pieces {
        stream.push(piece, chunks).expect("the pieces cover the request once");
    }
    assert!(stream.is_covered(), "the pieces cover the request");
}

fn gathered(request: ByteRange, pieces: Vec<Piece>) -> Chunk {
    let mut gather = Gather::new(request);
    for piece in pieces {
        gather.push(piece);
    }
    gather.finish().expect("the pieces cover the request once")
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let bytes = Bytes::from(vec![0x5a; usize::try_from(LARGE).expect("a mebibyte fits")]);
    for answer in &ANSWERS {
        let request = answer.request();
        criterion.bench_function(&format!("plan/stream {}", answer.name), |bench| {
            // A connection reuses the list of chunks, too.
            let mut chunks = Vec::new();
            bench.iter_batched(
                || answer.pieces(&bytes),
                |pieces| {
                    chunks.clear();
                    streamed(black_box(request), pieces, &mut chunks);
                },
                BatchSize::SmallInput,
            );
        });
        criterion.bench_function(&format!("plan/gather {}", answer.name), |bench| {
            bench.iter_batched(
                || answer.pieces(&bytes),
                |pieces| gathered(black_box(request), pieces),
                BatchSize::SmallInput,
            );
        });
    }
    criterion.final_summary();
}
