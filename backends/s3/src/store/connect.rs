//! Clients for the stores. Credentials, region and endpoint come from the environment (`AWS_*`, `GOOGLE_*`,
//! `AZURE_*`) and the files it names, never from a location. Made anew, a client reads all of it again.

mod directory;
mod environment;

use std::sync::Arc;

use nbdgate_api::{Error, Kind};
use object_store::{
    BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
};

use super::{traffic::Traffic, wire::Watching};
use crate::{Root, location::Bucket};

/// The crate's own retries are few: the loops in this module know deadlines, its loop does not.
fn retry() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: 2, retry_timeout: std::time::Duration::from_secs(10) }
}

/// A segment over a slow line takes longer than the crate's 30 s; our own limits depend on the length.
const REQUEST_TIMEOUT: &str = "600 seconds";

/// Buckets of this name are directory buckets (S3 Express One Zone), with a session protocol of their own.
const EXPRESS_SUFFIX: &str = "--x-s3";

/// R2 has one region.
const R2_HOST: &str = "r2.cloudflarestorage.com";

pub(super) fn connect(root: &Root, traffic: &Arc<Traffic>) -> Result<Arc<dyn ObjectStore>, Error> {
    let watching = Watching(Arc::clone(traffic));
    Ok(match root.bucket() {
        Bucket::S3(bucket) => s3(bucket, watching)?,
        Bucket::Gcs(bucket) => gcs(bucket, watching)?,
        Bucket::Azure(container) => azure(container, watching)?,
        Bucket::Dir(path) => directory::open(path)?,
        Bucket::Given(store) => Arc::clone(store),
    })
}

/// Whether making the client anew can change anything.
pub(super) fn has_credentials(root: &Root) -> bool {
    match root.bucket() {
        Bucket::S3(_) | Bucket::Gcs(_) | Bucket::Azure(_) => true,
        Bucket::Dir(_) | Bucket::Given(_) => false,
    }
}

/// Makes the directory of a `dir:` root if it is missing; other buckets are made with their vendors' tools.
pub(crate) fn prepare(root: &Root) -> Result<(), Error> {
    match root.bucket() {
        Bucket::Dir(path) => directory::make(path),
        Bucket::S3(_) | Bucket::Gcs(_) | Bucket::Azure(_) | Bucket::Given(_) => Ok(()),
    }
}

fn s3(bucket: &str, watching: Watching) -> Result<Arc<dyn ObjectStore>, Error> {
    let credentials = environment::aws(&environment::process)?;
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_s3_express(bucket.ends_with(EXPRESS_SUFFIX))
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
        .with_http_connector(watching)
        .with_retry(retry());
    if let Some(keys) = credentials {
        builder = builder.with_access_key_id(keys.id).with_secret_access_key(keys.secret);
        if let Some(token) = keys.token {
            builder = builder.with_token(token);
        }
    }
    let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let endpoint = endpoint.iter().find_map(|key| builder.get_config_value(key));
    let no_region = builder.get_config_value(&AmazonS3ConfigKey::Region).is_none();
    if no_region && endpoint.as_ref().is_some_and(|endpoint| endpoint.contains(R2_HOST)) {
        builder = builder.with_region("auto");
    }
    builder = match endpoint {
        // A plain endpoint was asked for by name; the signature then covers the payload.
        Some(endpoint) if endpoint.starts_with("http://") => builder.with_allow_http(true),
        Some(_) => builder.with_unsigned_payload(true),
        None => builder.with_unsigned_payload(true).with_checksum_algorithm(Checksum::CRC64NVME),
    };
    Ok(Arc::new(builder.build().map_err(|error| settings("S3", "AWS_*", error))?))
}

fn gcs(bucket: &str, watching: Watching) -> Result<Arc<dyn ObjectStore>, Error> {
    environment::google(&environment::process)?;
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(bucket)
        .with_config(GoogleConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
        .with_http_connector(watching)
        .with_retry(retry());
    if let Some(url) = environment::gcs_emulator(&environment::process) {
        builder = builder
            .with_config(GoogleConfigKey::BaseUrl, url)
            .with_config(GoogleConfigKey::SkipSignature, "true")
            .with_config(GoogleConfigKey::Client(ClientConfigKey::AllowHttp), "true");
    }
    Ok(Arc::new(builder.build().map_err(|error| settings("Google Cloud Storage", "GOOGLE_*", error))?))
}

fn azure(container: &str, watching: Watching) -> Result<Arc<dyn ObjectStore>, Error> {
    environment::azure(&environment::process)?;
    let builder = MicrosoftAzureBuilder::from_env()
        .with_container_name(container)
        .with_config(AzureConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
        .with_http_connector(watching)
        .with_retry(retry());
    Ok(Arc::new(builder.build().map_err(|error| settings("Azure", "AZURE_*", error))?))
}

fn settings(store: &str, names: &str, error: object_store::Error) -> Error {
    Error::new(Kind::Invalid, format!("the settings for {store} in the environment ({names}) are not usable"))
        .with_source(error)
}
