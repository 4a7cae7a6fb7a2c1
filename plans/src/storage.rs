//! The storage of checkpoints: an object store, named by a folder or a URL.
//!
//! What else a store wants to know, such as credentials, each process is told when it starts: they are in no message
//! and in no record.
//!
//! A folder is flushed to the disk: `object_store` does not, and a manifest must not outlive what it names.

use std::fs::File;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutMode};

use crate::error::{PlanError, Result};

/// Bytes of a part of an object in a bucket; S3 takes none below 5 MiB, and no more than 10,000 of an object.
const BUCKET_PART_BYTES: usize = 8 << 20;

/// Bytes of a part of a file, of which there may be any number.
const FILE_PART_BYTES: usize = 1 << 20;

/// What this process was told of object stores.
static OPTIONS: OnceLock<Vec<(String, String)>> = OnceLock::new();

/// Tells this process what its object stores want to know, by the names that `object_store` has for it, such as
/// `aws_access_key_id`. Once, before any is opened; names that it does not know are passed over.
pub fn configure(options: Vec<(String, String)>) {
    // Whoever comes second has the same environment.
    let _ = OPTIONS.set(options);
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct Storage {
    objects: Arc<dyn ObjectStore>,
    /// The folder that it is, if it is one.
    folder: Option<PathBuf>,
}

impl Storage {
    /// The storage at a folder or URL (`file://folder`, `s3://bucket/prefix`); a folder is made if it is not there,
    /// a bucket is not asked for yet.
    pub fn open(url: &str) -> Result<Self> {
        let refuse = |reason: String| PlanError::Storage { url: url.to_owned(), reason };
        let folder = match url.split_once("://") {
            None => FilePath::new(url),
            Some(("file", path)) => FilePath::new(path),
            Some(("s3", path)) => return Self::in_bucket(path).map_err(|error| refuse(error.to_string())),
            Some((scheme, _)) => {
                return Err(refuse(format!("{scheme}:// is not supported; a folder, file:// and s3:// are")));
            }
        };
        let folder = create_folder(folder).map_err(|error| refuse(error.to_string()))?;
        let objects = LocalFileSystem::new_with_prefix(&folder).map_err(|error| refuse(error.to_string()))?;
        Ok(Self { objects: Arc::new(objects), folder: Some(folder) })
    }

    /// The same, but a folder that is not there is not made.
    pub fn open_existing(url: &str) -> Result<Option<Self>> {
        let folder = match url.split_once("://") {
            None => Some(url),
            Some(("file", path)) => Some(path),
            Some(_) => None,
        };
        if folder.is_some_and(|folder| !FilePath::new(folder).is_dir()) { Ok(None) } else { Self::open(url).map(Some) }
    }

    fn in_bucket(path: &str) -> object_store::Result<Self> {
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        Ok(Self::on(Arc::new(PrefixStore::new(s3(bucket, &[])?.build()?, prefix))))
    }

    /// A storage on an object store of any kind.
    #[must_use]
    pub fn on(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects, folder: None }
    }

    /// Writes an object, in the place of one that is there. [`Self::flush`] makes it durable.
    pub async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        self.objects.put(&Path::from(path), bytes.into()).await.map_err(failed("write", path))?;
        Ok(())
    }

    /// How many bytes each part of an object has but the last, for [`Self::put_parts`].
    #[must_use]
    pub fn part_bytes(&self) -> usize {
        if self.folder.is_some() { FILE_PART_BYTES } else { BUCKET_PART_BYTES }
    }

    /// Writes an object whose parts come one after another, each of [`Self::part_bytes`] but for the last, which has
    /// fewer; says how many bytes it has. One part is in memory at a time.
    pub async fn put_parts(&self, path: &str, mut parts: impl Stream<Item = Vec<u8>> + Unpin) -> Result<u64> {
        let first = parts.next().await.unwrap_or_default();
        if first.len() < self.part_bytes() {
            let bytes = first.len() as u64;
            return self.put(path, first).await.map(|()| bytes);
        }
        let mut upload = self.objects.put_multipart(&Path::from(path)).await.map_err(failed("write", path))?;
        let written = upload_parts(&mut *upload, stream::iter([first]).chain(parts)).await;
        if written.is_err() {
            // What it has sent is of no use; that it cannot be taken back either changes nothing.
            let _ = upload.abort().await;
        }
        written.map_err(failed("write", path))
    }

    /// Writes an object unless there is one; says whether it was written.
    pub async fn create(&self, path: &str, bytes: Vec<u8>) -> Result<bool> {
        match self.objects.put_opts(&Path::from(path), bytes.into(), PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(failed("write", path)(error)),
        }
    }

    /// Reads an object; nothing if there is none.
    pub async fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let found = match self.objects.get(&Path::from(path)).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(failed("read", path))?,
        };
        Ok(Some(found.bytes().await.map_err(failed("read", path))?.to_vec()))
    }

    /// As [`Self::get`], some bytes at a time.
    pub async fn get_parts(
        &self,
        path: &str,
    ) -> Result<Option<impl Stream<Item = Result<Bytes>> + Send + Unpin + use<>>> {
        let found = match self.objects.get(&Path::from(path)).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(failed("read", path))?,
        };
        let path = path.to_owned();
        Ok(Some(found.into_stream().map_err(move |error| failed("read", &path)(error))))
    }

    /// The file that an object is, in a folder.
    #[must_use]
    pub fn file_of(&self, path: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(path))
    }

    /// The objects below a folder, sorted.
    pub async fn list(&self, folder: &str) -> Result<Vec<String>> {
        let listed = self.objects.list(Some(&Path::from(folder)));
        let found: Vec<_> = listed.try_collect().await.map_err(failed("list", folder))?;
        let mut paths: Vec<String> = found.into_iter().map(|object| object.location.to_string()).collect();
        paths.sort();
        Ok(paths)
    }

    /// Removes an object; it is no error if it is gone.
    pub async fn delete(&self, path: &str) -> Result<()> {
        match self.objects.delete(&Path::from(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("delete", path)(error)),
        }
    }

    /// Whether objects have to be flushed before they are durable.
    #[must_use]
    pub fn has_to_flush(&self) -> bool {
        self.folder.is_some()
    }

    /// Makes an object that was written durable; blocks. Only folders need to be told.
    pub fn flush(&self, path: &str) -> io::Result<()> {
        self.folder.as_ref().map_or(Ok(()), |folder| flush(folder, path))
    }
}

/// How a bucket is opened, with these options, and else with what this process was told.
pub(crate) fn s3(bucket: &str, given: &[(String, String)]) -> object_store::Result<AmazonS3Builder> {
    use AmazonS3ConfigKey::{AccessKeyId, Endpoint, S3Endpoint, SecretAccessKey, Token};
    let given: Vec<(AmazonS3ConfigKey, &str)> =
        given.iter().map(|(name, value)| Ok((name.parse()?, value.as_str()))).collect::<object_store::Result<_>>()?;
    let is_given = |key: &AmazonS3ConfigKey| given.iter().any(|(other, _)| other == key);
    // What belongs together comes from one place.
    let is_replaced = |key: &AmazonS3ConfigKey| match key {
        Endpoint | S3Endpoint => is_given(&Endpoint),
        AccessKeyId | SecretAccessKey | Token => is_given(&AccessKeyId),
        _ => false,
    };
    let mut builder = AmazonS3Builder::new().with_bucket_name(bucket);
    for (name, value) in OPTIONS.get().into_iter().flatten() {
        match name.parse() {
            Ok(key) if !is_replaced(&key) => builder = builder.with_config(key, value),
            _ => {}
        }
    }
    Ok(given.into_iter().fold(builder, |builder, (key, value)| builder.with_config(key, value)))
}

async fn upload_parts(
    upload: &mut dyn MultipartUpload,
    mut parts: impl Stream<Item = Vec<u8>> + Unpin,
) -> object_store::Result<u64> {
    let mut bytes = 0;
    while let Some(part) = parts.next().await.filter(|part| !part.is_empty()) {
        bytes += part.len() as u64;
        upload.put_part(part.into()).await?;
    }
    upload.complete().await?;
    Ok(bytes)
}

fn failed(action: &'static str, path: &str) -> impl FnOnce(object_store::Error) -> PlanError {
    let path = path.to_owned();
    move |source| PlanError::Object { action, path, source: Box::new(source) }
}

/// Makes a file below `root` durable, and the names of the folders between.
pub fn flush(root: &FilePath, file: &str) -> io::Result<()> {
    let path = root.join(file);
    path.ancestors().take_while(|path| path.starts_with(root)).try_for_each(flush_one)
}

/// Creates a folder, with those above it that are missing, durably; returns its absolute path.
pub fn create_folder(folder: &FilePath) -> io::Result<PathBuf> {
    let missing = folder.ancestors().take_while(|folder| !folder.exists()).count();
    std::fs::create_dir_all(folder)?;
    let folder = folder.canonicalize()?;
    // The name of a new folder is in the one above it.
    folder.ancestors().skip(1).take(missing).try_for_each(flush_one)?;
    Ok(folder)
}

fn flush_one(path: &FilePath) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_created_and_files_in_them_flushed() {
        let temporary = tempfile::tempdir().unwrap();
        let root = create_folder(&temporary.path().join("a/b")).unwrap();
        assert_eq!(create_folder(&root).unwrap(), root);
        std::fs::create_dir(root.join("c")).unwrap();
        std::fs::write(root.join("c/file"), "x").unwrap();
        flush(&root, "c/file").unwrap();
        assert_eq!(flush(&root, "c/other").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
