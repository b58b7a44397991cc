//! Random requests that keep the caller's duties C1, C2 and C4.

use rand::{Rng, rngs::StdRng};

use crate::{ByteRange, Info, Op, Payload, Zeroes, conformance::disk::longest_transfer};

pub(super) struct Generator {
    rng: StdRng,
    info: Info,
}

impl Generator {
    pub(super) fn new(rng: StdRng, info: Info) -> Self {
        Self { rng, info }
    }

    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.rng.random_range(0..limit)
    }

    /// Any request that the backend serves.
    pub(super) fn op(&mut self) -> Op {
        let capabilities = self.info.capabilities;
        loop {
            match self.below(20) {
                0..8 => return Op::Read(self.transfer()),
                8..15 if !self.info.read_only => return self.mutation(),
                15 => return Op::Flush,
                16 if capabilities.cache => return Op::Cache(self.range(self.info.size)),
                17..20 if capabilities.extents => {
                    let req_one = self.rng.random();
                    return Op::BlockStatus { range: self.range(self.info.size), req_one };
                }
                _ => {}
            }
        }
    }

    /// A WRITE, TRIM or WRITE_ZEROES.
    pub(super) fn mutation(&mut self) -> Op {
        let capabilities = self.info.capabilities;
        let fua = capabilities.fua && self.rng.random_ratio(1, 4);
        loop {
            match self.below(10) {
                0..6 => {
                    let range = self.transfer();
                    return Op::Write { offset: range.offset(), payload: self.payload(range.length()), fua };
                }
                6..8 if capabilities.trim => return Op::Trim { range: self.range(self.info.size), fua },
                8..10 if capabilities.write_zeroes => {
                    let fast = capabilities.fast_zero && self.rng.random();
                    let zeroes = Zeroes { no_hole: self.rng.random(), fast };
                    return Op::WriteZeroes { range: self.range(self.info.size), zeroes, fua };
                }
                _ => {}
            }
        }
    }

    /// A range for one READ or WRITE.
    pub(super) fn transfer(&mut self) -> ByteRange {
        self.range(longest_transfer(&self.info))
    }

    /// A range of at most `longest` bytes: short ones as likely as long ones, often near a power of two or at the end.
    pub(super) fn range(&mut self, longest: u64) -> ByteRange {
        let block = u64::from(self.info.block.minimum);
        let blocks = self.info.size / block;
        let most = (longest / block).clamp(1, blocks);
        let length = self.logarithmic(most);
        let start = match self.below(8) {
            0 => blocks - length,
            1..4 => {
                let border = 1_u64 << self.below(u64::from(u64::BITS - blocks.leading_zeros()));
                border.saturating_sub(self.below(length + 1)).min(blocks - length)
            }
            _ => self.below(blocks - length + 1),
        };
        ByteRange::between(start * block, (start + length) * block)
    }

    /// Random bytes, sometimes zeros, in one to four slices.
    pub(super) fn payload(&mut self, length: u64) -> Payload {
        let mut payload = Payload::default();
        let mut rest = length;
        for _ in 0..self.below(4) {
            let take = self.below(rest + 1);
            payload.push(self.bytes(take).into());
            rest -= take;
        }
        payload.push(self.bytes(rest).into());
        payload
    }

    /// Random bytes, in one case of eight zeros.
    pub(super) fn bytes(&mut self, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(length).expect("a payload fits in memory")];
        if self.below(8) > 0 {
            self.rng.fill(&mut bytes[..]);
        }
        bytes
    }

    /// From 1 to `most`, with every power of two as likely as the others.
    fn logarithmic(&mut self, most: u64) -> u64 {
        let magnitude = self.below(u64::from(u64::BITS - most.leading_zeros()));
        self.rng.random_range(1 << magnitude..=(2_u64 << magnitude) - 1).min(most)
    }
}
