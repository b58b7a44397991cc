//! Where an export's bytes live.

use std::{fmt, path::PathBuf, str::FromStr};

use super::{Invalid, RocksDbDisk, Size};

/// Largest disk, in bytes: clients keep offsets in signed 64-bit integers.
const MAX_DISK_SIZE: u64 = i64::MAX as u64;

/// Storage of one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportUri {
    /// `file:/path`: a raw image or a block device.
    File {
        /// Relative to the working directory unless it starts with `/`.
        path: PathBuf,
        /// Past the page cache, with O_DIRECT.
        direct: bool,
        /// Create the image with this many bytes if it does not exist.
        create_size: Option<u64>,
    },
    /// `mem:10G`: sparse memory, zeros at start, gone at the end.
    Memory {
        /// In bytes.
        size: u64,
    },
    /// `s3://bucket/prefix/disk`, `gs://`, `az://` or `dir:/path/disk`: a disk in the object log.
    Object(String),
    /// `rocksdb:/path`: a disk in an embedded RocksDB.
    RocksDb {
        /// A directory; relative to the working directory unless it starts with `/`.
        path: PathBuf,
        /// Make the disk if it is missing.
        create: Option<RocksDbDisk>,
    },
}

impl FromStr for ExportUri {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(Invalid::new(format!("{text:?} is not a URI: {SCHEMES}")));
        };
        match scheme {
            "file" => Ok(Self::File { path: local_path("file", rest)?.into(), direct: false, create_size: None }),
            "mem" => memory(rest),
            "dir" => directory_disk(local_path("dir", rest)?),
            "s3" | "gs" | "az" => bucket_disk(text, rest),
            "rocksdb" => rocksdb_disk(rest),
            _ => Err(Invalid::new(format!("unknown scheme {scheme:?}: {SCHEMES}"))),
        }
    }
}

const SCHEMES: &str = "write file:/path, mem:10G, rocksdb:/path, s3://bucket/prefix/disk, gs://..., az://... or \
                       dir:/path/disk";

fn memory(size: &str) -> Result<ExportUri, Invalid> {
    let size: Size = size.parse()?;
    Ok(ExportUri::Memory { size: disk_size(size)? })
}

/// Checks the limits of a disk's size.
pub(super) fn disk_size(size: Size) -> Result<u64, Invalid> {
    match size.bytes() {
        0 => Err(Invalid::new("a disk of size 0 holds nothing: give it a size, as in 10G")),
        bytes if bytes > MAX_DISK_SIZE => {
            Err(Invalid::new(format!("size {size} is above the limit of 2^63 - 1 bytes")))
        }
        bytes => Ok(bytes),
    }
}

/// A path after `scheme:`; the form `scheme:///path` is the same as `scheme:/path`, and so are more slashes.
fn local_path<'a>(scheme: &str, rest: &'a str) -> Result<&'a str, Invalid> {
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => return Err(Invalid::new(format!("{scheme}: takes a local path, not a host: write {scheme}:/path"))),
        None => rest,
    };
    if path.is_empty() {
        return Err(Invalid::new(format!("{scheme}: needs a path, as in {scheme}:/path")));
    }
    if path.contains('\0') {
        return Err(Invalid::new(format!("{scheme}: the path contains a NUL byte")));
    }
    let slashes = path.len() - path.trim_start_matches('/').len();
    Ok(&path[slashes.saturating_sub(1)..])
}

/// A path cannot hold a `?`, which begins the query.
fn rocksdb_disk(rest: &str) -> Result<ExportUri, Invalid> {
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let path = local_path("rocksdb", path)?.into();
    Ok(ExportUri::RocksDb { path, create: query.map(RocksDbDisk::from_query).transpose()? })
}

fn directory_disk(path: &str) -> Result<ExportUri, Invalid> {
    let is_name = |part: &str| !matches!(part, "" | "." | "..");
    if !path.starts_with('/') || !path[1..].split('/').all(is_name) {
        return Err(Invalid::new(format!("dir:{path} names no disk: write dir:/directory/disk, with the whole path")));
    }
    Ok(ExportUri::Object(format!("dir:{path}")))
}

fn bucket_disk(text: &str, rest: &str) -> Result<ExportUri, Invalid> {
    let scheme = &text[..text.len() - rest.len()];
    // The text of an error is logged: what may hold a secret is not repeated in it.
    if rest.contains('@') {
        return Err(Invalid::new(format!(
            "{scheme}// with a user or key in it: credentials belong in the environment (AWS_ACCESS_KEY_ID, \
             GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_KEY, ...) or in the files these name"
        )));
    }
    if rest.contains(['?', '#']) {
        return Err(Invalid::new(format!(
            "{scheme}// takes no query and no fragment: options follow a comma, credentials and endpoints belong in \
             the environment"
        )));
    }
    let segments = rest.strip_prefix("//").map(|rest| rest.split('/').collect::<Vec<_>>()).unwrap_or_default();
    let is_name = |segment: &&str| !matches!(*segment, "" | "." | "..") && !segment.contains(char::is_control);
    if segments.len() < 2 || !segments.iter().all(is_name) {
        return Err(Invalid::new(format!(
            "{text:?} names no disk: write {scheme}//bucket/disk or {scheme}//bucket/prefix/disk"
        )));
    }
    Ok(ExportUri::Object(text.to_owned()))
}

impl fmt::Display for ExportUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "file:{}", path.display()),
            Self::Memory { size } => write!(f, "mem:{}", Size::from_bytes(*size)),
            Self::Object(url) => f.write_str(url),
            Self::RocksDb { path, create: None } => write!(f, "rocksdb:{}", path.display()),
            Self::RocksDb { path, create: Some(disk) } => write!(f, "rocksdb:{}?{disk}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_scheme_is_read() {
        let file = |path: &str| ExportUri::File { path: path.into(), direct: false, create_size: None };
        let object = |url: &str| ExportUri::Object(url.to_owned());
        let rocksdb = |path: &str, create| ExportUri::RocksDb { path: path.into(), create };
        let disk = RocksDbDisk { size: 1 << 30, extent: Some(4096), compression: None };
        for (text, uri) in [
            ("file:/disk.img", file("/disk.img")),
            ("file:///disk.img", file("/disk.img")),
            ("file:disk=1,2.img", file("disk=1,2.img")),
            ("mem:10G", ExportUri::Memory { size: 10 << 30 }),
            ("s3://bucket/disk", object("s3://bucket/disk")),
            ("gs://bucket/prefix/disk", object("gs://bucket/prefix/disk")),
            ("az://container/disk", object("az://container/disk")),
            ("dir:/srv/bucket/disk", object("dir:/srv/bucket/disk")),
            ("dir:///srv/bucket/disk", object("dir:/srv/bucket/disk")),
            ("rocksdb:/srv/disk", rocksdb("/srv/disk", None)),
            ("rocksdb:///srv/disk", rocksdb("/srv/disk", None)),
            ("rocksdb:disk,1", rocksdb("disk,1", None)),
            ("rocksdb:/srv/disk?size=1G&extent=4K", rocksdb("/srv/disk", Some(disk))),
        ] {
            assert_eq!(text.parse(), Ok(uri), "{text}");
        }
    }

    #[test]
    fn what_names_no_storage_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "not a URI"),
            ("/disk.img", "not a URI"),
            ("nbd://host/x", "unknown scheme"),
            ("file:", "needs a path"),
            ("file://host/disk", "not a host"),
            ("file:/a\0b", "NUL"),
            ("mem:", "not a size"),
            ("mem:0", "holds nothing"),
            ("mem:8E", "limit"),
            ("rocksdb:", "needs a path"),
            ("rocksdb:?size=1G", "needs a path"),
            ("rocksdb://host/disk", "not a host"),
            ("rocksdb:/disk?", "unknown"),
            ("rocksdb:/disk?extent=4K", "without a size"),
            ("rocksdb:/disk?size=1G?extent=4K", "not a size"),
            ("dir:/", "names no disk"),
            ("dir:/a/../b", "names no disk"),
            ("dir:a/b", "whole path"),
            ("dir:/a//b", "names no disk"),
            ("s3:bucket/disk", "names no disk"),
            ("s3://bucket", "names no disk"),
            ("s3://bucket/", "names no disk"),
            ("s3:///disk", "names no disk"),
            ("s3://bucket//disk", "names no disk"),
            ("s3://bucket/../disk", "names no disk"),
            ("s3://bucket/disk?region=x", "no query"),
            ("s3://bucket/disk#1", "no query"),
        ] {
            let error = text.parse::<ExportUri>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_secret_in_a_url_is_refused_and_not_repeated() {
        let error = "s3://AKIA:hunter2@bucket/disk".parse::<ExportUri>().expect_err("userinfo").to_string();
        assert!(error.contains("AWS_ACCESS_KEY_ID"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn slashes_in_front_of_a_path_are_one() {
        for text in ["file:////disk", "file://////disk", "rocksdb:////disk"] {
            let uri: ExportUri = text.parse().expect(text);
            assert!(uri.to_string().ends_with(":/disk"), "{text}: {uri}");
        }
    }

    proptest! {
        #[test]
        fn any_string_is_parsed_or_refused(
            text in ".*|(file|mem|s3|gs|az|dir|rocksdb):[/a-z0-9.@?#]{0,20}",
            query in "|[?]size=[0-9]{1,3}[KMG](&(extent=(4|16|24)K|compression=(lz4|none|no))){0,2}",
        ) {
            if let Ok(uri) = format!("{text}{query}").parse::<ExportUri>() {
                prop_assert_eq!(uri.to_string().parse(), Ok(uri));
            }
        }
    }
}
