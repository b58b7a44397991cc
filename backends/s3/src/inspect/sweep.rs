//! All segments of a view, several at once.

use std::collections::HashSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use nbdgate_api::Error;

use super::{
    Inspect,
    pace::Pace,
    verify::Verified,
    view::{LiveSegment, View},
};
use crate::{Progress, format::Object};

/// Segments looked at at once.
const PARALLEL: usize = 16;

/// Segments read as a whole at once: each holds one fetch.
const PARALLEL_DATA: usize = 4;

/// How segments are looked at.
#[derive(Debug)]
pub(crate) struct Sweep<'a> {
    /// Read and verify their data.
    pub(crate) data: bool,
    pub(crate) pace: Pace,
    /// Segments whose data was found sound in an earlier view.
    pub(crate) sound: HashSet<Object>,
    pub(crate) progress: &'a dyn Progress,
}

impl<'a> Sweep<'a> {
    pub(crate) fn new(data: bool, rate: Option<u64>, progress: &'a dyn Progress) -> Self {
        Self { data, pace: Pace::new(rate), sound: HashSet::new(), progress }
    }

    /// Looks at every segment that `view` refers to, and hands each to `found`.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn run(
        &mut self,
        inspect: &Inspect,
        view: &View,
        mut found: impl FnMut(&LiveSegment, Verified) + Send,
    ) -> Result<(), Error> {
        self.progress.total(view.live_stored_bytes());
        let parallel = if self.data { PARALLEL_DATA } else { PARALLEL };
        for batch in view.batches() {
            let segments = view.segments(&batch);
            let mut sound = Vec::with_capacity(segments.len());
            let looks = segments.iter().map(|segment| {
                let data = self.data && !self.sound.contains(&segment.object);
                let pace = &self.pace;
                async move { Ok::<_, Error>((segment, inspect.verify(segment, data, pace).await?)) }
            });
            let mut looks = stream::iter(looks).buffered(parallel);
            while let Some((segment, verified)) = looks.try_next().await? {
                self.progress.advance(segment.stored_bytes);
                if verified.findings.is_empty() {
                    sound.push(segment.object);
                }
                found(segment, verified);
            }
            drop(looks);
            self.sound.extend(sound);
        }
        Ok(())
    }
}
