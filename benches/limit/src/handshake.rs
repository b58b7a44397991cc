//! Fixed newstyle negotiation, blocking: EXPORT_NAME, GO, INFO and ABORT; everything else is refused, structured replies
//! among it (proto.md, "Handshake phase"). Every export name is right.

use std::io::{self, Read, Write};

const NBDMAGIC: u64 = 0x4e42_444d_4147_4943;
const IHAVEOPT: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

const FLAG_FIXED_NEWSTYLE: u16 = 1;
const FLAG_NO_ZEROES: u16 = 1 << 1;

const OPT_EXPORT_NAME: u32 = 1;
const OPT_ABORT: u32 = 2;
const OPT_INFO: u32 = 6;
const OPT_GO: u32 = 7;

const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUP: u32 = 1 << 31 | 1;
const INFO_EXPORT: u16 = 0;

/// HAS_FLAGS and SEND_FLUSH.
const TRANSMISSION_FLAGS: u16 = 1 | 1 << 2;
/// Follows the answer to EXPORT_NAME where the client did not ask for NO_ZEROES.
const ZEROES: usize = 124;
/// The longest content of an option, and the most options.
const OPTION_MAX: u32 = 8192;
const OPTIONS_MAX: usize = 64;

/// Haggles over a disk of so many bytes; whether the transmission phase follows.
pub(crate) fn negotiate(stream: &mut (impl Read + Write), size: u64) -> io::Result<bool> {
    let flags = (FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES).to_be_bytes();
    stream.write_all(&[&NBDMAGIC.to_be_bytes()[..], &IHAVEOPT.to_be_bytes(), &flags].concat())?;
    let client_flags = u32::from_be_bytes(read(stream)?);
    let export = [&size.to_be_bytes()[..], &TRANSMISSION_FLAGS.to_be_bytes()].concat();
    for _ in 0..OPTIONS_MAX {
        let magic = u64::from_be_bytes(read(stream)?);
        let (option, length) = (u32::from_be_bytes(read(stream)?), u32::from_be_bytes(read(stream)?));
        if magic != IHAVEOPT || length > OPTION_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "client does not speak newstyle NBD"));
        }
        stream.read_exact(&mut vec![0; length as usize])?;
        match option {
            OPT_EXPORT_NAME => {
                let zeroes = if client_flags & u32::from(FLAG_NO_ZEROES) == 0 { ZEROES } else { 0 };
                stream.write_all(&[&export[..], &vec![0; zeroes]].concat())?;
                return Ok(true);
            }
            OPT_INFO | OPT_GO => {
                let info = [&INFO_EXPORT.to_be_bytes()[..], &export].concat();
                let replies = [reply(option, REP_INFO, &info), reply(option, REP_ACK, &[])];
                stream.write_all(&replies.concat())?;
                if option == OPT_GO {
                    return Ok(true);
                }
            }
            OPT_ABORT => {
                stream.write_all(&reply(option, REP_ACK, &[]))?;
                return Ok(false);
            }
            _ => stream.write_all(&reply(option, REP_ERR_UNSUP, &[]))?,
        }
    }
    Ok(false)
}

fn reply(option: u32, kind: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("replies are short").to_be_bytes();
    [&OPTION_REPLY_MAGIC.to_be_bytes()[..], &option.to_be_bytes(), &kind.to_be_bytes(), &length, content].concat()
}

fn read<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
