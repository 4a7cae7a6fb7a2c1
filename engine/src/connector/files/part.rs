//! A part file while it is written, under a name that says that it is not complete, and gone unless it is
//! completed or kept.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tidemill_plans::ids::Epoch;

use super::claim::lock;
use super::{IN_PROGRESS, file_error};
use crate::error::{EngineError, Result};

/// What the parts of one subtask of a sink are called.
#[derive(Clone)]
pub(super) struct PartNames {
    /// What they begin with. Those of an INSERT have beginnings of their own, so that no other takes their place.
    pub(super) series: String,
    pub(super) subtask: u32,
    /// What the names end in.
    pub(super) extension: String,
}

/// What the name of a part says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartName {
    pub(super) subtask: u32,
    /// The checkpoint behind which it begins; none in a job without checkpoints.
    pub(super) epoch: Option<Epoch>,
    pub(super) stage: PartStage,
}

/// How far a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartStage {
    /// Written by an attempt at a job with checkpoints.
    InProgress,
    /// Locked by whoever writes it, or other parts of the subtask.
    Claimed,
    Complete,
}

impl PartNames {
    /// The only part, in a job without checkpoints.
    pub(super) fn only(&self) -> String {
        format!("{}-{}.{}", self.series, self.subtask, self.extension)
    }

    /// The part that begins behind a checkpoint. The names sort as the parts follow each other.
    pub(super) fn after(&self, epoch: Epoch) -> String {
        format!("{}-{}-{:010}.{}", self.series, self.subtask, epoch.0, self.extension)
    }

    /// What a name says if it is that of a part of the same series, of any subtask.
    pub(super) fn parse(&self, name: &str) -> Option<PartName> {
        let extension = |name: &str| Some(name.strip_suffix(&self.extension)?.strip_suffix('.')?.to_owned());
        let (part, stage) = match name.strip_suffix(IN_PROGRESS).and_then(|name| name.strip_suffix('.')) {
            None => (extension(name)?, PartStage::Complete),
            Some(name) => match extension(name) {
                Some(part) => (part, PartStage::Claimed),
                None => {
                    let (name, attempt) = name.rsplit_once('.')?;
                    attempt.parse::<u32>().ok()?;
                    (extension(name)?, PartStage::InProgress)
                }
            },
        };
        let part = part.strip_prefix(&self.series)?.strip_prefix('-')?;
        let (subtask, epoch) = match part.split_once('-') {
            Some((subtask, epoch)) => (subtask, Some(Epoch(epoch.parse().ok()?))),
            None => (part, None),
        };
        Some(PartName { subtask: subtask.parse().ok()?, epoch, stage })
    }
}

/// Where the only part of a subtask is written. Who has this file locked has all parts of the subtask.
pub(super) fn claimed(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.{IN_PROGRESS}"))
}

/// Where an attempt writes a part.
pub(super) fn in_progress(folder: &Path, name: &str, attempt: u32) -> PathBuf {
    folder.join(format!("{name}.{attempt}.{IN_PROGRESS}"))
}

/// What a part is going to be called that an attempt has written under this name.
pub(super) fn complete_name(in_progress: &str) -> &str {
    let attempt = in_progress.strip_suffix(IN_PROGRESS).and_then(|name| name.strip_suffix('.'));
    attempt.and_then(|name| name.rsplit_once('.')).map_or(in_progress, |(name, _)| name)
}

/// The guard of a part file.
pub(super) struct PartFile {
    file: File,
    /// Where the part is written.
    in_progress: PathBuf,
    /// Where it is when it is complete.
    complete: PathBuf,
    /// Whether it stays when this goes.
    is_kept: bool,
}

impl PartFile {
    /// Begins the only part of a subtask. What a crash left of an earlier one is taken over.
    pub(super) fn create_only(folder: &Path, name: &str) -> Result<Self> {
        make_folder(folder)?;
        let in_progress = claimed(folder, name);
        let file = open(&in_progress, false)?;
        if !lock(&file, &in_progress).map_err(file_error("lock", &in_progress))? {
            return Err(EngineError::FileInUse { path: in_progress });
        }
        // From here on the file is removed unless it is completed or kept.
        let part = Self { file, in_progress, complete: folder.join(name), is_kept: false };
        part.file.set_len(0).map_err(file_error("write", &part.in_progress))?;
        Ok(part)
    }

    /// Begins a part of a subtask that has been claimed for an attempt.
    pub(super) fn create(folder: &Path, name: &str, attempt: u32) -> Result<Self> {
        let in_progress = in_progress(folder, name, attempt);
        Ok(Self { file: open(&in_progress, true)?, in_progress, complete: folder.join(name), is_kept: false })
    }

    /// The file, to write to.
    pub(super) fn file(&self) -> Result<File> {
        self.file.try_clone().map_err(file_error("write", &self.in_progress))
    }

    /// Where the part is written.
    pub(super) fn path(&self) -> &Path {
        &self.in_progress
    }

    /// Keeps the part, which is complete, under the name that it has, also after a power cut: for [`complete`]
    /// to give it its final one. Returns the name.
    pub(super) fn keep(mut self) -> Result<String> {
        self.sync()?;
        self.is_kept = true;
        sync_folder(self.folder())?;
        Ok(self.in_progress.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default())
    }

    /// Gives the part its final name. What has that name is whole, also after a power cut: the bytes
    /// are on the disk before the name is, and the name when this returns.
    pub(super) fn complete(mut self) -> Result<()> {
        self.sync()?;
        fs::rename(&self.in_progress, &self.complete).map_err(file_error("complete", &self.complete))?;
        self.is_kept = true;
        sync_folder(self.folder())
    }

    fn folder(&self) -> &Path {
        self.complete.parent().unwrap_or(Path::new("."))
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

fn open(path: &Path, truncate: bool) -> Result<File> {
    OpenOptions::new().write(true).create(true).truncate(truncate).open(path).map_err(file_error("write", path))
}

/// Makes a folder if it is not there.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(file_error("make", folder))
}

/// Gives a part that was kept under a name its final one, unless it has it.
pub(super) fn complete(folder: &Path, in_progress: &str) -> Result<()> {
    let path = folder.join(complete_name(in_progress));
    match fs::rename(folder.join(in_progress), &path) {
        Err(error) if error.kind() == ErrorKind::NotFound && path.is_file() => Ok(()),
        renamed => renamed.map_err(file_error("complete", &path)),
    }
}

/// Sees to it that the names in a folder are on the disk.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(file_error("write", folder))
}

/// Removes the parts that are `stale`, by their names; of those that others may have claimed, only what nobody
/// holds.
pub(super) fn remove(folder: &Path, names: &PartNames, is_stale: impl Fn(&str, PartName) -> bool) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(file_error("read", folder))? {
        let entry = entry.map_err(file_error("read", folder))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        match names.parse(name).filter(|part| is_stale(name, *part)) {
            Some(PartName { stage: PartStage::Claimed, .. }) => remove_unless_locked(&entry.path())?,
            Some(_) => remove_one(&entry.path())?,
            None => {}
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
    if lock(&file, path).map_err(file_error("lock", path))? { remove_one(path) } else { Ok(()) }
}

fn remove_one(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(file_error("remove", path)),
    }
}
