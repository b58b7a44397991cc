//! Bytes and values of the NBD protocol; pure.
