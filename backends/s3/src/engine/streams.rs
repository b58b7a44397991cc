//! Which reads follow each other, and how far ahead of them to read (OBJECT-LOG §5.4).
//!
//! A read that begins where another ended makes a stream of both. A stream reads ahead 256 KiB at first; each time its
//! reader comes near the end of what was read ahead, the window doubles. Reads that follow nothing cost nothing but
//! the place of the stream that was used least recently.

use std::ops::Range;

/// Streams that are told apart at once.
const STREAMS: usize = 8;

/// The first window, in bytes.
const FIRST: u64 = 256 << 10;

/// A stream is active while it had one of so many last reads.
const ACTIVE: u64 = 256;

/// Detectors over one kind of order. A *space* separates positions that have nothing to do with each other.
#[derive(Debug, Default)]
pub(super) struct Streams {
    list: Vec<Stream>,
    clock: u64,
}

#[derive(Debug)]
struct Stream {
    space: u32,
    /// Where its next read is expected.
    next: u64,
    /// How far was read ahead.
    ahead: u64,
    /// The next window; 0 until two reads followed each other.
    window: u64,
    used: u64,
}

/// What a read means for the order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// It follows an earlier one.
    pub(super) follows: bool,
    /// What to read ahead now.
    pub(super) ahead: Option<Range<u64>>,
}

impl Streams {
    /// Takes note of a read; `longest` is what all streams may read ahead together, `most` what one may.
    pub(super) fn saw(&mut self, space: u32, read: Range<u64>, most: u64, longest: u64) -> Seen {
        self.clock += 1;
        let clock = self.clock;
        let active = self.list.iter().filter(|stream| stream.window > 0 && stream.used + ACTIVE > clock).count();
        let most = most.min(longest / (active as u64).max(1));
        if let Some(stream) = self.list.iter_mut().find(|stream| stream.space == space && stream.expects(read.start)) {
            stream.used = clock;
            return Seen { follows: true, ahead: stream.advance(read.end, most) };
        }
        let new = Stream { space, next: read.end, ahead: read.end, window: 0, used: clock };
        if self.list.len() < STREAMS {
            self.list.push(new);
        } else {
            let oldest = self.list.iter_mut().min_by_key(|stream| stream.used).expect("the list is full");
            *oldest = new;
        }
        Seen::default()
    }
}

impl Stream {
    /// Whether a read from `start` on is its next. Once it is a stream, its reads may come out of order.
    fn expects(&self, start: u64) -> bool {
        start == self.next || self.window > 0 && start >= self.next.saturating_sub(FIRST) && start < self.ahead
    }

    fn advance(&mut self, end: u64, most: u64) -> Option<Range<u64>> {
        self.next = self.next.max(end);
        self.ahead = self.ahead.max(self.next);
        let first = self.window == 0;
        if first {
            self.window = FIRST;
        }
        self.window = self.window.min(most);
        let left = self.ahead - self.next;
        // A growing window waits until its reader is near; a full one is topped up in quarters, to stay a few long requests.
        let due = first || if self.window < most { left <= self.window / 4 } else { left + most / 4 <= most };
        if !due || self.window == 0 {
            return None;
        }
        let from = self.ahead;
        self.ahead = self.next + self.window;
        self.window = (self.window * 2).min(most);
        (from < self.ahead).then_some(from..self.ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = 16 << 20;

    fn read(streams: &mut Streams, start: u64, length: u64) -> Seen {
        streams.saw(0, start..start + length, MOST, 2 * MOST)
    }

    #[test]
    fn a_sequential_reader_is_led_by_a_growing_window_without_gaps() {
        let mut streams = Streams::default();
        assert_eq!(read(&mut streams, 0, 4096), Seen::default());
        let mut ahead = 8192;
        let mut windows = Vec::new();
        for at in (4096..64 << 20).step_by(4096) {
            let seen = read(&mut streams, at, 4096);
            assert!(seen.follows);
            if let Some(range) = seen.ahead {
                assert_eq!(range.start, ahead, "what is read ahead is read once");
                windows.push(range.end - (at + 4096));
                ahead = range.end;
            }
            assert!(ahead >= at + 4096, "the reader never comes before it");
        }
        assert_eq!(windows[..4], [256 << 10, 512 << 10, 1 << 20, 2 << 20]);
        assert!(windows.iter().skip(8).all(|&window| window == MOST), "{windows:?}");
        assert!(windows.len() < 32, "{} requests for 64 MiB", windows.len());
    }

    #[test]
    fn random_reads_are_no_stream() {
        let mut streams = Streams::default();
        for n in 0..10_000_u64 {
            let at = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24 << 12;
            assert_eq!(read(&mut streams, at, 4096), Seen::default());
        }
    }

    #[test]
    fn several_streams_are_followed_at_once_and_share_the_budget() {
        let mut streams = Streams::default();
        let mut most = [0; 4];
        for step in 0..4000_u64 {
            for stream in 0..4_u64 {
                let at = (stream << 40) + step * 65_536;
                let seen = read(&mut streams, at, 65_536);
                assert_eq!(seen.follows, step > 0);
                if let Some(range) = seen.ahead {
                    let slot = &mut most[usize::try_from(stream).unwrap()];
                    *slot = (*slot).max(range.end - at - 65_536);
                }
            }
        }
        assert_eq!(most, [2 * MOST / 4; 4]);
    }

    #[test]
    fn reads_of_a_stream_may_come_out_of_order() {
        let mut streams = Streams::default();
        for at in [0, 4096, 8192, 16_384, 12_288, 24_576, 20_480] {
            assert_eq!(read(&mut streams, at, 4096).follows, at > 0, "{at}");
        }
    }

    #[test]
    fn spaces_are_apart_and_none_is_read_ahead_where_nothing_may_be() {
        let mut streams = Streams::default();
        streams.saw(1, 0..4096, MOST, MOST);
        assert!(!streams.saw(2, 4096..8192, MOST, MOST).follows);
        assert_eq!(streams.saw(1, 4096..8192, 0, 0), Seen { follows: true, ahead: None });
    }
}
