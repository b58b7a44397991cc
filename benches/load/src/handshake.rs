//! Fixed newstyle negotiation, blocking: STRUCTURED_REPLY if asked for, then GO (proto.md, "Handshake phase").

use std::io::{Read, Write};

use anyhow::{Context, bail, ensure};

const NBDMAGIC: u64 = 0x4e42_444d_4147_4943;
const IHAVEOPT: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

const FLAG_FIXED_NEWSTYLE: u16 = 1;
const FLAG_NO_ZEROES: u16 = 1 << 1;

const OPT_GO: u32 = 7;
const OPT_STRUCTURED_REPLY: u32 = 8;

const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERROR_BIT: u32 = 1 << 31;
const INFO_EXPORT: u16 = 0;

const FLAG_READ_ONLY: u16 = 1 << 1;
const FLAG_SEND_FLUSH: u16 = 1 << 2;
const FLAG_CAN_MULTI_CONN: u16 = 1 << 8;

/// The longest option reply that is read; strings of the protocol end at 4096 bytes.
const OPTION_REPLY_MAX: u32 = 8192;
/// Replies to one option before the server is taken for mad.
const OPTION_REPLIES_MAX: usize = 64;

/// What GO told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Export {
    /// Bytes.
    pub(crate) size: u64,
    flags: u16,
}

impl Export {
    /// Whether writes are refused.
    pub(crate) fn is_read_only(self) -> bool {
        self.flags & FLAG_READ_ONLY != 0
    }

    /// Whether FLUSH is known.
    pub(crate) fn can_flush(self) -> bool {
        self.flags & FLAG_SEND_FLUSH != 0
    }

    /// Whether what one connection wrote is what the others read.
    pub(crate) fn can_multi_conn(self) -> bool {
        self.flags & FLAG_CAN_MULTI_CONN != 0
    }
}

/// Brings a fresh stream to the transmission phase.
pub(crate) fn negotiate(mut stream: impl Read + Write, export: &str, structured: bool) -> anyhow::Result<Export> {
    ensure!(read_u64(&mut stream)? == NBDMAGIC, "the server does not speak NBD");
    ensure!(read_u64(&mut stream)? == IHAVEOPT, "the server speaks oldstyle NBD");
    let offered = read_u16(&mut stream)?;
    ensure!(offered & FLAG_FIXED_NEWSTYLE != 0, "the server does not speak fixed newstyle NBD");
    let flags = u32::from(offered & (FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES));
    stream.write_all(&flags.to_be_bytes()).context("send the client flags")?;
    if structured {
        send_option(&mut stream, OPT_STRUCTURED_REPLY, &[])?;
        let (kind, content) = read_option_reply(&mut stream, OPT_STRUCTURED_REPLY)?;
        ensure!(kind == REP_ACK, "the server refused structured replies ({kind:#x}): {}", text(&content));
    }
    go(&mut stream, export)
}

/// Chooses the export.
fn go(stream: &mut (impl Read + Write), export: &str) -> anyhow::Result<Export> {
    let mut content = u32::try_from(export.len())?.to_be_bytes().to_vec();
    content.extend(export.as_bytes());
    content.extend(0u16.to_be_bytes());
    send_option(stream, OPT_GO, &content)?;
    let mut chosen = None;
    for _ in 0..OPTION_REPLIES_MAX {
        let (kind, content) = read_option_reply(stream, OPT_GO)?;
        match kind {
            REP_ACK => return chosen.context("the server acknowledged GO without telling about the export"),
            REP_INFO => chosen = parse_info(&content)?.or(chosen),
            _ => bail!("the server refused export {export:?} ({kind:#x}): {}", text(&content)),
        }
    }
    bail!("the server sent {OPTION_REPLIES_MAX} replies to GO and no end")
}

/// The export's size and flags; `None` of other information.
fn parse_info(content: &[u8]) -> anyhow::Result<Option<Export>> {
    let (kind, rest) = content.split_first_chunk().context("the server sent an INFO reply without a type")?;
    if u16::from_be_bytes(*kind) != INFO_EXPORT {
        return Ok(None);
    }
    let (size, flags) = rest.split_first_chunk().context("the server sent an EXPORT information without a size")?;
    let flags = flags.try_into().context("the server sent an EXPORT information of a wrong length")?;
    Ok(Some(Export { size: u64::from_be_bytes(*size), flags: u16::from_be_bytes(flags) }))
}

fn send_option(stream: &mut impl Write, option: u32, content: &[u8]) -> anyhow::Result<()> {
    let mut bytes = IHAVEOPT.to_be_bytes().to_vec();
    bytes.extend(option.to_be_bytes());
    bytes.extend(u32::try_from(content.len())?.to_be_bytes());
    bytes.extend(content);
    stream.write_all(&bytes).with_context(|| format!("send option {option}"))
}

fn read_option_reply(stream: &mut impl Read, option: u32) -> anyhow::Result<(u32, Vec<u8>)> {
    ensure!(read_u64(stream)? == OPTION_REPLY_MAGIC, "the server sent no reply to option {option}");
    let (answered, kind, length) = (read_u32(stream)?, read_u32(stream)?, read_u32(stream)?);
    ensure!(answered == option, "the server replied to option {answered} instead of {option}");
    ensure!(length <= OPTION_REPLY_MAX, "the server sent an option reply of {length} bytes");
    let mut content = vec![0; length as usize];
    stream.read_exact(&mut content).context("read an option reply")?;
    ensure!(kind & REP_ERROR_BIT != 0 || kind == REP_ACK || kind == REP_INFO, "unexpected option reply {kind:#x}");
    Ok((kind, content))
}

fn text(content: &[u8]) -> String {
    String::from_utf8_lossy(content).into_owned()
}

fn read_u16(stream: &mut impl Read) -> anyhow::Result<u16> {
    read_array(stream).map(u16::from_be_bytes)
}

fn read_u32(stream: &mut impl Read) -> anyhow::Result<u32> {
    read_array(stream).map(u32::from_be_bytes)
}

fn read_u64(stream: &mut impl Read) -> anyhow::Result<u64> {
    read_array(stream).map(u64::from_be_bytes)
}

fn read_array<const N: usize>(stream: &mut impl Read) -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).context("read from the server during the handshake")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A server that says its part at once, whatever it hears.
    struct Script(Cursor<Vec<u8>>, Vec<u8>);

    impl Read for Script {
        fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(bytes)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.1.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    const GREETING: &[u8] = b"NBDMAGICIHAVEOPT\0\x03";
    const EXPORT: &[u8] = b"\0\0\0\0\0\0\0\0\x10\0\x01\x05";

    fn reply(option: u32, kind: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
        bytes.extend(option.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        bytes.extend(content);
        bytes
    }

    fn haggle(parts: &[&[u8]]) -> (anyhow::Result<Export>, Vec<u8>) {
        let mut script = Script(Cursor::new(parts.concat()), Vec::new());
        let outcome = negotiate(&mut script, "disk", true);
        (outcome, script.1)
    }

    #[test]
    fn go_tells_size_and_flags_and_other_information_is_skipped() {
        let block_size = b"\0\x03\0\0\0\x01\0\0\x10\0\x02\0\0\0";
        let (ack, infos) = (reply(8, 1, b""), [reply(7, 3, EXPORT), reply(7, 3, block_size), reply(7, 1, b"")]);
        let (export, sent) = haggle(&[GREETING, &ack, &infos.concat()]);
        let export = export.unwrap();
        assert_eq!(export.size, 4096);
        assert!(export.can_flush() && export.can_multi_conn() && !export.is_read_only());
        let go = b"IHAVEOPT\0\0\0\x07\0\0\0\x0a\0\0\0\x04disk\0\0";
        assert_eq!(sent, [&b"\0\0\0\x03IHAVEOPT\0\0\0\x08\0\0\0\0"[..], go].concat());
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        let (ack, refusal) = (reply(8, 1, b""), reply(7, REP_ERROR_BIT | 6, b"no such disk"));
        let message = haggle(&[GREETING, &ack, &refusal]).0.unwrap_err().to_string();
        assert!(message.contains("no such disk"), "{message}");
    }

    #[test]
    fn servers_that_break_the_rules_are_refused() {
        let ack = reply(8, 1, b"");
        let rest = |bytes: Vec<u8>| [GREETING, &ack, &bytes].concat();
        let wrong = [
            b"HTTP/1.1 400 Bad request".to_vec(),
            b"NBDMAGIC\0\0\x42\x02\x81\x86\x12\x53rest".to_vec(),
            b"NBDMAGICIHAVEOPT\0\0".to_vec(),
            rest(reply(7, 1, b"")),
            rest(reply(6, 1, b"")),
            rest(reply(7, 3, b"\0\0\0")),
            rest(reply(7, 3, &[EXPORT, b"x"].concat())),
            rest(reply(7, 3, EXPORT)),
            rest(reply(7, 3, &[0; 9000])),
            rest(reply(7, 3, EXPORT).repeat(OPTION_REPLIES_MAX)),
        ];
        for bytes in wrong {
            assert!(haggle(&[&bytes]).0.is_err(), "{bytes:?}");
        }
    }
}
