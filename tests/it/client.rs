//! A small NBD client of our own, for what real clients never do: stop halfway, send nonsense, not read.
//!
//! It enters with EXPORT_NAME and knows simple replies only.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
};

/// From the first byte of the server to the end of the client's EXPORT_NAME of the default export.
pub(crate) const GREETING_BYTES: usize = 18;
pub(crate) const IHAVEOPT: &[u8; 8] = b"IHAVEOPT";
pub(crate) const OPT_EXPORT_NAME: u32 = 1;
pub(crate) const OPT_LIST: u32 = 3;
const CLIENT_FLAGS: u32 = 3;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
pub(crate) const CMD_READ: u16 = 0;
pub(crate) const CMD_WRITE: u16 = 1;
pub(crate) const CMD_DISC: u16 = 2;
pub(crate) const CMD_FLUSH: u16 = 3;
const CMD_TRIM: u16 = 4;

/// One option with its header.
pub(crate) fn option(option: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).expect("a short option");
    [&IHAVEOPT[..], &option.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

/// One compact request header.
pub(crate) fn request(command: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    let head = [&REQUEST_MAGIC.to_be_bytes()[..], &[0, 0], &command.to_be_bytes()].concat();
    [&head[..], &cookie.to_be_bytes(), &offset.to_be_bytes(), &length.to_be_bytes()].concat()
}

/// The client flags and the option that enters the default export.
pub(crate) fn entrance() -> Vec<u8> {
    entrance_of("")
}

/// The same for an export by its name.
fn entrance_of(export: &str) -> Vec<u8> {
    [&CLIENT_FLAGS.to_be_bytes()[..], &option(OPT_EXPORT_NAME, export.as_bytes())].concat()
}

/// Bytes that repeat a number.
pub(crate) fn stamped(number: u64, length: usize) -> Vec<u8> {
    number.to_be_bytes().repeat(length / 8)
}

/// A client in transmission.
#[derive(Debug)]
pub(crate) struct Client {
    stream: UnixStream,
    pub(crate) size: u64,
}

impl Client {
    /// Enters the default export.
    pub(crate) fn enter(stream: UnixStream) -> io::Result<Self> {
        Self::enter_export(stream, "")
    }

    /// Enters an export.
    pub(crate) fn enter_export(mut stream: UnixStream, export: &str) -> io::Result<Self> {
        let mut greeting = [0; GREETING_BYTES];
        stream.read_exact(&mut greeting)?;
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
        stream.write_all(&entrance_of(export))?;
        let mut answer = [0; 10];
        stream.read_exact(&mut answer)?;
        let size = u64::from_be_bytes(answer[..8].try_into().expect("eight bytes"));
        Ok(Self { stream, size })
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Writes and waits for the reply.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let length = u32::try_from(data.len()).expect("a short write");
        self.send(&[&request(CMD_WRITE, offset, offset, length)[..], data].concat())?;
        self.reply(offset)
    }

    /// Flushes and waits for the reply.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.send(&request(CMD_FLUSH, u64::MAX, 0, 0))?;
        self.reply(u64::MAX)
    }

    /// Trims and waits for the reply.
    pub(crate) fn trim(&mut self, offset: u64, length: u32) -> io::Result<()> {
        self.send(&request(CMD_TRIM, offset, offset, length))?;
        self.reply(offset)
    }

    /// Reads.
    pub(crate) fn read(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.send(&request(CMD_READ, offset, offset, u32::try_from(length).expect("a short read")))?;
        self.reply(offset)?;
        let mut data = vec![0; length];
        self.stream.read_exact(&mut data)?;
        Ok(data)
    }

    /// Takes a simple reply; its error number becomes an error of the system.
    fn reply(&mut self, cookie: u64) -> io::Result<()> {
        let mut reply = [0; 16];
        self.stream.read_exact(&mut reply)?;
        assert_eq!(reply[..4], SIMPLE_REPLY_MAGIC.to_be_bytes(), "{reply:?}");
        assert_eq!(reply[8..], cookie.to_be_bytes(), "{reply:?}");
        match u32::from_be_bytes(reply[4..8].try_into().expect("four bytes")) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error.cast_signed())),
        }
    }
}
