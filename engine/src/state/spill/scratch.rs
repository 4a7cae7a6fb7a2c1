//! Files that nobody else sees, in the folder that a worker was given for them.
//!
//! A file loses its name as soon as it is open, so the system takes its room back when it is closed, or when its
//! process ends in whatever way: nothing is left that the next process would have to sweep.

use std::fs::{File, OpenOptions};
use std::io::{Error, Result as IoResult, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::statvfs::statvfs;
use tidemill_plans::explain::analyze::shown_bytes;

use crate::error::{EngineError, Result};

/// Numbers for the names of files, while they have one.
static FILES: AtomicU64 = AtomicU64::new(0);

/// The folder for scratch files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScratchFolder(Arc<PathBuf>);

impl ScratchFolder {
    /// Files go there; the folder is made when the first one is.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self(Arc::new(folder))
    }

    /// A new file, which is empty.
    pub(crate) fn file(&self) -> Result<ScratchFile> {
        Ok(ScratchFile { folder: self.clone(), file: self.create()? })
    }

    /// A new file with what these parts have, one behind the other.
    pub fn file_of(&self, parts: impl IntoIterator<Item: AsRef<[u8]>>) -> Result<File> {
        let mut file = self.create()?;
        for part in parts {
            let part = part.as_ref();
            file.write_all(part).map_err(|source| self.not_written(part.len(), source))?;
        }
        Ok(file)
    }

    fn create(&self) -> Result<File> {
        self.try_create().map_err(|source| self.failed("create", self.free_bytes(), source))
    }

    fn try_create(&self) -> IoResult<File> {
        std::fs::create_dir_all(&*self.0)?;
        let name = format!("tidemill-{}-{}", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
        let path = self.0.join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    }

    fn not_written(&self, bytes: usize, source: Error) -> EngineError {
        self.failed(format!("write {} to", shown_bytes(bytes as u64)), self.free_bytes(), source)
    }

    fn failed(&self, action: impl Into<String>, free: Option<u64>, source: Error) -> EngineError {
        EngineError::Scratch { action: action.into(), folder: self.0.to_path_buf(), free, source }
    }

    /// How many bytes there is room for; unknown if there is no such folder.
    fn free_bytes(&self) -> Option<u64> {
        let disk = statvfs(self.0.as_path()).ok()?;
        Some(disk.blocks_available().saturating_mul(disk.fragment_size()))
    }
}

/// A file without a name.
#[derive(Debug)]
pub(crate) struct ScratchFile {
    folder: ScratchFolder,
    file: File,
}

impl ScratchFile {
    /// The length of a key or value, as it is written.
    pub(crate) fn length(&self, bytes: &[u8]) -> Result<u32> {
        let too_long = |_| self.folder.failed("write an entry to", None, Error::other("it has 4 GiB"));
        u32::try_from(bytes.len()).map_err(too_long)
    }

    /// The file itself, which is not changed any more.
    pub(crate) fn into_file(self) -> File {
        self.file
    }

    /// Writes bytes at an offset.
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|source| self.folder.not_written(bytes.len(), source))
    }

    /// Fills `bytes` with what is at an offset.
    pub(crate) fn read(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(bytes, offset).map_err(|source| self.folder.failed("read", None, source))
    }
}
