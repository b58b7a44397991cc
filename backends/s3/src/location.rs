//! Where a disk lives: `s3://bucket/prefix/disk`, `gs://…`, `az://…`, `dir:/bucket-directory/disk`.
//!
//! The last component is the disk's name, the rest is its root: a bucket and a prefix. A location
//! never holds a secret: credentials come from the environment or from files, and a URL with a user part or
//! a query is refused, so that a location is safe to log and to show.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use nbdgate_api::{Error, Kind};
use object_store::{ObjectStore, path::Path};

use crate::format::{VolumeName, names::MAX_VOLUME_NAME};

/// How a manifest names the store for logs that the caller made.
const GIVEN_LOG: &str = "given:log";

/// One disk of one root.
#[derive(Clone, Debug)]
pub struct Location {
    root: Root,
    name: VolumeName,
}

/// A bucket and a prefix: what holds many disks.
#[derive(Clone, Debug)]
pub struct Root {
    bucket: Bucket,
    prefix: String,
    /// The store for logs beside a given one.
    given_log: Option<Arc<dyn ObjectStore>>,
}

/// Which store.
#[derive(Clone, Debug)]
pub(crate) enum Bucket {
    S3(String),
    Gcs(String),
    Azure(String),
    Dir(PathBuf),
    Given(Arc<dyn ObjectStore>),
}

impl Location {
    /// A disk in a store that the caller made: tests, the memory store.
    ///
    /// # Panics
    /// If `root` or `name` is not a valid path; both are the program's own.
    pub fn in_store(store: Arc<dyn ObjectStore>, root: &str, name: &str) -> Self {
        let name = check_name(name).expect("the caller gives a valid name");
        let prefix = check_prefix(root).expect("the caller gives a valid root");
        Self { root: Root { bucket: Bucket::Given(store), prefix, given_log: None }, name }
    }

    /// As [`in_store`](Self::in_store), with another store for logs: see [`Root::given_log`].
    #[must_use]
    pub fn with_log_store(mut self, log: Arc<dyn ObjectStore>) -> Self {
        self.root.given_log = Some(log);
        self
    }

    /// What holds this disk and others.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The disk's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    pub(crate) fn volume_name(&self) -> &VolumeName {
        &self.name
    }
}

impl Root {
    /// The disk `name` of this root.
    ///
    /// # Errors
    /// The name is not one.
    pub fn disk(&self, name: &str) -> Result<Location, Error> {
        Ok(Location { root: self.clone(), name: check_name(name)? })
    }

    /// The root for logs in the store given with [`Location::with_log_store`], to create disks with.
    #[must_use]
    pub fn given_log(&self) -> Option<Self> {
        let log = self.given_log.clone()?;
        Some(Self { bucket: Bucket::Given(log), prefix: self.prefix.clone(), given_log: None })
    }

    /// The text by which a manifest names it as the root of a log.
    pub(crate) fn recorded(&self) -> String {
        match &self.bucket {
            Bucket::Given(_) => GIVEN_LOG.to_owned(),
            _ => self.to_string(),
        }
    }

    /// The root of a log, by the text in the manifest of a disk of this root.
    pub(crate) fn log_root(&self, recorded: &str) -> Result<Self, Error> {
        let root = if recorded == GIVEN_LOG { self.given_log() } else { recorded.parse().ok() };
        root.ok_or_else(|| {
            let text =
                format!("the log of the disk is in `{recorded}`, which is no store that can be reached from here");
            Error::new(Kind::NotSupported, text)
        })
    }

    /// Whether both are the same place.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let same = match (&self.bucket, &other.bucket) {
            (Bucket::Given(one), Bucket::Given(two)) => Arc::ptr_eq(one, two),
            _ => return self.to_string() == other.to_string(),
        };
        same && self.prefix == other.prefix
    }

    pub(crate) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    pub(crate) fn prefix(&self) -> Path {
        Path::from(self.prefix.as_str())
    }
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (head, name) = text.trim_end_matches('/').rsplit_once('/').ok_or_else(|| incomplete(text))?;
        let name = check_name(name)?;
        // The bucket alone is no disk: `s3://bucket` splits inside its `//`.
        if head.ends_with('/') || head.ends_with(':') && !head.starts_with("dir:") {
            return Err(incomplete(text));
        }
        let head = if head == "dir:" { "dir:/" } else { head };
        Ok(Self { root: head.parse()?, name })
    }
}

impl FromStr for Root {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("dir:") {
            if !path.starts_with('/') {
                return Err(invalid(format!("`{text}`: dir: needs an absolute path, as in dir:/srv/bucket/disk")));
            }
            let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
            return Ok(Self { bucket: Bucket::Dir(PathBuf::from(path)), prefix: String::new(), given_log: None });
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| incomplete(text))?;
        // The text may hold a secret, so it is not repeated.
        if rest.contains(['@', '?', '#']) {
            return Err(invalid(format!(
                "a {scheme}:// location takes no user, query or fragment; credentials come from the environment"
            )));
        }
        let (bucket, prefix) = rest.trim_end_matches('/').split_once('/').unwrap_or((rest.trim_end_matches('/'), ""));
        if bucket.is_empty() || !bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
            return Err(invalid(format!("`{bucket}` is not the name of a bucket")));
        }
        let bucket = bucket.to_owned();
        let bucket = match scheme {
            "s3" => Bucket::S3(bucket),
            "gs" => Bucket::Gcs(bucket),
            "az" => Bucket::Azure(bucket),
            _ => return Err(invalid(format!("`{scheme}:` is not a store: use s3://, gs://, az:// or dir:"))),
        };
        Ok(Self { bucket, prefix: check_prefix(prefix)?, given_log: None })
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.bucket {
            Bucket::S3(bucket) => write!(f, "s3://{bucket}")?,
            Bucket::Gcs(bucket) => write!(f, "gs://{bucket}")?,
            Bucket::Azure(bucket) => write!(f, "az://{bucket}")?,
            Bucket::Dir(path) => write!(f, "dir:{}", path.display())?,
            Bucket::Given(store) => write!(f, "{store}")?,
        }
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.root, self.name)
    }
}

fn check_name(name: &str) -> Result<VolumeName, Error> {
    VolumeName::parse(name).ok_or_else(|| {
        invalid(format!(
            "`{}` is not a disk name: up to {MAX_VOLUME_NAME} letters, digits, `.`, `_` and `-`, not starting with `.`",
            name.escape_default()
        ))
    })
}

fn check_prefix(prefix: &str) -> Result<String, Error> {
    let path = Path::parse(prefix.trim_matches('/'))
        .map_err(|error| invalid("the prefix is not a path of an object store").with_source(error))?;
    Ok(path.to_string())
}

fn incomplete(text: &str) -> Error {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    match scheme {
        "s3" | "gs" | "az" => {
            invalid(format!("a {scheme}:// location names a bucket and a disk: {scheme}://bucket/disk"))
        }
        _ => invalid("not a location of an object store: use s3://bucket/disk, gs://, az:// or dir:/bucket/disk"),
    }
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Kind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_shown_as_they_were_given() {
        for text in [
            "s3://bucket/disk",
            "s3://my.bucket-1/a/b/disk.img",
            "gs://bucket/p/disk",
            "az://container/disk",
            "dir:/srv/bucket/disk",
        ] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_last_component_is_the_name() {
        let location: Location = "s3://bucket/team/a/disk".parse().unwrap();
        assert_eq!(location.name(), "disk");
        assert_eq!(location.root().to_string(), "s3://bucket/team/a");
        let location: Location = "dir:/disk".parse().unwrap();
        assert_eq!((location.name(), location.root().to_string().as_str()), ("disk", "dir:/"));
    }

    #[test]
    fn what_is_no_location_is_refused_and_says_why() {
        for text in ["", "disk", "s3://", "s3://bucket", "s3://bucket/", "s3:///disk", "ftp://bucket/disk", "dir:disk"]
        {
            assert!(text.parse::<Location>().is_err(), "{text} was accepted");
        }
        for text in ["s3://bucket/.hidden", "s3://bucket/a b", "s3://bucket/../disk", "s3://bucket/a//disk"] {
            assert!(text.parse::<Location>().is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn a_secret_in_a_location_is_refused_and_not_repeated() {
        for text in ["s3://key:SECRET@bucket/disk", "s3://bucket/p?secret=SECRET/disk"] {
            let error = text.parse::<Location>().unwrap_err();
            assert!(!error.chain().contains("SECRET"), "{}", error.chain());
        }
    }
}
