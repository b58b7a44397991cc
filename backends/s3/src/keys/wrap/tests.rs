//! Wrapped keys: golden bytes, every flipped byte, costs out of bounds.

use super::*;

const FILE_SECRET: &[u8] = b"a key file of at least 32 bytes, fixed";
const NONCE: [u8; NONCE_LEN] = [0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x7b];

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

fn key() -> DataKey {
    let mut secret = Zeroizing::new([0; 32]);
    (0..).zip(secret.iter_mut()).for_each(|(at, byte)| *byte = at);
    DataKey::new(1, Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10), secret)
}

fn cheap() -> Argon2Cost {
    Argon2Cost { memory_kib: 64, passes: 2, lanes: 2 }
}

fn file_kek() -> Kek {
    Kek::again(&KeySource::File("key".into()), FILE_SECRET, None).unwrap()
}

fn stretch() -> Stretch {
    let mut salt = [0; SALT_LEN];
    (0x20..).zip(salt.iter_mut()).for_each(|(at, byte)| *byte = at);
    Stretch { cost: cheap(), salt }
}

fn passphrase_kek(passphrase: &[u8]) -> Kek {
    let source = KeySource::Passphrase { from: super::super::Secret::Env("X".to_owned()), cost: cheap() };
    Kek::again(&source, passphrase, Some(stretch())).unwrap()
}

#[test]
fn a_key_wrapped_by_a_file_is_the_golden_one() {
    let golden = hex(include_str!("../../../tests/golden/wrapped_by_file.hex"));
    let wrapped = file_kek().wrap_with(&key(), NONCE);
    assert_eq!((&wrapped.wrapped[..], wrapped.method), (&golden[..], FILE));
    let opened = file_kek().unwrap(1, Parts::parse(&wrapped).unwrap()).unwrap();
    assert_eq!((opened.secret(), opened.uuid()), (key().secret(), key().uuid()));
}

#[test]
fn a_key_wrapped_by_a_passphrase_is_the_golden_one() {
    let golden = hex(include_str!("../../../tests/golden/wrapped_by_passphrase.hex"));
    let wrapped = passphrase_kek(b"correct horse").wrap_with(&key(), NONCE);
    assert_eq!((&wrapped.wrapped[..], wrapped.method), (&golden[..], PASSPHRASE));
    let parts = Parts::parse(&wrapped).unwrap();
    assert_eq!(parts.stretch, Some(stretch()));
    assert!(passphrase_kek(b"correct horsf").unwrap(1, parts).is_none());
}

#[test]
fn every_flipped_byte_another_id_and_every_cut_of_a_wrapped_key_is_refused() {
    let good = file_kek().wrap(&key());
    for at in 0..good.wrapped.len() {
        let mut bytes = good.wrapped.to_vec();
        bytes[at] ^= 1;
        let flipped = WrappedKey { wrapped: bytes.into(), ..good.clone() };
        assert!(file_kek().unwrap(1, Parts::parse(&flipped).unwrap()).is_none(), "byte {at}");
        let cut = WrappedKey { wrapped: good.wrapped.slice(..at), ..good.clone() };
        assert!(Parts::parse(&cut).is_err(), "cut to {at}");
    }
    assert!(file_kek().unwrap(2, Parts::parse(&good).unwrap()).is_none());
}

#[test]
fn a_forged_cost_is_refused_before_it_is_paid() {
    for cost in [
        Argon2Cost { memory_kib: u32::MAX, ..cheap() },
        Argon2Cost { passes: u32::MAX, ..cheap() },
        Argon2Cost { lanes: u32::MAX, ..cheap() },
        Argon2Cost { passes: 0, ..cheap() },
    ] {
        let error = Stretch { cost, ..stretch() }.stretch(b"x").unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{}", error.chain());
    }
}

#[test]
fn no_two_wraps_share_a_nonce() {
    let nonces: std::collections::HashSet<[u8; NONCE_LEN]> =
        (0..1000).map(|_| Parts::parse(&file_kek().wrap(&key())).unwrap().nonce).collect();
    assert_eq!(nonces.len(), 1000);
}
