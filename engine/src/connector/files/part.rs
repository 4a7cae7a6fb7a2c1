//! A part file while it is written: locked, under a name that says that it is not complete, and gone
//! unless it is completed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{IN_PROGRESS, file_error};
use crate::error::{EngineError, Result};

/// The guard of a part file.
pub(super) struct PartFile {
    /// Holds the lock; it ends with this and the writer's.
    file: File,
    /// Where the part is written.
    in_progress: PathBuf,
    /// Where it goes when it is complete.
    complete: PathBuf,
    is_complete: bool,
}

impl PartFile {
    /// Begins an empty part in a folder, which is made if it is not there. What a crash left of an
    /// earlier one is taken over.
    pub(super) fn create(folder: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(folder).map_err(file_error("make", folder))?;
        let complete = folder.join(name);
        let in_progress = folder.join(format!("{name}.{IN_PROGRESS}"));
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&in_progress)
            .map_err(file_error("write", &in_progress))?;
        if !lock(&file, &in_progress).map_err(file_error("lock", &in_progress))? {
            return Err(EngineError::FileInUse { path: in_progress });
        }
        // From here on the file is removed unless it is completed.
        let part = Self { file, in_progress, complete, is_complete: false };
        part.file.set_len(0).map_err(file_error("write", &part.in_progress))?;
        Ok(part)
    }

    /// The file, to write to.
    pub(super) fn file(&self) -> Result<File> {
        self.file.try_clone().map_err(file_error("write", &self.in_progress))
    }

    /// Where the part is written.
    pub(super) fn path(&self) -> &Path {
        &self.in_progress
    }

    /// Gives the part its final name. What has that name is whole, also after a power cut: the bytes
    /// are on the disk before the name is, and the name when this returns.
    pub(super) fn complete(&mut self) -> Result<()> {
        self.file.sync_all().map_err(file_error("write", &self.in_progress))?;
        fs::rename(&self.in_progress, &self.complete).map_err(file_error("complete", &self.complete))?;
        self.is_complete = true;
        let folder = self.complete.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(file_error("write", folder))
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.is_complete {
            // Nothing is lost if it stays: its name says that it is not complete.
            let _ = fs::remove_file(&self.in_progress);
        }
    }
}

/// Whether the file at `path` is ours alone now.
fn lock(file: &File, path: &Path) -> io::Result<bool> {
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
