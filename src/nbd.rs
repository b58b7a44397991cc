//! The NBD frontend: bytes and values (`proto`), option haggling (`handshake`), requests and replies
//! (`transmission`).

pub mod handshake;
pub mod proto;
pub mod transmission;
