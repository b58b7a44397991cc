//! Deleting old manifests: all but the newest 16, strictly oldest first, one after the other.
//!
//! The order is a promise of the chain (OBJECT-LOG §6.6): if a manifest is there, no newer one was ever deleted. A number
//! that was deleted can be taken again by a sleeper; it learns from the list behind its put that newer ones exist.

use std::{collections::VecDeque, time::Duration};

use super::Driver;
use crate::{
    engine::Millis,
    format::{ManifestNo, ObjectName},
    observer::Cause,
    store::Patience,
};

/// So many of the newest manifests are kept.
const KEPT: u64 = 16;

/// How long one is tried before the rest is put off to the next time.
const TRIED: Duration = Duration::from_secs(30);

/// What is known of the chain's old end.
#[derive(Debug, Default)]
pub(crate) struct Retired {
    /// The oldest manifest that is still there; unknown until it was looked for.
    oldest: Option<ManifestNo>,
    /// Newest manifests, and from when on the ones they leave behind may go.
    published: VecDeque<(Millis, ManifestNo)>,
}

impl Retired {
    /// `newest` was published; what it leaves behind may go from `due` on.
    pub(super) fn published(&mut self, due: Millis, newest: ManifestNo) {
        if newest.0 > KEPT {
            self.published.push_back((due, newest));
        }
    }

    pub(super) fn next_due(&self) -> Option<Millis> {
        self.published.front().map(|(due, _)| *due)
    }

    /// The first number that must stay, as of `now`.
    fn take(&mut self, now: Millis) -> Option<ManifestNo> {
        let mut newest = None;
        while let Some((due, no)) = self.published.front().copied()
            && due <= now
        {
            newest = Some(no);
            self.published.pop_front();
        }
        newest.map(|no| ManifestNo(no.0 + 1 - KEPT))
    }
}

impl Driver {
    /// Deletes the manifests whose time has come.
    pub(super) async fn retire_manifests(&self, now: Millis) {
        let (end, oldest) = {
            let retired = &mut self.bin.lock().retired;
            let Some(end) = retired.take(now) else { return };
            (end, retired.oldest)
        };
        let first = match oldest {
            Some(oldest) => Some(oldest),
            None => self.oldest_manifest().await,
        };
        // Whoever is too late today finds them again: the next one begins at the same place.
        let Some(first) = first else { return };
        for no in first.0..end.0 {
            let key = ObjectName::Manifest(ManifestNo(no)).key("", self.volume);
            let patience = Patience::serving(tokio::time::Instant::now() + TRIED);
            if let Err(error) = self.store.delete(Cause::Gc, &key, patience).await {
                tracing::warn!(%error, "an old manifest could not be deleted; trying again after the next checkpoint");
                return;
            }
            self.bin.lock().retired.oldest = Some(ManifestNo(no + 1));
        }
    }

    async fn oldest_manifest(&self) -> Option<ManifestNo> {
        let volume = format!("v/{}/", self.volume);
        let patience = Patience::serving(tokio::time::Instant::now() + TRIED);
        let listed = self.store.list(Cause::Gc, &format!("{volume}m"), None, usize::MAX, patience).await;
        let number = |key: &str| match ObjectName::parse(key.strip_prefix(&volume)?) {
            Some(ObjectName::Manifest(no)) => Some(no),
            _ => None,
        };
        listed.ok()?.iter().filter_map(|found| number(&found.key)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_sixteen_stay_and_the_others_wait_for_their_time() {
        let mut retired = Retired::default();
        for no in 1..=20 {
            retired.published(no * 100, ManifestNo(no));
        }
        assert_eq!(retired.next_due(), Some(1700), "the first sixteen leave nothing behind");
        assert_eq!(retired.take(1699), None);
        assert_eq!(retired.take(1850), Some(ManifestNo(3)), "of 18, the newest 16 are 3 to 18");
        assert_eq!(retired.take(5000), Some(ManifestNo(5)));
        assert_eq!((retired.next_due(), retired.take(5000)), (None, None));
    }
}
