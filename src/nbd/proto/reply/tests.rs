//! Golden bytes, and a naive decoder for what is random.

mod golden;
mod status;

use super::*;

const STYLES: [ReplyStyle; 2] = [ReplyStyle::Structured, ReplyStyle::Extended];

fn to(style: ReplyStyle) -> ReplyTo {
    ReplyTo { style, cookie: 0x0102_0304_0506_0708, offset: 0x1122_3344_5566_7788 }
}

fn bytes(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out);
    out.to_vec()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Takes a chunk apart: flags, type, payload.
fn chunk(style: ReplyStyle, bytes: &[u8]) -> (u64, u64, &[u8]) {
    assert_eq!(number(&bytes[8..16]), 0x0102_0304_0506_0708);
    let (magic, length, head) = match style {
        ReplyStyle::Simple => panic!("no chunks"),
        ReplyStyle::Structured => (0x668e_33ef, number(&bytes[16..20]), 20),
        ReplyStyle::Extended => {
            assert_eq!(number(&bytes[16..24]), 0x1122_3344_5566_7788);
            (0x6e8a_278c, number(&bytes[24..32]), 32)
        }
    };
    assert_eq!(number(&bytes[..4]), magic);
    assert_eq!(bytes.len() as u64, head as u64 + length);
    (number(&bytes[4..6]), number(&bytes[6..8]), &bytes[head..])
}
