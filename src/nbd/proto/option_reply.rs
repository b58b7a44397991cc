//! What the server sends while haggling: the greeting, option replies, and the answer to EXPORT_NAME.

use bytes::{BufMut, BytesMut};

use super::{
    constants::{
        NBD_FLAG_FIXED_NEWSTYLE, NBD_FLAG_NO_ZEROES, NBD_INFO_BLOCK_SIZE, NBD_INFO_DESCRIPTION, NBD_INFO_EXPORT,
        NBD_INFO_NAME, NBD_MAGIC, NBD_OPTS_MAGIC, NBD_REP_ACK, NBD_REP_INFO, NBD_REP_MAGIC, NBD_REP_META_CONTEXT,
        NBD_REP_SERVER,
    },
    text,
};

/// Zeroes after the answer to EXPORT_NAME, unless the client declined them.
const PADDING: [u8; 124] = [0; 124];

/// Size constraints as the client is told them, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSizeInfo {
    /// Minimum block.
    pub minimum: u32,
    /// Preferred block.
    pub preferred: u32,
    /// Maximum payload.
    pub maximum_payload: u32,
}

/// Appends the server's first bytes.
pub fn greeting(out: &mut BytesMut) {
    out.put_u64(NBD_MAGIC);
    out.put_u64(NBD_OPTS_MAGIC);
    out.put_u16(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
}

/// Appends the answer to EXPORT_NAME.
pub fn export_name(out: &mut BytesMut, size: u64, flags: u16, zeroes: bool) {
    out.put_u64(size);
    out.put_u16(flags);
    if zeroes {
        out.put_slice(&PADDING);
    }
}

/// Appends replies to one option.
#[derive(Debug)]
pub struct OptionReply<'a> {
    out: &'a mut BytesMut,
    option: u32,
}

impl<'a> OptionReply<'a> {
    /// Replies to `option`, at the end of `out`.
    pub fn new(out: &'a mut BytesMut, option: u32) -> Self {
        Self { out, option }
    }

    /// The end: accepted.
    pub fn ack(&mut self) {
        self.reply(NBD_REP_ACK, &[]);
    }

    /// The end: an error, one of the `NBD_REP_ERR` numbers, with a text for people.
    pub fn error(&mut self, error: u32, text: &str) {
        self.reply(error, &[text::error_text(text).as_bytes()]);
    }

    /// An export of the list.
    pub fn server(&mut self, name: &str, description: &str) {
        let length = u32::try_from(name.len()).expect("export names are bounded");
        let description = text::description(description);
        self.reply(NBD_REP_SERVER, &[&length.to_be_bytes(), name.as_bytes(), description.as_bytes()]);
    }

    /// Size and transmission flags.
    pub fn info_export(&mut self, size: u64, flags: u16) {
        self.info(NBD_INFO_EXPORT, &[&size.to_be_bytes(), &flags.to_be_bytes()]);
    }

    /// The export's name.
    pub fn info_name(&mut self, name: &str) {
        self.info(NBD_INFO_NAME, &[name.as_bytes()]);
    }

    /// The export's description.
    pub fn info_description(&mut self, description: &str) {
        self.info(NBD_INFO_DESCRIPTION, &[text::description(description).as_bytes()]);
    }

    /// Size constraints.
    pub fn info_block_size(&mut self, sizes: BlockSizeInfo) {
        let BlockSizeInfo { minimum, preferred, maximum_payload } = sizes;
        let fields = [minimum, preferred, maximum_payload].map(u32::to_be_bytes);
        self.info(NBD_INFO_BLOCK_SIZE, &[fields.as_flattened()]);
    }

    /// A metadata context.
    pub fn meta_context(&mut self, id: u32, name: &str) {
        self.reply(NBD_REP_META_CONTEXT, &[&id.to_be_bytes(), name.as_bytes()]);
    }

    fn info(&mut self, info: u16, parts: &[&[u8]]) {
        let length = parts.iter().map(|part| part.len()).sum::<usize>() + 2;
        self.head(NBD_REP_INFO, length);
        self.out.put_u16(info);
        self.put(parts);
    }

    fn reply(&mut self, reply: u32, parts: &[&[u8]]) {
        self.head(reply, parts.iter().map(|part| part.len()).sum());
        self.put(parts);
    }

    fn put(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.out.put_slice(part);
        }
    }

    fn head(&mut self, reply: u32, length: usize) {
        self.out.put_u64(NBD_REP_MAGIC);
        self.out.put_u32(self.option);
        self.out.put_u32(reply);
        self.out.put_u32(u32::try_from(length).expect("option replies are made of bounded strings"));
    }
}

#[cfg(test)]
mod tests;
