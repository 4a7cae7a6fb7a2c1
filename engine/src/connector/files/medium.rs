//! What files are on: the local disk, or a bucket, whose objects are files with URLs for paths. Readers know of
//! [`FileAt`] alone, and of what it is opened as.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use object_store::ObjectMeta;
use object_store::path::Path as Key;
use tidemill_plans::bucket::{Bucket, StoreError, local, store_options};

use super::file_bytes::FileBytes;
use super::file_error;
use super::waiting::{Answer, ask, wait};
use crate::error::{EngineError, Result};
use crate::metrics::OperatorStats;

/// What files are on. Cheap to clone.
#[derive(Clone)]
pub(super) enum Medium {
    Disk,
    Bucket(Arc<BucketFiles>),
}

/// The buckets of a query, so that what was found while it was planned is what it reads.
#[derive(Default)]
pub(crate) struct Buckets(Mutex<Vec<Known>>);

/// A bucket with the options that it was opened with.
struct Known {
    options: Vec<(String, String)>,
    files: Arc<BucketFiles>,
}

/// The files of a bucket.
pub(super) struct BucketFiles {
    pub(super) bucket: Bucket,
    /// The objects as they were when they were found. What is read is these, or an error.
    found: Mutex<HashMap<PathBuf, ObjectMeta>>,
}

impl Buckets {
    /// As [`Medium::of`].
    pub(super) fn medium<'a>(&self, path: &'a str, options: &[(String, String)]) -> Result<(Medium, &'a str)> {
        let store = store_options(options);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |known: &&Known| path.starts_with(known.files.bucket.root()) && known.options == store;
        if let Some(known) = known.iter().find(is_it) {
            return Ok((Medium::Bucket(Arc::clone(&known.files)), path));
        }
        let (medium, path) = Medium::of(path, options)?;
        if let Medium::Bucket(files) = &medium {
            known.push(Known { options: store, files: Arc::clone(files) });
        }
        Ok((medium, path))
    }
}

impl Medium {
    /// What a path's files are on, and the path there.
    pub(super) fn of<'a>(path: &'a str, options: &[(String, String)]) -> Result<(Self, &'a str)> {
        match Bucket::of(path, options).map_err(refused)? {
            None => Ok((Self::Disk, local(path))),
            Some(bucket) => Ok((Self::on(bucket), path)),
        }
    }

    pub(super) fn on(bucket: Bucket) -> Self {
        Self::Bucket(Arc::new(BucketFiles { bucket, found: Mutex::default() }))
    }

    pub(super) fn file(&self, path: impl Into<PathBuf>) -> FileAt {
        FileAt { medium: self.clone(), path: path.into(), stats: None }
    }

    /// The files of these paths.
    pub(super) fn files(&self, paths: &[PathBuf]) -> Vec<FileAt> {
        paths.iter().map(|path| self.file(path.as_path())).collect()
    }
}

/// What is wrong with where files are said to be.
pub(super) fn refused(error: StoreError) -> EngineError {
    EngineError::Format { path: PathBuf::from(error.url), reason: error.reason }
}

/// A file, by its path. What one is opened from has it.
#[derive(Clone)]
pub(super) struct FileAt {
    medium: Medium,
    path: PathBuf,
    /// What counts the bytes that are read of it.
    stats: Option<Arc<OperatorStats>>,
}

impl Deref for FileAt {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl FileAt {
    /// The same, whose bytes are counted there when they are read.
    pub(super) fn counted(self, stats: &Arc<OperatorStats>) -> Self {
        Self { stats: Some(Arc::clone(stats)), ..self }
    }

    /// Opens it, to be read from its beginning on.
    pub(super) fn open(&self) -> Result<FileBytes> {
        let opened = match &self.medium {
            Medium::Disk => File::open(&self.path).map(FileBytes::of_file),
            Medium::Bucket(files) => files.look(&self.path).map(|object| FileBytes::of_object(files, object)),
        };
        opened.map(|file| file.counted(self.stats.clone())).map_err(file_error("open", &self.path))
    }

    /// How many bytes it has.
    pub(super) fn size(&self) -> Result<u64> {
        let size = match &self.medium {
            Medium::Disk => fs::metadata(&self.path).map(|found| found.len()),
            Medium::Bucket(files) => files.look(&self.path).map(|object| object.size),
        };
        size.map_err(file_error("open", &self.path))
    }

    /// Whether each look at it is a request: who reads a part of it had better not read the rest.
    pub(super) fn is_far(&self) -> bool {
        matches!(self.medium, Medium::Bucket(_))
    }

    /// The next look at it is at what it is then.
    pub(super) fn forget(&self) {
        if let Medium::Bucket(files) = &self.medium {
            files.found().remove(&self.path);
        }
    }
}

impl BucketFiles {
    /// The key of a path.
    pub(super) fn key(&self, path: &Path) -> io::Result<Key> {
        let url =
            path.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a URL that is not in UTF-8"))?;
        self.bucket.key(url).map_err(StoreError::into_io)
    }

    /// An object as it was when it was found, or is now if nobody has looked.
    pub(super) fn look(&self, path: &Path) -> io::Result<ObjectMeta> {
        if let Some(known) = self.found().get(path) {
            return Ok(known.clone());
        }
        let object = self.look_now(path)?;
        let gone = || io::Error::new(io::ErrorKind::NotFound, "there is no such object");
        let object = object.ok_or_else(gone)?;
        self.note([object.clone()]);
        Ok(object)
    }

    /// An object as it is now.
    pub(super) fn look_now(&self, path: &Path) -> io::Result<Option<ObjectMeta>> {
        let (bucket, key) = (self.bucket.clone(), self.key(path)?);
        wait(async move { bucket.look(&key).await })
    }

    /// The objects below a folder.
    pub(super) fn list(&self, folder: &Path, is_deep: bool) -> io::Result<Vec<ObjectMeta>> {
        let (bucket, key) = (self.bucket.clone(), self.key(folder)?);
        wait(async move { bucket.list(&key, is_deep).await })
    }

    /// Remembers objects as they are found, if they have not been found before.
    pub(super) fn note(&self, objects: impl IntoIterator<Item = ObjectMeta>) {
        let mut found = self.found();
        for object in objects {
            found.entry(self.bucket.url(&object.location)).or_insert(object);
        }
    }

    /// Remembers nothing of objects that are not there any more.
    pub(super) fn forget_others(&self, there: &[PathBuf]) {
        let there: HashSet<&Path> = there.iter().map(PathBuf::as_path).collect();
        self.found().retain(|path, _| there.contains(path.as_path()));
    }

    /// Asks for bytes of an object.
    pub(super) fn ask(&self, object: &ObjectMeta, range: Range<u64>) -> io::Result<Answer<Bytes>> {
        let (bucket, object) = (self.bucket.clone(), object.clone());
        ask(async move { bucket.read(&object, range).await })
    }

    /// Several ranges of an object.
    pub(super) fn read_ranges(&self, object: &ObjectMeta, ranges: Vec<Range<u64>>) -> io::Result<Vec<Bytes>> {
        let (bucket, object) = (self.bucket.clone(), object.clone());
        wait(async move { bucket.read_ranges(&object, &ranges).await })
    }

    fn found(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, ObjectMeta>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
