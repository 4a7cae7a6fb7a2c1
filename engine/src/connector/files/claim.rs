//! Which job writes the parts of a subtask in a folder: one at a time.
//!
//! A lock says that somebody writes, and the file that is locked who it is. Attempts at one job do not wait for
//! each other: a worker whose coordinator has gone keeps its lock until it notices, and the next attempt takes
//! over. What the worker writes until then is not seen.
//!
//! The file stays when an attempt is over, until the job is: an earlier attempt, of a coordinator that has slept, must
//! not find the folder free, and remove what it does not know of.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file_error;
use super::medium::BucketFiles;
use super::part::{claimed, in_progress};
use super::waiting::wait;
use crate::error::{EngineError, Result};

/// Who writes: an attempt at a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    /// What no sink of another job is called.
    pub(super) sink: String,
    pub(super) attempt: u32,
}

impl Owner {
    fn parse(text: &str) -> Option<Self> {
        let (attempt, sink) = text.split_once(' ')?;
        Some(Self { sink: sink.to_owned(), attempt: attempt.parse().ok()? })
    }

    fn comes_after(&self, other: &Self) -> bool {
        self.sink == other.sink && self.attempt > other.attempt
    }

    fn text(&self) -> String {
        format!("{} {}", self.attempt, self.sink)
    }
}

/// The right to write, until it is dropped.
pub(super) struct Claim {
    /// Holds the lock.
    file: File,
    path: PathBuf,
    /// Whether the job is over.
    is_over: bool,
}

impl Claim {
    /// Claims the parts of a subtask, of which the only one would have this name; an error if somebody else has
    /// them.
    pub(super) fn take(folder: &Path, name: &str, owner: &Owner) -> Result<Self> {
        let path = claimed(folder, name);
        let mut file = open(&path, false).map_err(file_error("write", &path))?;
        let is_free = lock(&file, &path).map_err(file_error("lock", &path))?;
        let mut before = String::new();
        file.read_to_string(&mut before).map_err(file_error("read", &path))?;
        let before = Owner::parse(&before);
        let may_follow = |before: &Owner| if is_free { !before.comes_after(owner) } else { owner.comes_after(before) };
        if !before.as_ref().map_or(is_free, may_follow) {
            return Err(EngineError::FileInUse { path });
        }
        if !is_free {
            let beside = in_progress(folder, name, owner.attempt);
            file = take_over(&path, &beside).map_err(file_error("write", &path))?;
        }
        let claim = Self { file, path, is_over: false };
        claim.note(owner).map_err(file_error("write", &claim.path))?;
        Ok(claim)
    }

    /// An error if somebody else has taken over.
    pub(super) fn check(&self) -> Result<()> {
        match is_at(&self.file, &self.path).map_err(file_error("read", &self.path))? {
            true => Ok(()),
            false => Err(EngineError::FileInUse { path: self.path.clone() }),
        }
    }

    /// The job is over: nobody has to know any more who has written.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    fn note(&self, owner: &Owner) -> io::Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(owner.text().as_bytes())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Nothing is lost if it stays: it is not locked any more.
        if self.is_over && is_at(&self.file, &self.path).unwrap_or(false) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The right to write the parts of a subtask in a bucket. There are no locks there, so whoever comes later has it, and who
/// had it before learns that before anything of it is shown.
pub(super) struct ObjectClaim {
    files: Arc<BucketFiles>,
    path: PathBuf,
    text: String,
    /// Whether the job is over.
    is_over: bool,
}

impl ObjectClaim {
    /// Claims the parts of a subtask; an error if a later attempt has them.
    pub(super) fn take(files: &Arc<BucketFiles>, folder: &Path, name: &str, owner: &Owner) -> Result<Self> {
        let claim = Self { files: Arc::clone(files), path: claimed(folder, name), text: owner.text(), is_over: false };
        let before = claim.read()?.and_then(|text| Owner::parse(&text));
        if before.is_some_and(|before| before.comes_after(owner)) {
            return Err(EngineError::FileInUse { path: claim.path.clone() });
        }
        let (bucket, text) = (files.bucket.clone(), claim.text.clone().into_bytes());
        let noted = files.key(&claim.path).and_then(|key| wait(async move { bucket.put(&key, text).await }));
        noted.map_err(file_error("write", &claim.path))?;
        Ok(claim)
    }

    /// An error if somebody else has taken over.
    pub(super) fn check(&self) -> Result<()> {
        match self.read()? {
            Some(text) if text == self.text => Ok(()),
            _ => Err(EngineError::FileInUse { path: self.path.clone() }),
        }
    }

    /// The job is over: nobody has to know any more who has written.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    fn read(&self) -> Result<Option<String>> {
        let bucket = self.files.bucket.clone();
        let read = self.files.key(&self.path).and_then(|key| wait(async move { bucket.read_all(&key).await }));
        let bytes = read.map_err(file_error("read", &self.path))?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }
}

impl Drop for ObjectClaim {
    fn drop(&mut self) {
        if !self.is_over || self.check().is_err() {
            return;
        }
        let bucket = self.files.bucket.clone();
        // Nothing is lost if it stays: whoever comes later has it.
        let _ = self.files.key(&self.path).and_then(|key| wait(async move { bucket.remove(&key).await }));
    }
}

/// Puts a locked file in the place of another, whose lock then holds a file that no path leads to.
fn take_over(path: &Path, beside: &Path) -> io::Result<File> {
    let file = open(beside, true)?;
    file.try_lock()?;
    fs::rename(beside, path)?;
    Ok(file)
}

fn open(path: &Path, truncate: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(truncate).open(path)
}

/// Whether the file at `path` is ours alone now.
pub(super) fn lock(file: &File, path: &Path) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => is_at(file, path),
        Err(TryLockError::WouldBlock) => Ok(false),
        // A file system without locks: nothing to go by but the name.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a path still leads to the file. Between opening and locking, who held the lock may have
/// completed or removed it: what is locked then is a whole part of somebody else's.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
