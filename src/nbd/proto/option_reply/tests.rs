use super::*;
use crate::nbd::proto::constants::NBD_REP_ERR_UNKNOWN;

fn reply(write: impl FnOnce(&mut OptionReply<'_>)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut OptionReply::new(&mut out, 7));
    out.to_vec()
}

const HEAD: [u8; 12] = [0, 3, 0xe8, 0x89, 4, 0x55, 0x65, 0xa9, 0, 0, 0, 7];

#[test]
fn the_greeting_is_that_of_fixed_newstyle() {
    let mut out = BytesMut::new();
    greeting(&mut out);
    assert_eq!(&out[..], b"NBDMAGICIHAVEOPT\0\x03");
}

#[test]
fn export_name_is_answered_with_and_without_zeroes() {
    let mut out = BytesMut::new();
    export_name(&mut out, 0x0102_0304_0506_0708, 0x090a, false);
    assert_eq!(&out[..], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    export_name(&mut out, 0, 0, true);
    assert_eq!(&out[10..], [0; 134]);
}

#[test]
fn option_replies_have_the_bytes_of_the_specification() {
    let mut ack = BytesMut::new();
    OptionReply::new(&mut ack, 7).ack();
    assert_eq!(ack, [&HEAD[..], &[0, 0, 0, 1, 0, 0, 0, 0]].concat());
    assert_eq!(
        reply(|r| r.error(NBD_REP_ERR_UNKNOWN, "no")),
        [&HEAD[..], &[0x80, 0, 0, 6, 0, 0, 0, 2], b"no"].concat()
    );
    assert_eq!(reply(|r| r.server("a", "text")), [&HEAD[..], &[0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 1], b"atext"].concat());
    assert_eq!(
        reply(|r| r.info_export(0x0102_0304_0506_0708, 0x090a)),
        [&HEAD[..], &[0, 0, 0, 3, 0, 0, 0, 12, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]].concat()
    );
    assert_eq!(reply(|r| r.info_name("a")), [&HEAD[..], &[0, 0, 0, 3, 0, 0, 0, 3, 0, 1], b"a"].concat());
    assert_eq!(reply(|r| r.info_description("d")), [&HEAD[..], &[0, 0, 0, 3, 0, 0, 0, 3, 0, 2], b"d"].concat());
    assert_eq!(
        reply(|r| r.info_block_size(BlockSizeInfo { minimum: 1, preferred: 0x1000, maximum_payload: 0x0200_0000 })),
        [&HEAD[..], &[0, 0, 0, 3, 0, 0, 0, 14, 0, 3, 0, 0, 0, 1, 0, 0, 0x10, 0, 2, 0, 0, 0]].concat()
    );
    assert_eq!(
        reply(|r| r.meta_context(5, "base:allocation")),
        [&HEAD[..], &[0, 0, 0, 4, 0, 0, 0, 19, 0, 0, 0, 5], b"base:allocation"].concat()
    );
}

#[test]
fn texts_of_any_length_are_cut() {
    let long = "x".repeat(10_000);
    assert_eq!(reply(|r| r.error(NBD_REP_ERR_UNKNOWN, &long)).len(), 20 + 256);
    assert_eq!(reply(|r| r.info_description(&long)).len(), 20 + 2 + 4096);
    assert_eq!(reply(|r| r.server("a", &long)).len(), 20 + 4 + 1 + 4096);
}
