//! Finds the files that a source's path names, and notices if they change while a job is deployed.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tidemill_plans::PlanError;

use super::{IN_PROGRESS, file_error};
use crate::error::{EngineError, Result};

/// A source's files at one moment, in the order of their paths.
pub(super) struct Listing {
    /// The path as the user wrote it.
    path: String,
    format: String,
    /// The files.
    pub(super) files: Vec<PathBuf>,
}

impl Listing {
    /// The files that a path names: itself, a folder's files of the format, or what a glob matches.
    pub(super) fn of(path: &str, format: &str) -> Result<Self> {
        Ok(Self { path: path.to_owned(), format: format.to_owned(), files: find_files(path, format)? })
    }

    /// Looks again whether the files are the same ones.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        if find_files(&self.path, &self.format)? == self.files {
            Ok(())
        } else {
            Err(EngineError::FilesChanged { path: self.path.clone() })
        }
    }
}

fn find_files(path: &str, format: &str) -> Result<Vec<PathBuf>> {
    let pattern = match fs::metadata(path) {
        // Not read as a glob: a file's name may have brackets.
        Ok(found) if found.is_file() => return Ok(vec![PathBuf::from(path)]),
        Ok(found) if found.is_dir() => format!("{}/*.{format}", glob::Pattern::escape(path.trim_end_matches('/'))),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(file_error("open", Path::new(path))(error));
        }
        _ => path.to_owned(),
    };
    let files = expand(&pattern)?;
    if files.is_empty() {
        let folder = std::env::current_dir().unwrap_or_default();
        return Err(EngineError::NoFiles { path: path.to_owned(), folder });
    }
    Ok(files)
}

/// The files that a glob matches, without those that a sink has not finished.
fn expand(pattern: &str) -> Result<Vec<PathBuf>> {
    let matches = glob::glob(pattern)
        .map_err(|error| PlanError::InvalidOption(format!("option 'path' is no valid glob: {error}")))?;
    let mut files = Vec::new();
    for found in matches {
        let path = found.map_err(unreadable)?;
        // Asked by name, before anything else: a sink may complete it at any moment.
        if is_in_progress(&path) {
            continue;
        }
        // A link to nowhere is an error, for the rows that it stands for would be missing.
        if fs::metadata(&path).map_err(file_error("open", &path))?.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn is_in_progress(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == IN_PROGRESS)
}

fn unreadable(error: glob::GlobError) -> EngineError {
    let path = error.path().to_path_buf();
    EngineError::File { action: "read", path, source: error.into() }
}
