//! A local directory as a bucket: atomic, and durable like one.
//!
//! An object is written to a file with a `#` in its name, which no listing shows, fsynced, and linked to its name; then
//! the directory is fsynced, and every new directory on the way to it. A process that is killed in between leaves such
//! a file behind and nothing else. Deletes fsync the directory too: what is deleted stays deleted.

use std::{
    fmt,
    fs::File,
    io,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use futures_util::{StreamExt, stream::BoxStream};
use nbdgate_api::{Error, Kind};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, local::LocalFileSystem, path::Path,
};

/// Deletes at once.
const PARALLEL: usize = 8;

/// See the [module](self).
#[derive(Debug)]
struct Directory {
    files: Arc<LocalFileSystem>,
}

/// The bucket in an existing directory.
pub(super) fn open(path: &FilePath) -> std::result::Result<Arc<dyn ObjectStore>, Error> {
    let tried = || format!("opening the bucket directory {}", path.display());
    let meta = std::fs::metadata(path).map_err(|error| Error::from_io(error, tried()))?;
    if !meta.is_dir() {
        return Err(Error::new(Kind::Invalid, format!("{} is not a directory", path.display())));
    }
    let files =
        LocalFileSystem::new_with_prefix(path).map_err(|error| Error::new(Kind::Io, tried()).with_source(error))?;
    // A FLUSH promises what is on the disk, not what is in its cache.
    Ok(Arc::new(Directory { files: Arc::new(files.with_fsync(true)) }))
}

/// Makes the directory and those above it, durably.
pub(super) fn make(path: &FilePath) -> std::result::Result<(), Error> {
    let tried = || format!("making the bucket directory {}", path.display());
    let missing: Vec<PathBuf> =
        path.ancestors().take_while(|directory| !directory.exists()).map(FilePath::to_owned).collect();
    std::fs::create_dir_all(path).map_err(|error| Error::from_io(error, tried()))?;
    for made in missing {
        sync_parent(&made).map_err(|error| Error::from_io(error, tried()))?;
    }
    Ok(())
}

/// The entry of `path` in its directory is on the disk, or its absence.
fn sync_parent(path: &FilePath) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

async fn delete(files: Arc<LocalFileSystem>, location: Result<Path>) -> Result<Path> {
    let location = location?;
    let failed =
        |source: Box<dyn std::error::Error + Send + Sync>| object_store::Error::Generic { store: "directory", source };
    let path = files.path_to_filesystem(&location)?;
    let one = location.clone();
    let mut deleted = files.delete_stream(futures_util::stream::once(async move { Ok(one) }).boxed());
    while let Some(result) = deleted.next().await {
        result?;
    }
    let synced = tokio::task::spawn_blocking(move || sync_parent(&path)).await;
    synced.map_err(|error| failed(error.into()))?.map_err(|error| failed(error.into()))?;
    Ok(location)
}

#[async_trait::async_trait]
impl ObjectStore for Directory {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.files.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.files.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let files = Arc::clone(&self.files);
        locations.map(move |location| delete(Arc::clone(&files), location)).buffered(PARALLEL).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use object_store::{ObjectStoreExt, PutMode};

    use super::*;

    #[tokio::test]
    async fn objects_are_created_once_listed_and_deleted() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("deep/bucket");
        make(&path).expect("made");
        let store = open(&path).expect("opened");
        let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let name = Path::from("a/b/object");
        store.put_opts(&name, "one".into(), create()).await.expect("created");
        let again = store.put_opts(&name, "two".into(), create()).await;
        assert!(matches!(again, Err(object_store::Error::AlreadyExists { .. })), "{again:?}");
        // What a killed process leaves behind.
        std::fs::write(path.join("a/b/other#1"), "half").expect("written");
        let listed: Vec<_> = store.list(None).collect().await;
        assert_eq!(listed.len(), 1, "{listed:?}");
        store.delete(&name).await.expect("deleted");
        let gone = store.delete(&name).await;
        assert!(matches!(gone, Err(object_store::Error::NotFound { .. })), "{gone:?}");
        store.put_opts(&name, "three".into(), create()).await.expect("created again");
    }

    #[test]
    fn a_bucket_that_is_no_directory_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(open(file.path()).expect_err("a file").chain().contains("is not a directory"));
    }
}
