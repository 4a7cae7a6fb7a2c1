//! Finds the files that a source's path names, and notices if they change while a job is deployed.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tidemill_plans::PlanError;
use tidemill_plans::bucket::is_url;

use super::medium::Medium;
use super::{IN_PROGRESS, extension, file_error, objects};
use crate::error::{EngineError, Result};

/// A source's files at one moment, in the order of their paths.
pub(super) struct Listing {
    medium: Medium,
    /// The path as the user wrote it.
    path: String,
    format: String,
    /// The files.
    pub(super) files: Vec<PathBuf>,
}

impl Listing {
    /// The files that a path names: itself, a folder's files of the format, or what a glob matches.
    pub(super) fn of(medium: &Medium, path: &str, format: &str) -> Result<Self> {
        Ok(Self::new(medium, path, format, find_files(medium, path, format)?))
    }

    /// The same, or the files of a folder that are so many folders deeper, each of which is called `name=value`.
    pub(super) fn in_folders(medium: &Medium, path: &str, format: &str, folders: usize) -> Result<Self> {
        if folders == 0 {
            return Self::of(medium, path, format);
        }
        let folder = glob::Pattern::escape(path.trim_end_matches('/'));
        let files = expand(medium, &format!("{folder}/{}*.{}", "*=*/".repeat(folders), extension(format)))?;
        match files.is_empty() {
            true => Err(no_files(path)),
            false => Ok(Self::new(medium, path, format, files)),
        }
    }

    fn new(medium: &Medium, path: &str, format: &str, files: Vec<PathBuf>) -> Self {
        Self { medium: medium.clone(), path: path.to_owned(), format: format.to_owned(), files }
    }

    /// Looks again whether the files are the same ones.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        if find_files(&self.medium, &self.path, &self.format)? == self.files {
            Ok(())
        } else {
            Err(EngineError::FilesChanged { path: self.path.clone() })
        }
    }
}

fn find_files(medium: &Medium, path: &str, format: &str) -> Result<Vec<PathBuf>> {
    let files = match Place::of(medium, path, format)? {
        Place::File(path) => vec![path],
        Place::Glob(pattern) => expand(medium, &pattern)?,
    };
    if files.is_empty() { Err(no_files(path)) } else { Ok(files) }
}

fn no_files(path: &str) -> EngineError {
    let path = path.to_owned();
    match is_url(&path) {
        true => EngineError::NoObjects { url: path },
        false => EngineError::NoFiles { path, folder: std::env::current_dir().unwrap_or_default() },
    }
}

/// What a path names.
pub(super) enum Place {
    /// A file.
    File(PathBuf),
    /// A glob: the path itself, or the files of a format in the folder that it names.
    Glob(String),
}

/// A file of a place that is watched. Their order is that of reading.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FoundFile {
    modified: SystemTime,
    pub(super) path: PathBuf,
}

impl Place {
    fn of(medium: &Medium, path: &str, format: &str) -> Result<Self> {
        if let Medium::Bucket(files) = medium {
            return objects::place(files, path, format);
        }
        match fs::metadata(path) {
            // Not read as a glob: a file's name may have brackets.
            Ok(found) if found.is_file() => Ok(Self::File(PathBuf::from(path))),
            Ok(found) if found.is_dir() => {
                let folder = glob::Pattern::escape(path.trim_end_matches('/'));
                Ok(Self::Glob(format!("{folder}/*.{}", extension(format))))
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Err(file_error("open", Path::new(path))(error))
            }
            _ => Ok(Self::Glob(path.to_owned())),
        }
    }

    /// What a path names that is to be watched: there may be no file yet, but a path without wildcards
    /// must be there. In a bucket there are no folders, only names that begin so.
    pub(super) fn watched(medium: &Medium, path: &str, format: &str) -> Result<Self> {
        match Self::of(medium, path, format)? {
            Self::Glob(pattern) if pattern == path && !path.contains(['*', '?', '[']) => Err(no_files(path)),
            place => Ok(place),
        }
    }

    /// The files that are there and complete: neither hidden nor called `.inprogress`.
    pub(super) fn complete_files(&self, medium: &Medium) -> Result<Vec<FoundFile>> {
        if let Medium::Bucket(files) = medium {
            let found = objects::of_place(files, self)?.into_iter();
            let found = found.map(|(path, modified)| FoundFile { modified, path });
            return Ok(found.filter(|file| !is_hidden(&file.path)).collect());
        }
        let paths = match self {
            Self::File(path) => vec![path.clone()],
            Self::Glob(pattern) => matches(pattern)?.collect::<Result<_>>()?,
        };
        let mut files = Vec::new();
        for path in paths.into_iter().filter(|path| !is_in_progress(path) && !is_hidden(path)) {
            match fs::metadata(&path).and_then(|found| Ok((found.is_file(), found.modified()?))) {
                Ok((true, modified)) => files.push(FoundFile { modified, path }),
                Ok((false, _)) => {}
                // It has been deleted since, or is a link to what is still to come.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(file_error("open", &path)(error)),
            }
        }
        Ok(files)
    }
}

/// All paths that a glob matches.
fn matches(pattern: &str) -> Result<impl Iterator<Item = Result<PathBuf>>> {
    let found = glob::glob(pattern).map_err(|error| no_glob(&error))?;
    Ok(found.map(|path| path.map_err(unreadable)))
}

/// The files that a glob matches, without those that a sink has not finished.
fn expand(medium: &Medium, pattern: &str) -> Result<Vec<PathBuf>> {
    if let Medium::Bucket(files) = medium {
        return Ok(objects::matches(files, pattern)?.into_iter().map(|(path, _)| path).collect());
    }
    let mut files = Vec::new();
    for found in matches(pattern)? {
        let path = found?;
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

pub(super) fn is_in_progress(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == IN_PROGRESS)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

pub(super) fn no_glob(error: &glob::PatternError) -> EngineError {
    PlanError::InvalidOption(format!("option 'path' is no valid glob: {error}")).into()
}

fn unreadable(error: glob::GlobError) -> EngineError {
    let path = error.path().to_path_buf();
    EngineError::File { action: "read", path, source: error.into() }
}
