//! The folder of a process for what queries have no room for in memory, and what processes that were killed have left.
//!
//! DataFusion's spill files have names, so somebody has to remove them. Each process has a folder of its own with a file
//! in it that it holds locked: a folder whose lock is free belongs to nobody.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};

use crate::error::{BatchError, Result};

const PREFIX: &str = "tidemill-queries-";
const LOCK: &str = "lock";

/// What the name of a folder ends with that is being removed.
const GONE: &str = "-gone";

/// A folder that goes with this.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: PathBuf,
    /// Held for as long as the folder is used.
    _lock: File,
}

impl Scratch {
    /// A new folder in this one; those of processes that are gone are removed.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn open(place: &Path) -> Result<Self> {
        Self::try_open(place).map_err(|source| BatchError::Scratch { folder: place.to_path_buf(), source })
    }

    fn try_open(place: &Path) -> io::Result<Self> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(place)?;
        sweep(place);
        loop {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            let folder = place.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match fs::create_dir(&folder) {
                // Of a process with this number in another container, whose folder this is, too.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            let lock = File::create_new(folder.join(LOCK))?;
            // Somebody who sweeps may have been faster, and the folder is gone then.
            if lock.try_lock().is_ok() && folder.join(LOCK).exists() {
                OPEN.lock().unwrap_or_else(PoisonError::into_inner).push(folder.clone());
                return Ok(Self { folder, _lock: lock });
            }
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Has DataFusion put its spill files there.
    pub(crate) fn disk(&self) -> DiskManagerBuilder {
        DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![self.folder.clone()]))
    }
}

/// The folders of this process that are still there.
static OPEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes the folders that queries of this process still have, for one that ends: its threads may hold an engine until
/// they are gone, and then nobody drops it.
pub fn remove_scratch() {
    let left = std::mem::take(&mut *OPEN.lock().unwrap_or_else(PoisonError::into_inner));
    left.iter().for_each(|folder| empty(folder));
}

/// Removes a folder that nobody uses any more.
fn remove(folder: &Path) {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner).retain(|open| open != folder);
    empty(folder);
}

fn empty(folder: &Path) {
    // Under another name nobody can put files there any more: a query that has failed may still have threads that spill,
    // and a folder that gets files while it is emptied stays.
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let gone = folder.with_file_name(format!("{name}{GONE}"));
    let folder = fs::rename(folder, &gone).map_or(folder, |()| &gone);
    // What cannot be removed now is swept by the next process.
    let _ = fs::remove_dir_all(folder);
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

/// Removes the folders of processes that are gone.
fn sweep(place: &Path) {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let is_ours = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(PREFIX));
    for entry in entries.filter(|entry| is_ours(&entry.file_name())) {
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        match lock.try_lock() {
            Ok(()) => drop(fs::remove_dir_all(entry.path())),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_though_files_are_put_there_meanwhile() {
        let place = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(place.path()).unwrap();
        let folder = scratch.folder().to_path_buf();
        let (began, begins) = std::sync::mpsc::channel();
        let spills = std::thread::spawn(move || {
            (0_u32..)
                .take_while(|number| {
                    // Nobody waits for more than the first of them.
                    let _ = began.send(());
                    File::create_new(folder.join(number.to_string())).is_ok()
                })
                .count()
        });
        // It spills by now, and goes on until there is no folder.
        (0..100).for_each(|_| begins.recv().unwrap());
        drop(scratch);
        assert!(spills.join().unwrap() >= 99);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn folders_of_those_who_are_gone_are_removed() {
        let place = tempfile::tempdir().unwrap();
        let count = || fs::read_dir(place.path()).unwrap().count();
        let first = Scratch::open(place.path()).unwrap();
        fs::write(first.folder().join("rows"), "spilled").unwrap();
        let second = Scratch::open(place.path()).unwrap();
        assert_eq!(count(), 2);
        drop(second);
        assert_eq!(count(), 1);
        // As when a process is killed: the lock is free, and the files are there.
        let left = first.folder().to_path_buf();
        let Scratch { _lock, .. } = &first;
        _lock.unlock().unwrap();
        std::mem::forget(first);
        fs::create_dir(place.path().join("of somebody else")).unwrap();
        let third = Scratch::open(place.path()).unwrap();
        assert!(!left.exists() && third.folder().exists());
        assert_eq!(count(), 2);
    }
}
