//! Files and folders that outlive a crash of the machine.
//!
//! A write is durable once the file is flushed, and its name once the folder that holds it is.
//! `object_store` does neither on a local file system.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Flushes a file below `root`, and the folders between.
pub(super) fn flush(root: &Path, file: &str) -> io::Result<()> {
    let path = root.join(file);
    path.ancestors().take_while(|path| path.starts_with(root)).try_for_each(flush_one)
}

/// Creates a folder, with those above it that are missing; returns its absolute path.
pub(super) fn create_folder(folder: &Path) -> io::Result<PathBuf> {
    let missing = folder.ancestors().take_while(|folder| !folder.exists()).count();
    std::fs::create_dir_all(folder)?;
    let folder = folder.canonicalize()?;
    // The name of a new folder is in the one above it.
    folder.ancestors().skip(1).take(missing).try_for_each(flush_one)?;
    Ok(folder)
}

fn flush_one(path: &Path) -> io::Result<()> {
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
