//! The data keys of a volume: 256 random bits each, never on the bucket but wrapped.

use super::fill_random;
use std::collections::BTreeMap;
use std::fmt;
use uuid::Uuid;
use zeroize::Zeroizing;

/// One data key. Wiped when it is dropped.
#[derive(Clone)]
pub struct DataKey {
    id: u32,
    uuid: Uuid,
    secret: Zeroizing<[u8; 32]>,
}

impl DataKey {
    /// A key that is known; `uuid` is its own, whatever volume it serves.
    pub fn new(id: u32, uuid: Uuid, secret: Zeroizing<[u8; 32]>) -> Self {
        Self { id, uuid, secret }
    }

    /// A new random key.
    pub fn generate(id: u32) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        fill_random(&mut secret[..]);
        let mut uuid = [0; 16];
        fill_random(&mut uuid);
        Self { id, uuid: uuid::Builder::from_random_bytes(uuid).into_uuid(), secret }
    }

    /// What seal headers call it.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its own name, under which it is wrapped: a clone carries its parent's keys.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    pub(crate) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKey").field("id", &self.id).field("uuid", &self.uuid).finish_non_exhaustive()
    }
}

/// All data keys of a volume. The one with the highest id seals new objects; the others only open old ones.
#[derive(Clone, Debug)]
pub struct DataKeys {
    current: DataKey,
    older: BTreeMap<u32, DataKey>,
}

impl DataKeys {
    /// The key of a new volume.
    pub fn generate() -> Self {
        Self::only(DataKey::generate(1))
    }

    /// One key.
    pub fn only(current: DataKey) -> Self {
        Self { current, older: BTreeMap::new() }
    }

    /// These keys; `None` if there are none, or two with one id.
    pub fn from_keys(keys: impl IntoIterator<Item = DataKey>) -> Option<Self> {
        let mut by_id = BTreeMap::new();
        for key in keys {
            if by_id.insert(key.id, key).is_some() {
                return None;
            }
        }
        let (_, current) = by_id.pop_last()?;
        Some(Self { current, older: by_id })
    }

    /// These keys and a new one, which is the current one from now on; `None` when there is no higher id.
    pub fn rotated(&self) -> Option<Self> {
        let next = DataKey::generate(self.current.id.checked_add(1)?);
        Self::from_keys(self.iter().cloned().chain([next]))
    }

    /// The key for new objects.
    pub fn current(&self) -> &DataKey {
        &self.current
    }

    /// The key with an id.
    pub fn get(&self, id: u32) -> Option<&DataKey> {
        if id == self.current.id { Some(&self.current) } else { self.older.get(&id) }
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &DataKey> {
        self.older.values().chain([&self.current])
    }
}
