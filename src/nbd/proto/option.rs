//! What clients send while haggling: option headers, and the data of options that have some ("Option types").

use super::{constants::NBD_OPTS_MAGIC, text};

/// Bytes of an option header.
pub const OPTION_HEADER_BYTES: usize = 16;

/// The head of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionHeader {
    /// Which option.
    pub option: u32,
    /// Bytes of data that follow.
    pub length: u32,
}

impl OptionHeader {
    /// Reads a header; `None` where the magic is wrong.
    pub fn parse(bytes: &[u8; OPTION_HEADER_BYTES]) -> Option<Self> {
        let mut fields = Fields(bytes);
        if fields.u64()? != NBD_OPTS_MAGIC {
            return None;
        }
        Some(Self { option: fields.u32()?, length: fields.u32()? })
    }
}

/// Data that breaks the syntax of its option; the text says how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// The data of NBD_OPT_INFO and NBD_OPT_GO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InfoRequest<'a> {
    /// The export asked for.
    pub name: &'a str,
    requests: &'a [[u8; 2]],
}

impl<'a> InfoRequest<'a> {
    /// Reads the data.
    ///
    /// # Errors
    /// The lengths do not add up, or the name is not a string of the protocol.
    pub fn parse(data: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(data);
        let name = fields.string()?;
        let count = fields.u16().ok_or(Malformed("the number of information requests is missing"))?;
        let (requests, odd) = fields.0.as_chunks::<2>();
        if requests.len() != usize::from(count) || !odd.is_empty() {
            return Err(Malformed("the number of information requests does not fit the option's length"));
        }
        Ok(Self { name, requests })
    }

    /// Whether information of this type is asked for.
    pub fn wants(&self, info: u16) -> bool {
        self.requests.contains(&info.to_be_bytes())
    }
}

/// The data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetaContextRequest<'a> {
    /// The export asked about.
    pub name: &'a str,
    /// How many queries there are.
    pub count: u32,
    queries: &'a [u8],
}

impl<'a> MetaContextRequest<'a> {
    /// Reads the data and checks every query.
    ///
    /// # Errors
    /// The lengths do not add up, or the name or a query is not a string of the protocol.
    pub fn parse(data: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(data);
        let name = fields.string()?;
        let count = fields.u32().ok_or(Malformed("the number of queries is missing"))?;
        let queries = fields.0;
        for _ in 0..count {
            fields.string()?;
        }
        if !fields.0.is_empty() {
            return Err(Malformed("data follows the last query"));
        }
        Ok(Self { name, count, queries })
    }

    /// The queries, in order.
    pub fn queries(&self) -> impl Iterator<Item = &'a str> {
        let mut fields = Fields(self.queries);
        std::iter::from_fn(move || fields.string().ok())
    }
}

/// Reads fields off the front of a slice.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A string with its length in front.
    fn string(&mut self) -> Result<&'a str, Malformed> {
        let length = self.u32().ok_or(Malformed("the length of a string is missing"))?;
        let (string, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| self.0.split_at_checked(length))
            .ok_or(Malformed("a string is longer than the option's data"))?;
        self.0 = rest;
        text::received(string).ok_or(Malformed("a string is not UTF-8, holds NUL, or is longer than 4096 bytes"))
    }
}

#[cfg(test)]
mod tests;
