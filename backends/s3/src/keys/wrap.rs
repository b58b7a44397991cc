//! Wrapping data keys under a KEK, as tag 11 of a manifest holds them.
//!
//! ```text
//!  method 1, passphrase   memory KiB u32, passes u32, lanes u32, salt[16], then as below
//!  method 2, key file     uuid of the key[16], nonce[12], sealed key[32], tag[16]
//!  method 3, key command  as 2
//! ```
//!
//! AES-256-GCM with the associated data "olv1 wrap", key id u32, uuid. The KEK of a passphrase is Argon2id's output; of a
//! file or a command it is HKDF-SHA256 of what they give, so a command may print what a file held.

use argon2::{Algorithm, Argon2, Params, Version};
use bytes::{BufMut, Bytes};
use nbdgate_api::{Error, Kind};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Argon2Cost, KeySource};
use crate::format::{
    FormatError, Reader,
    manifest::WrappedKey,
    seal::{DataKey, DataKeys, expand_bytes, fill_random},
};

const PASSPHRASE: u8 = 1;
const FILE: u8 = 2;
const COMMAND: u8 = 3;

const SALT_LEN: usize = 16;
const KEK_INFO: &[u8] = b"olv1 kek";
const WRAP_INFO: &[u8] = b"olv1 wrap";

/// What a manifest may ask of the machine that opens it: 4 GiB and a few minutes, so that a forged one cannot stop it.
const COST_MAX: Argon2Cost = Argon2Cost { memory_kib: 4 << 20, passes: 64, lanes: 64 };

/// How a passphrase becomes a KEK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    cost: Argon2Cost,
    salt: [u8; SALT_LEN],
}

/// A key that wraps data keys.
struct Kek {
    method: u8,
    stretch: Option<Stretch>,
    key: LessSafeKey,
}

/// A wrapped key, taken apart.
struct Parts {
    stretch: Option<Stretch>,
    uuid: Uuid,
    nonce: [u8; NONCE_LEN],
    sealed: Zeroizing<Vec<u8>>,
}

/// Wraps data keys with what `source` gives.
pub(crate) async fn wrap(source: &KeySource, keys: &DataKeys) -> Result<Vec<WrappedKey>, Error> {
    let (source, keys) = (source.clone(), keys.clone());
    blocking(move || {
        let secret = source.read()?;
        let kek = Kek::new(&source, &secret)?;
        Ok(keys.iter().map(|key| kek.wrap(key)).collect())
    })
    .await
}

/// Opens the data keys of a disk with what `source` gives; `disk` is its name for messages.
pub(crate) async fn unwrap(source: &KeySource, wrapped: &[WrappedKey], disk: &str) -> Result<DataKeys, Error> {
    let (source, wrapped, disk) = (source.clone(), wrapped.to_vec(), disk.to_owned());
    blocking(move || {
        check_methods(&source, &wrapped, &disk)?;
        let secret = source.read()?;
        let mut kek: Option<Kek> = None;
        let mut keys = Vec::with_capacity(wrapped.len());
        for wrapped in &wrapped {
            let damaged = |error| {
                let text = format!("the wrapped key {} of {disk} cannot be read", wrapped.key_id);
                Error::new(Kind::Io, text).with_source(error)
            };
            let parts = Parts::parse(wrapped).map_err(damaged)?;
            let fitting = kek.take().filter(|kek| kek.stretch == parts.stretch);
            let fitting = fitting.map_or_else(|| Kek::again(&source, &secret, parts.stretch), Ok)?;
            let key = fitting.unwrap(wrapped.key_id, parts).ok_or_else(|| {
                Error::new(Kind::Permission, format!("{source} is not the key of {disk}; nothing was written"))
            });
            keys.push(key?);
            kek = Some(fitting);
        }
        DataKeys::from_keys(keys)
            .ok_or_else(|| Error::new(Kind::Io, format!("the manifest of {disk} holds no key, or one twice")))
    })
    .await
}

/// Reading, stretching and waiting for a command take long.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::new(Kind::Io, "reading a key failed").with_source(error)))
}

fn method_of(source: &KeySource) -> u8 {
    match source {
        KeySource::Passphrase { .. } => PASSPHRASE,
        KeySource::File(_) => FILE,
        KeySource::Command(_) => COMMAND,
    }
}

/// Refuses the wrong sort of key before it is asked for.
fn check_methods(source: &KeySource, wrapped: &[WrappedKey], disk: &str) -> Result<(), Error> {
    for WrappedKey { method, .. } in wrapped {
        let needs = match *method {
            PASSPHRASE => "a passphrase",
            FILE | COMMAND => "a key file or a key command",
            other => {
                let text = format!("{disk} has a key wrapped by method {other}, which this version does not know");
                return Err(Error::new(Kind::NotSupported, text));
            }
        };
        if (*method == PASSPHRASE) != (method_of(source) == PASSPHRASE) {
            return Err(Error::new(Kind::Permission, format!("{disk} is opened with {needs}, not with {source}")));
        }
    }
    Ok(())
}

impl Kek {
    /// For wrapping: with a fresh salt, if it is a passphrase.
    fn new(source: &KeySource, secret: &[u8]) -> Result<Self, Error> {
        let stretch = match source {
            KeySource::Passphrase { cost, .. } => {
                let mut salt = [0; SALT_LEN];
                fill_random(&mut salt);
                Some(Stretch { cost: *cost, salt })
            }
            KeySource::File(_) | KeySource::Command(_) => None,
        };
        Self::again(source, secret, stretch)
    }

    /// For unwrapping: as it was when it wrapped.
    fn again(source: &KeySource, secret: &[u8], stretch: Option<Stretch>) -> Result<Self, Error> {
        let kek = match stretch {
            None => expand_bytes(secret, &[], &[KEK_INFO]),
            Some(stretch) => stretch.stretch(secret)?,
        };
        let key = UnboundKey::new(&AES_256_GCM, &kek[..]).expect("a KEK has the length of a key");
        Ok(Self { method: method_of(source), stretch, key: LessSafeKey::new(key) })
    }

    fn wrap(&self, key: &DataKey) -> WrappedKey {
        let mut nonce = [0; NONCE_LEN];
        fill_random(&mut nonce);
        self.wrap_with(key, nonce)
    }

    fn wrap_with(&self, key: &DataKey, nonce: [u8; NONCE_LEN]) -> WrappedKey {
        let mut sealed = Zeroizing::new(Vec::with_capacity(48));
        sealed.extend_from_slice(key.secret());
        let aad = Aad::from(associated(key.id(), key.uuid()));
        let done = self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut *sealed);
        done.expect("a key is far below the limit of the cipher");
        let mut wrapped = Vec::with_capacity(104);
        if let Some(Stretch { cost, salt }) = &self.stretch {
            wrapped.put_u32_le(cost.memory_kib);
            wrapped.put_u32_le(cost.passes);
            wrapped.put_u32_le(cost.lanes);
            wrapped.put_slice(salt);
        }
        wrapped.put_slice(key.uuid().as_bytes());
        wrapped.put_slice(&nonce);
        wrapped.put_slice(&sealed);
        WrappedKey { key_id: key.id(), method: self.method, wrapped: wrapped.into() }
    }

    fn unwrap(&self, id: u32, parts: Parts) -> Option<DataKey> {
        let Parts { uuid, nonce, mut sealed, .. } = parts;
        let aad = Aad::from(associated(id, uuid));
        let opened = self.key.open_in_place(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?;
        let mut secret = Zeroizing::new([0; 32]);
        if opened.len() != secret.len() {
            return None;
        }
        secret.copy_from_slice(opened);
        Some(DataKey::new(id, uuid, secret))
    }
}

impl Stretch {
    fn stretch(&self, secret: &[u8]) -> Result<Zeroizing<[u8; 32]>, Error> {
        let Argon2Cost { memory_kib, passes, lanes } = self.cost;
        let refuse = |why: String| {
            let text =
                format!("stretching a passphrase with {memory_kib} KiB, {passes} passes and {lanes} lanes: {why}");
            Error::new(Kind::Invalid, text)
        };
        if memory_kib > COST_MAX.memory_kib || passes > COST_MAX.passes || lanes > COST_MAX.lanes {
            return Err(refuse("more than this version spends".to_owned()));
        }
        let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(|error| refuse(error.to_string()))?;
        let mut kek = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(secret, &self.salt, &mut kek[..])
            .map_err(|error| refuse(error.to_string()))?;
        Ok(kek)
    }
}

impl Parts {
    fn parse(key: &WrappedKey) -> Result<Self, FormatError> {
        let mut fields = Reader::new(&key.wrapped, "wrapped key");
        let stretch = if key.method == PASSPHRASE {
            let cost = Argon2Cost { memory_kib: fields.u32()?, passes: fields.u32()?, lanes: fields.u32()? };
            let mut salt = [0; SALT_LEN];
            salt.copy_from_slice(fields.bytes(SALT_LEN)?);
            Some(Stretch { cost, salt })
        } else {
            None
        };
        let uuid = fields.uuid()?;
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(fields.bytes(NONCE_LEN)?);
        let sealed = Zeroizing::new(fields.bytes(48)?.to_vec());
        fields.end()?;
        Ok(Self { stretch, uuid, nonce, sealed })
    }
}

fn associated(id: u32, uuid: Uuid) -> Bytes {
    [WRAP_INFO, &id.to_le_bytes(), uuid.as_bytes()].concat().into()
}

#[cfg(test)]
mod tests;
