//! Where tables are to which nobody has given a place: a folder for each, below one of the coordinator's.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::file_name::file_name;

/// Tells the folders of one process apart.
static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// The folder of all of them.
#[derive(Debug)]
pub(crate) struct TableFolders {
    /// Nothing where tables have to say where they are.
    root: Option<PathBuf>,
    is_kept: bool,
    next: AtomicU32,
}

impl TableFolders {
    /// Folders that outlive the process.
    pub(crate) fn kept(root: PathBuf) -> Self {
        Self { root: Some(root), is_kept: true, next: AtomicU32::new(0) }
    }

    /// Folders below one for scratch files, which are gone with this.
    pub(crate) fn scratch(scratch: Option<&Path>) -> Self {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let root = scratch.map(|scratch| scratch.join(format!("tidemill-tables-{}-{number}", std::process::id())));
        Self { root, is_kept: false, next: AtomicU32::new(0) }
    }

    /// A place for a table, which nothing else has. Waits for the disk.
    pub(crate) fn place(&self, name: &str) -> Option<String> {
        let root = std::path::absolute(self.root.as_ref()?).ok()?;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let place = root.join(format!("{}-{number}", file_name(name, '-')));
            if !place.exists() {
                return place.into_os_string().into_string().ok();
            }
        }
    }

    /// Removes what a table has, if its place is one of these. Waits for the disk.
    pub(crate) fn remove(&self, place: &Path) -> std::io::Result<()> {
        let root = self.root.as_ref().and_then(|root| std::path::absolute(root).ok());
        let is_ours = root.is_some_and(|root| place.parent() == Some(root.as_path()));
        match if is_ours { fs::remove_dir_all(place) } else { Ok(()) } {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

impl Drop for TableFolders {
    fn drop(&mut self) {
        if let Some(root) = self.root.as_ref().filter(|_| !self.is_kept) {
            // There may have been none.
            let _ = fs::remove_dir_all(root);
        }
    }
}
