//! A part file while it is written: locked, under a name that says that it is not complete, and gone
//! unless it is completed or kept.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tidemill_plans::ids::Epoch;

use super::{IN_PROGRESS, file_error};
use crate::error::{EngineError, Result};

/// What the parts of one subtask of a sink are called.
pub(super) struct PartNames {
    pub(super) subtask: u32,
    /// What the names end in.
    pub(super) extension: String,
}

impl PartNames {
    /// The part that begins behind a checkpoint, or at the job's beginning. The names of those behind
    /// checkpoints sort as the parts follow each other.
    pub(super) fn after(&self, epoch: Option<Epoch>) -> String {
        let Self { subtask, extension } = self;
        match epoch {
            None => format!("part-{subtask}.{extension}"),
            Some(Epoch(epoch)) => format!("part-{subtask}-{epoch:010}.{extension}"),
        }
    }

    /// The subtask whose part of this extension is being written under a name, if that is what it is.
    fn subtask_in_progress(&self, name: &str) -> Option<u32> {
        let part = name.strip_suffix(IN_PROGRESS)?.strip_suffix('.')?;
        let part = part.strip_suffix(&self.extension)?.strip_suffix('.')?.strip_prefix("part-")?;
        let (subtask, epoch) = part.split_once('-').unwrap_or((part, "0"));
        epoch.parse::<u64>().ok().and(subtask.parse().ok())
    }
}

/// The guard of a part file.
pub(super) struct PartFile {
    /// Holds the lock; it ends with this and the writer's.
    file: File,
    folder: PathBuf,
    /// What it is called when it is complete.
    name: String,
    /// Where the part is written.
    in_progress: PathBuf,
    /// Whether it stays when this goes.
    is_kept: bool,
}

impl PartFile {
    /// Begins an empty part in a folder, which is made if it is not there. What a crash left of an
    /// earlier one is taken over.
    pub(super) fn create(folder: &Path, name: &str) -> Result<Self> {
        make_folder(folder)?;
        let in_progress = in_progress(folder, name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&in_progress)
            .map_err(file_error("write", &in_progress))?;
        if !lock(&file, &in_progress).map_err(file_error("lock", &in_progress))? {
            return Err(EngineError::FileInUse { path: in_progress });
        }
        // From here on the file is removed unless it is completed or kept.
        let part = Self { file, folder: folder.to_path_buf(), name: name.to_owned(), in_progress, is_kept: false };
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

    /// What it is called when it is complete.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Keeps the part, which is complete, under the name that it has, also after a power cut: for [`complete`]
    /// to give it its final one.
    pub(super) fn keep(&mut self) -> Result<()> {
        self.sync()?;
        self.is_kept = true;
        sync_folder(&self.folder)
    }

    /// Gives the part its final name. What has that name is whole, also after a power cut: the bytes
    /// are on the disk before the name is, and the name when this returns.
    pub(super) fn complete(&mut self) -> Result<()> {
        self.sync()?;
        complete(&self.folder, &self.name)?;
        self.is_kept = true;
        sync_folder(&self.folder)
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(file_error("write", &self.in_progress))
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // Nothing is lost if it stays: its name says that it is not complete.
            let _ = fs::remove_file(&self.in_progress);
        }
    }
}

fn in_progress(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.{IN_PROGRESS}"))
}

/// Makes a folder if it is not there.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(file_error("make", folder))
}

/// Gives a part that was kept its final name, unless it has it.
pub(super) fn complete(folder: &Path, name: &str) -> Result<()> {
    let path = folder.join(name);
    match fs::rename(in_progress(folder, name), &path) {
        Err(error) if error.kind() == ErrorKind::NotFound && path.is_file() => Ok(()),
        renamed => renamed.map_err(file_error("complete", &path)),
    }
}

/// Sees to it that the names in a folder are on the disk.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(file_error("write", folder))
}

/// Removes what nobody will complete: parts in progress, of subtasks for which `is_ours`, that nobody
/// writes.
pub(super) fn remove_abandoned(folder: &Path, names: &PartNames, is_ours: impl Fn(u32) -> bool) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(file_error("read", folder))?,
    };
    for entry in entries {
        let entry = entry.map_err(file_error("read", folder))?;
        let name = entry.file_name();
        if name.to_str().and_then(|name| names.subtask_in_progress(name)).is_some_and(&is_ours) {
            remove_unless_locked(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_unless_locked(path: &Path) -> Result<()> {
    let file = match OpenOptions::new().write(true).open(path) {
        // Others may have removed or completed it.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file.map_err(file_error("write", path))?,
    };
    if lock(&file, path).map_err(file_error("lock", path))? {
        fs::remove_file(path).map_err(file_error("remove", path))?;
    }
    Ok(())
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
