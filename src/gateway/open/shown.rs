//! Exports as the status page shows them: what the configuration knows of each.

use std::sync::Arc;

use crate::{
    config::{Config, ExportConfig, ExportUri},
    export::Registry,
    status::{Shown, Storage},
};

/// The exports of `config` that are open.
pub(super) fn shown(config: &Config, exports: &Registry) -> Vec<Shown> {
    let shown = config.exports.iter().filter_map(|export| {
        let open = exports.find(export.name.as_str())?;
        let (storage, directory) = match &export.uri {
            ExportUri::Memory { .. } => (Storage::Memory, None),
            ExportUri::File { .. } => (Storage::File, None),
            ExportUri::Object(_) => (Storage::ObjectLog, None),
            ExportUri::RocksDb { path, .. } => (Storage::RocksDb, Some(path.clone())),
        };
        Some(Shown {
            export: Arc::downgrade(open),
            storage,
            directory,
            is_snapshot: export.snapshot.is_some(),
            served_snapshots: snapshots_of(export, &config.exports),
            provider: provider(&export.uri, |name| std::env::var(name).ok().filter(|value| !value.is_empty())),
        })
    });
    shown.collect()
}

/// The snapshots of an export's disk that are exports of their own.
fn snapshots_of(export: &ExportConfig, all: &[ExportConfig]) -> Vec<String> {
    let is_same = |other: &&ExportConfig| match (&export.uri, &other.uri) {
        (ExportUri::Object(one), ExportUri::Object(other)) => one == other,
        (ExportUri::RocksDb { path: one, .. }, ExportUri::RocksDb { path: other, .. }) => one == other,
        _ => false,
    };
    all.iter().filter(is_same).filter_map(|other| other.snapshot.clone()).collect()
}

/// Whose list prices an export has, by its URI and by the endpoint that the environment names; `None` for storage that costs
/// no requests, or that nobody has a list for.
fn provider(uri: &ExportUri, variable: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let ExportUri::Object(url) = uri else { return None };
    let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"].into_iter().find_map(variable);
    match (url.split(':').next()?, endpoint) {
        ("s3", None) => Some("aws"),
        ("s3", Some(endpoint)) if endpoint.contains(".amazonaws.com") => Some("aws"),
        ("s3", Some(endpoint)) if endpoint.contains(".r2.cloudflarestorage.com") => Some("r2"),
        ("gs", _) => Some("gcs"),
        ("az", _) => Some("azure"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_those_of_the_scheme_and_the_endpoint() {
        let of = |url: &str, endpoint: Option<&str>| {
            let endpoint = endpoint.map(str::to_owned);
            provider(&ExportUri::Object(url.to_owned()), |name| endpoint.clone().filter(|_| name == "AWS_ENDPOINT"))
        };
        assert_eq!(of("s3://b/d", None), Some("aws"));
        assert_eq!(of("s3://b/d", Some("https://s3.eu-west-1.amazonaws.com")), Some("aws"));
        assert_eq!(of("s3://b/d", Some("https://x.r2.cloudflarestorage.com")), Some("r2"));
        assert_eq!(of("s3://b/d", Some("http://127.0.0.1:9000")), None, "nobody knows what that costs");
        assert_eq!((of("gs://b/d", None), of("az://b/d", None)), (Some("gcs"), Some("azure")));
        assert_eq!(of("dir:/b/d", None), None);
        assert_eq!(provider(&ExportUri::Memory { size: 4096 }, |_| None), None);
    }
}
