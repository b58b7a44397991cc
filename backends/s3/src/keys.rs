//! Where the keys of an encrypted disk come from, and how they are kept (§10).
//!
//! ```text
//!  passphrase ── Argon2id ──┐
//!  key file ──── HKDF ──────┼─► KEK ── wraps ──► data keys ── HKDF per object ──► frames, metas, packs, manifests
//!  key command ─ HKDF ──────┘        (in the manifest)      (format::seal)
//! ```
//!
//! A data key is random and never changes; what the operator holds only wraps it, so changing that (re-keying) writes
//! one manifest. Wrapped keys are bound to the key's own uuid and not to a volume: a clone carries its parent's.
//!
//! Invariants: no secret is ever in an argument, an error, a log line or a `Debug` text; secrets that this crate holds
//! are wiped when they are dropped; a wrong, missing or superfluous key is refused before anything is written.

mod command;
mod journal;
mod source;
pub(crate) mod unlock;
mod wrap;

pub use journal::{JournalKey, RecordPlace};
pub use source::{Argon2Cost, KeySource, Secret};
pub(crate) use unlock::unlock;
pub(crate) use wrap::{unwrap, wrap};
