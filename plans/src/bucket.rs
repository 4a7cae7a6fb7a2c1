//! Files in a bucket: tables, sinks and COPY name them by URL, as in `s3://bucket/folder/*.parquet`.
//!
//! Credentials are options of the table, by the names that `object_store` has for them, or else what this process was told
//! of object stores ([`crate::storage::configure`]). Nothing here prints them. What a store says is a [`StoreError`], in the
//! words of whoever has to act.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    BackoffConfig, GetOptions, GetRange, OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, RetryConfig, coalesce_ranges,
};

use crate::redaction;
use crate::storage::s3;

/// What the names of options begin with that are of the store.
const OPTION_PREFIX: &str = "aws_";

/// Options that nobody is to read.
const HIDDEN: [&str; 2] = ["aws_secret_access_key", "aws_session_token"];

/// Requests that failed are sent again so often.
const RETRIES_MAX: usize = 6;

/// Nothing is sent again after so long.
const RETRY_LIMIT: Duration = Duration::from_secs(60);

/// What a store has to do, for whoever reads and writes files.
pub trait Objects: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Objects for T {}

/// What a store has said, or the way to it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct StoreError {
    /// What it is about.
    pub url: String,
    /// What is wrong.
    pub reason: String,
    /// Of which kind that is.
    pub kind: io::ErrorKind,
}

/// The result of asking a store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

impl StoreError {
    fn new(url: impl Into<String>, kind: io::ErrorKind, reason: impl Into<String>) -> Self {
        Self { url: url.into(), reason: reason.into(), kind }
    }

    /// The same as an error of the system.
    #[must_use]
    pub fn into_io(self) -> io::Error {
        io::Error::new(self.kind, self)
    }

    /// Among the causes of an error the first that a store has said.
    #[must_use]
    pub fn among<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if let Some(found) = within.and_then(|inner| inner.downcast_ref::<Self>()) {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }
}

/// A bucket. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    /// `s3://name/`.
    root: String,
    objects: Arc<dyn Objects>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.root).finish()
    }
}

/// A part of an object that has been written, until all are.
pub type Part = PartId;

/// Whether a path is a URL, and not one of this machine.
#[must_use]
pub fn is_url(path: &str) -> bool {
    path.split_once("://").is_some_and(|(scheme, _)| scheme != "file")
}

/// A path of this machine, without the scheme that it may have.
#[must_use]
pub fn local(path: &str) -> &str {
    path.strip_prefix("file://").unwrap_or(path)
}

/// Those of a table's options that are of the store.
#[must_use]
pub fn store_options(options: &[(String, String)]) -> Vec<(String, String)> {
    options.iter().filter(|(name, _)| is_store_option(name)).cloned().collect()
}

/// Whether an option is one of the store.
#[must_use]
pub fn is_store_option(name: &str) -> bool {
    name.starts_with(OPTION_PREFIX)
}

impl Bucket {
    /// The bucket of a path, which is not asked for yet; none if the path is of this machine.
    pub fn of(path: &str, options: &[(String, String)]) -> Result<Option<Self>> {
        let refused = |reason: String| StoreError::new(path, io::ErrorKind::InvalidInput, reason);
        let given = store_options(options);
        let Some((scheme, rest)) = path.split_once("://").filter(|_| is_url(path)) else {
            return match given.first() {
                Some((name, _)) => {
                    Err(refused(format!("the option '{name}' is one of s3://bucket/path; leave it out")))
                }
                None => Ok(None),
            };
        };
        if scheme != "s3" {
            return Err(refused(format!(
                "{scheme}:// is not supported; a path of this machine, file:// and s3:// are"
            )));
        }
        let name = rest.split('/').next().unwrap_or_default();
        if name.is_empty() {
            return Err(refused(String::from("names no bucket; s3://bucket/path does")));
        }
        redaction::learn(
            given.iter().filter(|(name, _)| HIDDEN.contains(&name.as_str())).map(|(_, value)| value.as_str()),
        );
        let retry =
            RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_LIMIT, backoff: BackoffConfig::default() };
        let store = s3(name, &given).and_then(|builder| builder.with_retry(retry).build());
        let store = store.map_err(|error| refused(first_line(&error.to_string())))?;
        Ok(Some(Self { root: format!("s3://{name}/"), objects: Arc::new(store) }))
    }

    /// A bucket on a store of any kind, whose URL begins so and ends with a slash.
    #[must_use]
    pub fn on(root: &str, objects: Arc<dyn Objects>) -> Self {
        Self { root: root.to_owned(), objects }
    }

    /// Its store.
    #[must_use]
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.objects) as Arc<dyn ObjectStore>
    }

    /// What its URLs begin with.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The key of a URL, without a slash at its end.
    pub fn key(&self, url: &str) -> Result<Path> {
        let refused = |reason: String| StoreError::new(url, io::ErrorKind::InvalidInput, reason);
        let below =
            url.strip_prefix(self.root.as_str()).or_else(|| (url == self.root.trim_end_matches('/')).then_some(""));
        let below = below.ok_or_else(|| refused(format!("is not in {}", self.root)))?;
        Path::parse(below).map_err(|error| refused(first_line(&error.to_string())))
    }

    /// The URL of a key.
    #[must_use]
    pub fn url(&self, key: &Path) -> PathBuf {
        PathBuf::from(format!("{}{key}", self.root))
    }

    /// What is known of an object; nothing if there is none.
    pub async fn look(&self, key: &Path) -> Result<Option<ObjectMeta>> {
        match self.objects.head(key).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.said(key, &error)),
        }
    }

    /// The objects below a folder, in no order: those in it, or in folders below it too.
    pub async fn list(&self, folder: &Path, is_deep: bool) -> Result<Vec<ObjectMeta>> {
        let prefix = Some(folder).filter(|folder| !folder.as_ref().is_empty());
        let listed = match is_deep {
            true => self.objects.list(prefix).try_collect().await,
            false => self.objects.list_with_delimiter(prefix).await.map(|listed| listed.objects),
        };
        listed.map_err(|error| self.said(folder, &error))
    }

    /// Bytes of an object as it was when it was looked at; an error if it has been replaced since.
    pub async fn read(&self, object: &ObjectMeta, range: Range<u64>) -> Result<Bytes> {
        let options = GetOptions {
            if_match: object.e_tag.clone(),
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let key = &object.location;
        let found = self.objects.get_opts(key, options).await.map_err(|error| self.said(key, &error))?;
        found.bytes().await.map_err(|error| self.said(key, &error))
    }

    /// The same of several ranges; those that are near each other are read together.
    pub async fn read_ranges(&self, object: &ObjectMeta, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        coalesce_ranges(ranges, |range| self.read(object, range), OBJECT_STORE_COALESCE_DEFAULT).await
    }

    /// The last bytes of an object, so many of them, and what is known of it.
    pub async fn read_end(&self, key: &Path, bytes: u64) -> Result<(ObjectMeta, Bytes)> {
        let options = GetOptions { range: Some(GetRange::Suffix(bytes)), ..GetOptions::default() };
        let found = self.objects.get_opts(key, options).await.map_err(|error| self.said(key, &error))?;
        let meta = found.meta.clone();
        Ok((meta, found.bytes().await.map_err(|error| self.said(key, &error))?))
    }

    /// All of a small object; nothing if there is none.
    pub async fn read_all(&self, key: &Path) -> Result<Option<Bytes>> {
        match self.objects.get(key).await {
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.said(key, &error)),
            Ok(found) => found.bytes().await.map(Some).map_err(|error| self.said(key, &error)),
        }
    }

    /// Writes a small object, in the place of one that is there.
    pub async fn put(&self, key: &Path, bytes: Vec<u8>) -> Result<()> {
        self.objects.put(key, bytes.into()).await.map(drop).map_err(|error| self.said(key, &error))
    }

    /// Writes a small object unless there is one; says whether it was written.
    pub async fn create(&self, key: &Path, bytes: Vec<u8>) -> Result<bool> {
        match self.objects.put_opts(key, bytes.into(), PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(self.said(key, &error)),
        }
    }

    /// Removes an object; it is no error if it is gone.
    pub async fn remove(&self, key: &Path) -> Result<()> {
        match self.objects.delete(key).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.said(key, &error)),
        }
    }

    /// Begins an object that is there once all of its parts are and [`Self::complete`] says so. Returns its upload.
    pub async fn begin(&self, key: &Path) -> Result<String> {
        self.objects.create_multipart(key).await.map_err(|error| self.said(key, &error))
    }

    /// Writes a part of an object; all have the same number of bytes but for the last, which may have fewer.
    pub async fn put_part(&self, key: &Path, upload: &str, number: usize, bytes: Vec<u8>) -> Result<Part> {
        let written = self.objects.put_part(key, &upload.to_owned(), number, bytes.into()).await;
        written.map_err(|error| self.said(key, &error))
    }

    /// Completes an object of so many bytes, unless that has been done before.
    pub async fn complete(&self, key: &Path, upload: &str, parts: Vec<Part>, bytes: u64) -> Result<()> {
        let Err(error) = self.objects.complete_multipart(key, &upload.to_owned(), parts).await else { return Ok(()) };
        let said = self.said(key, &error);
        // Which of an upload's parts are known is forgotten once it is complete.
        if !matches!(error, object_store::Error::NotFound { .. }) && !said.reason.contains("not found") {
            return Err(said);
        }
        match self.look(key).await? {
            Some(object) if object.size == bytes => Ok(()),
            _ => Err(StoreError::new(
                said.url,
                io::ErrorKind::NotFound,
                "its upload is gone, so its rows are lost; if a rule of the bucket ends incomplete uploads, let it wait \
                 until the job has been resumed",
            )),
        }
    }

    /// Gives up an object that has not been completed.
    pub async fn give_up(&self, key: &Path, upload: &str) -> Result<()> {
        self.objects.abort_multipart(key, &upload.to_owned()).await.map_err(|error| self.said(key, &error))
    }

    /// What a store says of an object, in the words of whoever has to act.
    #[must_use]
    pub fn said(&self, key: &Path, error: &object_store::Error) -> StoreError {
        use object_store::Error::{NotFound, PermissionDenied, Precondition, Unauthenticated};
        let url = format!("{}{key}", self.root);
        let told = told(error);
        match error {
            NotFound { .. } if told.contains("NoSuchBucket") => {
                StoreError::new(url, io::ErrorKind::NotFound, format!("the bucket {} is not there", self.root))
            }
            NotFound { .. } => StoreError::new(url, io::ErrorKind::NotFound, "there is no such object (any more)"),
            Precondition { .. } => StoreError::new(
                url,
                io::ErrorKind::InvalidData,
                "it has been replaced since it was looked at; try again",
            ),
            PermissionDenied { .. } | Unauthenticated { .. } => {
                let why = code(error).map_or_else(String::new, |code| format!(" ({code})"));
                let reason = format!(
                    "the store refuses it{why}; credentials are the table's options aws_access_key_id and \
                     aws_secret_access_key, or those variables of the environment"
                );
                StoreError::new(url, io::ErrorKind::PermissionDenied, reason)
            }
            _ => StoreError::new(url, io::ErrorKind::Other, told),
        }
    }
}

/// What is in the way.
fn told(error: &object_store::Error) -> String {
    code(error).unwrap_or_else(|| first_line(&crate::error::chain(error)))
}

/// What a store says itself, without the XML around it.
fn code(error: &object_store::Error) -> Option<String> {
    let text = crate::error::chain(error);
    let tag = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once("</").map(|(value, _)| value.to_owned())
    };
    match (tag("Code")?, tag("Message")) {
        (code, Some(message)) => Some(format!("{code}: {message}")),
        (code, None) => Some(code),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use object_store::memory::InMemory;

    use super::*;

    fn refused(path: &str, options: &[(&str, &str)]) -> String {
        let options: Vec<_> = options.iter().map(|(name, value)| (String::from(*name), String::from(*value))).collect();
        Bucket::of(path, &options).err().map(|error| format!("{}: {error}", error.url)).unwrap_or_default()
    }

    #[test]
    fn paths_of_this_machine_are_in_no_bucket() {
        assert!(Bucket::of("t/*.csv", &[]).unwrap().is_none());
        assert!(Bucket::of("file:///t", &[]).unwrap().is_none());
        assert_eq!((local("file:///t"), local("t")), ("/t", "t"));
        assert_eq!(
            refused("t", &[("aws_region", "x")]),
            "t: the option 'aws_region' is one of s3://bucket/path; leave it out"
        );
        assert!(refused("gs://b/t", &[]).contains("gs:// is not supported"));
        assert!(refused("s3:///t", &[]).contains("names no bucket"));
    }

    #[test]
    fn a_bucket_tells_no_credentials() {
        let options = [("aws_access_key_id", "me"), ("aws_secret_access_key", "hush-4712"), ("aws_region", "x")];
        let options = options.map(|(name, value)| (String::from(name), String::from(value)));
        let bucket = Bucket::of("s3://b/t", &options).unwrap().unwrap();
        assert_eq!(format!("{bucket:?}"), "Bucket(\"s3://b/\")");
        assert_eq!(redaction::redacted("it is hush-4712"), "it is ***");
    }

    #[test]
    fn urls_have_keys() {
        let bucket = Bucket::on("s3://b/", Arc::new(InMemory::new()));
        let key = |url: &str| bucket.key(url).map(|key| key.to_string()).map_err(|error| error.to_string());
        assert_eq!(key("s3://b/k=a%2Fb/f 1.csv"), Ok(String::from("k=a%2Fb/f 1.csv")));
        assert_eq!(key("s3://b/t/"), Ok(String::from("t")));
        assert_eq!(key("s3://b"), Ok(String::new()));
        assert!(key("s3://c/t").unwrap_err().contains("is not in s3://b/"));
        assert!(key("s3://b/t//u").is_err());
    }

    #[test]
    fn an_object_that_was_replaced_is_not_read() {
        let bucket = Bucket::on("s3://b/", Arc::new(InMemory::new()));
        let key = Path::from("t");
        block_on(bucket.put(&key, b"one".to_vec())).unwrap();
        let object = block_on(bucket.look(&key)).unwrap().unwrap();
        assert_eq!(block_on(bucket.read(&object, 1..3)).unwrap(), "ne");
        block_on(bucket.put(&key, b"two".to_vec())).unwrap();
        let error = block_on(bucket.read(&object, 1..3)).unwrap_err();
        assert_eq!((error.url.as_str(), error.kind), ("s3://b/t", io::ErrorKind::InvalidData));
        block_on(bucket.remove(&key)).unwrap();
        assert!(block_on(bucket.look(&key)).unwrap().is_none());
        let gone = block_on(bucket.read(&object, 1..3)).unwrap_err();
        assert_eq!(gone.kind, io::ErrorKind::NotFound);
        let inside = gone.into_io();
        assert_eq!(StoreError::among(&inside).unwrap().url, "s3://b/t");
    }
}
