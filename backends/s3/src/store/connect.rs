//! Clients for the stores. Credentials, region and endpoint come from the environment (`AWS_*`, `GOOGLE_*`,
//! `AZURE_*`) and the files it names, never from a location.

use std::{path::Path as FilePath, sync::Arc, time::Duration};

use nbdgate_api::{Error, Kind};
use object_store::{
    BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    local::LocalFileSystem,
};

use crate::{Root, location::Bucket};

/// The crate's own retries are few: the loops in this module know deadlines, its loop does not.
fn retry() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: 2, retry_timeout: Duration::from_secs(10) }
}

/// A segment over a slow line takes longer than the crate's 30 s; our own limits depend on the length.
const REQUEST_TIMEOUT: &str = "600 seconds";

pub(super) fn connect(root: &Root) -> Result<Arc<dyn ObjectStore>, Error> {
    Ok(match root.bucket() {
        Bucket::S3(bucket) => s3(bucket)?,
        Bucket::Gcs(bucket) => {
            let builder = GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(bucket)
                .with_config(GoogleConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
                .with_retry(retry());
            Arc::new(builder.build().map_err(|error| settings("Google Cloud Storage", "GOOGLE_*", error))?)
        }
        Bucket::Azure(container) => {
            let builder = MicrosoftAzureBuilder::from_env()
                .with_container_name(container)
                .with_config(AzureConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
                .with_retry(retry());
            Arc::new(builder.build().map_err(|error| settings("Azure", "AZURE_*", error))?)
        }
        Bucket::Dir(path) => directory(path)?,
        Bucket::Given(store) => Arc::clone(store),
    })
}

/// Makes the directory of a `dir:` root if it is missing; other buckets are made with their vendors' tools.
pub(crate) fn prepare(root: &Root) -> Result<(), Error> {
    match root.bucket() {
        Bucket::Dir(path) => std::fs::create_dir_all(path)
            .map_err(|error| Error::from_io(error, format!("making the bucket directory {}", path.display()))),
        Bucket::S3(_) | Bucket::Gcs(_) | Bucket::Azure(_) | Bucket::Given(_) => Ok(()),
    }
}

fn s3(bucket: &str) -> Result<Arc<dyn ObjectStore>, Error> {
    let builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
        .with_retry(retry());
    let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let builder = match endpoint.iter().find_map(|key| builder.get_config_value(key)) {
        // A plain endpoint was asked for by name; the signature then covers the payload.
        Some(endpoint) if endpoint.starts_with("http://") => builder.with_allow_http(true),
        Some(_) => builder.with_unsigned_payload(true),
        None => builder.with_unsigned_payload(true).with_checksum_algorithm(Checksum::CRC64NVME),
    };
    Ok(Arc::new(builder.build().map_err(|error| settings("S3", "AWS_*", error))?))
}

fn directory(path: &FilePath) -> Result<Arc<dyn ObjectStore>, Error> {
    let tried = || format!("opening the bucket directory {}", path.display());
    let meta = std::fs::metadata(path).map_err(|error| Error::from_io(error, tried()))?;
    if !meta.is_dir() {
        return Err(Error::new(Kind::Invalid, format!("{} is not a directory", path.display())));
    }
    let store =
        LocalFileSystem::new_with_prefix(path).map_err(|error| Error::new(Kind::Io, tried()).with_source(error))?;
    // A FLUSH promises what is on the disk, not what is in its cache.
    Ok(Arc::new(store.with_fsync(true)))
}

fn settings(store: &str, names: &str, error: object_store::Error) -> Error {
    Error::new(Kind::Invalid, format!("the settings for {store} in the environment ({names}) are not usable"))
        .with_source(error)
}
