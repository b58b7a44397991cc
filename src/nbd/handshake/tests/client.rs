//! A client that is nothing but bytes.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

/// Bytes to be sent, in order.
#[derive(Clone, Debug)]
pub(super) struct Script(pub(super) Vec<u8>);

impl Script {
    pub(super) fn new(client_flags: u32) -> Self {
        Self(client_flags.to_be_bytes().to_vec())
    }

    /// Options of a secured session, which starts without client flags.
    pub(super) fn secured() -> Self {
        Self(Vec::new())
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn option(self, option: u32, data: &[u8]) -> Self {
        let length = u32::try_from(data.len()).unwrap();
        self.raw(b"IHAVEOPT").raw(&option.to_be_bytes()).raw(&length.to_be_bytes()).raw(data)
    }

    /// NBD_OPT_INFO or NBD_OPT_GO.
    pub(super) fn ask(self, option: u32, name: &str, infos: &[u16]) -> Self {
        let mut data = string(name);
        data.extend(u16::try_from(infos.len()).unwrap().to_be_bytes());
        data.extend(infos.iter().flat_map(|info| info.to_be_bytes()));
        self.option(option, &data)
    }

    /// NBD_OPT_LIST_META_CONTEXT or NBD_OPT_SET_META_CONTEXT.
    pub(super) fn meta(self, option: u32, name: &str, queries: &[&str]) -> Self {
        let mut data = string(name);
        data.extend(u32::try_from(queries.len()).unwrap().to_be_bytes());
        data.extend(queries.iter().flat_map(|query| string(query)));
        self.option(option, &data)
    }
}

pub(super) fn string(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

/// An option reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) option: u32,
    pub(super) kind: u32,
    pub(super) data: Vec<u8>,
}

/// What came of a script.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) outcome: Outcome,
    /// All that the server sent.
    pub(super) sent: Vec<u8>,
}

impl Talk {
    /// What followed the greeting.
    pub(super) fn answer(&self) -> &[u8] {
        assert_eq!(self.sent.get(..18), Some(&b"NBDMAGICIHAVEOPT\0\x03"[..]));
        &self.sent[18..]
    }

    pub(super) fn replies(&self) -> Vec<Reply> {
        replies(self.answer())
    }

    /// Option and reply type of every reply.
    pub(super) fn types(&self) -> Vec<(u32, u32)> {
        self.replies().iter().map(|reply| (reply.option, reply.kind)).collect()
    }

    /// Checks that the last reply is an error with a text.
    pub(super) fn last_text(&self) -> String {
        let last = self.replies().pop().unwrap();
        assert!(last.kind >> 31 == 1 && !last.data.is_empty(), "{last:?}");
        String::from_utf8(last.data).unwrap()
    }
}

/// Takes apart bytes that are nothing but option replies.
pub(super) fn replies(mut bytes: &[u8]) -> Vec<Reply> {
    let mut list = Vec::new();
    while !bytes.is_empty() {
        assert_eq!(bytes[..8], 0x0003_e889_0455_65a9_u64.to_be_bytes());
        let field = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let end = 20 + field(16) as usize;
        list.push(Reply { option: field(8), kind: field(12), data: bytes[20..end].to_vec() });
        bytes = &bytes[end..];
    }
    list
}

pub(super) fn run(script: Script, server: impl AsyncFnOnce(&mut DuplexStream) -> Outcome) -> Talk {
    let Script(bytes) = script;
    let (client, mut stream) = duplex(16 << 10);
    let (mut from, mut to) = tokio::io::split(client);
    let mut sent = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome = runtime.block_on(async {
        let serve = async {
            let outcome = server(&mut stream).await;
            drop(stream);
            outcome
        };
        let write = async {
            // Fails where the server has closed the connection, which the test sees in the outcome.
            let _ = to.write_all(&bytes).await;
            let _ = to.shutdown().await;
        };
        let read = async { from.read_to_end(&mut sent).await.unwrap() };
        tokio::join!(serve, write, read).0
    });
    Talk { outcome, sent }
}
