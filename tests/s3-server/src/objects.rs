//! The buckets: one map under one lock, so that whatever looks atomic is.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use bytes::Bytes;
use parking_lot::Mutex;

type Names = BTreeMap<String, Object>;

/// An object.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) bytes: Bytes,
    pub(crate) etag: u64,
    pub(crate) modified: SystemTime,
}

/// There is no such bucket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoBucket;

/// What a PUT did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It stands there now, with this ETag; whether it replaced other bytes.
    Stored { etag: u64, replaced: bool },
    /// The name was taken, and the PUT asked for it not to be.
    Taken,
}

/// What a LIST asks for.
#[derive(Debug, Default)]
pub(crate) struct Query<'a> {
    pub(crate) prefix: &'a str,
    /// Only names behind this one.
    pub(crate) after: &'a str,
    /// Names that go on behind it are shown as one.
    pub(crate) delimiter: Option<&'a str>,
    pub(crate) limit: usize,
}

/// One page of names.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) objects: Vec<(String, Object)>,
    pub(crate) folders: Vec<String>,
    /// Where the next page begins, if there is one: behind all names that begin with this or are it.
    pub(crate) next: Option<String>,
}

/// All buckets.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    buckets: Mutex<BTreeMap<String, Names>>,
    etags: AtomicU64,
}

impl Objects {
    pub(crate) fn make_bucket(&self, bucket: &str) {
        self.buckets.lock().entry(bucket.to_owned()).or_default();
    }

    fn within<T>(&self, bucket: &str, act: impl FnOnce(&mut Names) -> T) -> Result<T, NoBucket> {
        self.buckets.lock().get_mut(bucket).map(act).ok_or(NoBucket)
    }

    pub(crate) fn put(&self, bucket: &str, name: &str, bytes: Bytes, if_absent: bool) -> Result<Put, NoBucket> {
        let etag = self.etags.fetch_add(1, Ordering::Relaxed) + 1;
        self.within(bucket, |names| {
            if if_absent && names.contains_key(name) {
                return Put::Taken;
            }
            let replaced = names.get(name).is_some_and(|old| old.bytes != bytes);
            names.insert(name.to_owned(), Object { bytes, etag, modified: SystemTime::now() });
            Put::Stored { etag, replaced }
        })
    }

    pub(crate) fn get(&self, bucket: &str, name: &str) -> Result<Option<Object>, NoBucket> {
        self.within(bucket, |names| names.get(name).cloned())
    }

    pub(crate) fn delete(&self, bucket: &str, name: &str) -> Result<(), NoBucket> {
        self.within(bucket, |names| {
            names.remove(name);
        })
    }

    pub(crate) fn list(&self, bucket: &str, query: &Query<'_>) -> Result<Page, NoBucket> {
        self.within(bucket, |names| list(names, query))
    }

    /// Every name of a bucket, with the length of its object.
    pub(crate) fn names(&self, bucket: &str) -> Vec<(String, usize)> {
        let sizes = |names: &mut Names| names.iter().map(|(name, object)| (name.clone(), object.bytes.len())).collect();
        self.within(bucket, sizes).unwrap_or_default()
    }
}

fn list(names: &Names, query: &Query<'_>) -> Page {
    let mut page = Page::default();
    let from = if query.after > query.prefix { Bound::Excluded(query.after) } else { Bound::Included(query.prefix) };
    let all = names.range::<str, _>((from, Bound::Unbounded)).take_while(|(name, _)| name.starts_with(query.prefix));
    for (name, object) in all {
        let folder = query.delimiter.and_then(|delimiter| {
            let end = name[query.prefix.len()..].find(delimiter)?;
            Some(&name[..query.prefix.len() + end + delimiter.len()])
        });
        // A folder that the page before showed, or this one.
        if folder.is_some_and(|folder| {
            query.after.starts_with(folder) || page.folders.last().is_some_and(|last| last == folder)
        }) {
            continue;
        }
        if page.objects.len() + page.folders.len() == query.limit {
            page.next = page.folders.last().max(page.objects.last().map(|(name, _)| name)).cloned();
            break;
        }
        match folder {
            Some(folder) => page.folders.push(folder.to_owned()),
            None => page.objects.push((name.clone(), object.clone())),
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(names: &[&str]) -> Objects {
        let objects = Objects::default();
        objects.make_bucket("b");
        for name in names {
            objects.put("b", name, Bytes::from_static(b"x"), false).expect("a bucket");
        }
        objects
    }

    #[test]
    fn of_racing_creates_exactly_one_wins() {
        let objects = bucket(&[]);
        let winners = std::thread::scope(|scope| {
            let create = |number: u8| {
                let objects = &objects;
                scope.spawn(move || objects.put("b", "name", Bytes::from(vec![number]), true))
            };
            let racers: Vec<_> = (0..8).map(create).collect();
            racers.into_iter().map(|racer| racer.join().expect("no panic")).filter(|put| *put != Ok(Put::Taken)).count()
        });
        assert_eq!(winners, 1);
    }

    #[test]
    fn pages_together_show_every_name_and_folder_once() {
        let names = ["a/1", "a/2", "a/b/1", "a/b/2", "a/c", "a/d/1", "b"];
        let objects = bucket(&names);
        for limit in 1..8 {
            for delimiter in [None, Some("/")] {
                let (mut seen, mut after) = (Vec::new(), String::new());
                loop {
                    let query = Query { prefix: "a/", after: &after, delimiter, limit };
                    let page = objects.list("b", &query).expect("a bucket");
                    assert!(page.objects.len() + page.folders.len() <= limit);
                    seen.extend(page.objects.into_iter().map(|(name, _)| name));
                    seen.extend(page.folders);
                    let Some(next) = page.next else { break };
                    after = next;
                }
                seen.sort();
                let expected: &[&str] =
                    if delimiter.is_some() { &["a/1", "a/2", "a/b/", "a/c", "a/d/"] } else { &names[..6] };
                assert_eq!(seen, expected, "limit {limit}, delimiter {delimiter:?}");
            }
        }
    }

    #[test]
    fn a_missing_bucket_is_told_from_a_missing_object() {
        let objects = bucket(&[]);
        assert!(matches!(objects.get("b", "x"), Ok(None)));
        assert!(objects.get("c", "x").is_err());
    }
}
