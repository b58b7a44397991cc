//! The operations of S3 that the object log uses, on the map.

use std::sync::{Arc, atomic::Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use s3s::{
    Body, S3, S3Request, S3Response, S3Result,
    dto::{
        CommonPrefix, CreateBucketInput, CreateBucketOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
        DeleteObjectsOutput, DeletedObject, ETag, ETagCondition, GetObjectInput, GetObjectOutput, HeadObjectInput,
        HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, PutObjectInput, PutObjectOutput, StreamingBlob,
    },
    s3_error,
};

use crate::{
    counters::count,
    objects::{NoBucket, Object, Put, Query},
    server::Shared,
};

/// The most names in one page.
const PAGE: usize = 1000;

/// S3 over the shared map.
#[derive(Debug)]
pub(crate) struct Service(pub(crate) Arc<Shared>);

impl From<NoBucket> for s3s::S3Error {
    fn from(NoBucket: NoBucket) -> Self {
        s3_error!(NoSuchBucket)
    }
}

fn etag(object: &Object) -> ETag {
    ETag::Strong(format!("{:016x}", object.etag))
}

/// A length as the protocol writes it.
fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).expect("an object fits memory")
}

impl Service {
    fn object(&self, bucket: &str, key: &str) -> S3Result<Object> {
        let found = self.0.objects.get(bucket, key)?;
        found.ok_or_else(|| {
            count(&self.0.counters.missing);
            s3_error!(NoSuchKey)
        })
    }
}

async fn collect(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(mut body) = body else { return Ok(Bytes::new()) };
    let broken = |error| s3_error!(IncompleteBody, "reading the body: {error}");
    let first = body.try_next().await.map_err(broken)?.unwrap_or_default();
    let Some(second) = body.try_next().await.map_err(broken)? else { return Ok(first) };
    let mut all = BytesMut::from(&first[..]);
    all.extend_from_slice(&second);
    while let Some(chunk) = body.try_next().await.map_err(broken)? {
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn create_bucket(&self, asked: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        self.0.objects.make_bucket(&asked.input.bucket);
        Ok(S3Response::new(CreateBucketOutput::default()))
    }

    async fn put_object(&self, asked: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = asked.input;
        let bytes = collect(input.body).await?;
        let if_absent = match input.if_none_match {
            None => false,
            Some(ETagCondition::Any) => !self.0.settings.lock().ignore_conditions,
            Some(ETagCondition::ETag(_)) => return Err(s3_error!(NotImplemented, "If-None-Match takes * here")),
        };
        if input.if_match.is_some() {
            return Err(s3_error!(NotImplemented, "If-Match is not supported here"));
        }
        let counters = &self.0.counters;
        let sent = bytes.len() as u64;
        match self.0.objects.put(&input.bucket, &input.key, bytes, if_absent)? {
            Put::Taken => {
                count(&counters.refused_puts);
                Err(s3_error!(PreconditionFailed))
            }
            Put::Stored { etag, replaced } => {
                count(&counters.puts);
                counters.bytes_up.fetch_add(sent, Ordering::Relaxed);
                if replaced {
                    count(&counters.overwrites);
                }
                let e_tag = Some(ETag::Strong(format!("{etag:016x}")));
                Ok(S3Response::new(PutObjectOutput { e_tag, ..PutObjectOutput::default() }))
            }
        }
    }

    async fn get_object(&self, asked: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = asked.input;
        let object = self.object(&input.bucket, &input.key)?;
        let total = object.bytes.len();
        let mut part = object.bytes.clone();
        let mut content_range = None;
        if let Some(range) = input.range {
            let range = range.check(total as u64).map_err(|_| s3_error!(InvalidRange))?;
            content_range = Some(format!("bytes {}-{}/{total}", range.start, range.end - 1));
            let within = |at: u64| usize::try_from(at).expect("inside the object");
            part = part.slice(within(range.start)..within(range.end));
        }
        count(&self.0.counters.gets);
        self.0.counters.bytes_down.fetch_add(part.len() as u64, Ordering::Relaxed);
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(length(part.len())),
            content_range,
            e_tag: Some(etag(&object)),
            last_modified: Some(object.modified.into()),
            body: Some(StreamingBlob::from(Body::from(part))),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, asked: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        count(&self.0.counters.heads);
        let object = self.object(&asked.input.bucket, &asked.input.key)?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(length(object.bytes.len())),
            e_tag: Some(etag(&object)),
            last_modified: Some(object.modified.into()),
            ..HeadObjectOutput::default()
        }))
    }

    async fn list_objects_v2(&self, asked: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = asked.input;
        count(&self.0.counters.lists);
        let limit = input.max_keys.map_or(PAGE, |keys| usize::try_from(keys).unwrap_or(0).min(PAGE));
        let after = input.continuation_token.as_ref().or(input.start_after.as_ref());
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            after: after.map_or("", String::as_str),
            delimiter: input.delimiter.as_deref().filter(|text| !text.is_empty()),
            limit,
        };
        let page = self.0.objects.list(&input.bucket, &query)?;
        let shown = |(key, object): (String, Object)| s3s::dto::Object {
            e_tag: Some(etag(&object)),
            size: Some(length(object.bytes.len())),
            last_modified: Some(object.modified.into()),
            key: Some(key),
            ..s3s::dto::Object::default()
        };
        let folder = |prefix| CommonPrefix { prefix: Some(prefix) };
        let entries = page.objects.len() + page.folders.len();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            key_count: i32::try_from(entries).ok(),
            max_keys: i32::try_from(limit).ok(),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next,
            contents: Some(page.objects.into_iter().map(shown).collect()),
            common_prefixes: Some(page.folders.into_iter().map(folder).collect()),
            prefix: input.prefix,
            delimiter: input.delimiter,
            start_after: input.start_after,
            continuation_token: input.continuation_token,
            ..ListObjectsV2Output::default()
        }))
    }

    async fn delete_object(&self, asked: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.0.objects.delete(&asked.input.bucket, &asked.input.key)?;
        count(&self.0.counters.deletes);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(&self, asked: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let mut deleted = Vec::new();
        for object in asked.input.delete.objects {
            self.0.objects.delete(&asked.input.bucket, &object.key)?;
            count(&self.0.counters.deletes);
            deleted.push(DeletedObject { key: Some(object.key), ..DeletedObject::default() });
        }
        Ok(S3Response::new(DeleteObjectsOutput { deleted: Some(deleted), ..DeleteObjectsOutput::default() }))
    }
}
