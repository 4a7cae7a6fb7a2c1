//! Where a sink's parts are: in a folder of this machine, or below a URL. The one has names for parts that nobody is to
//! see yet, the other shows nothing that is not complete.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectMeta;

use super::claim::{Claim, ObjectClaim, Owner};
use super::file_error;
use super::medium::{BucketFiles, Medium};
use super::part::{self, PartFile, PartName, PartNames, PartStage};
use super::uploads::{self, PartObject, Upload};
use super::waiting::wait;
use crate::error::Result;

/// The place of a sink's parts.
pub(super) enum Parts {
    Folder(PathBuf),
    Bucket(BucketParts),
}

/// Parts in a bucket.
pub(super) struct BucketParts {
    files: Arc<BucketFiles>,
    folder: PathBuf,
    /// What was there when the sink was opened.
    left: Vec<ObjectMeta>,
}

/// A part that is being written.
pub(super) enum Part {
    File(PartFile),
    Object(PartObject),
}

/// What a part is written to.
pub(super) enum PartBytes {
    File(File),
    Object(Upload),
}

/// The right to write the parts of a subtask.
pub(super) enum PartsClaim {
    File(Claim),
    Object(ObjectClaim),
}

impl Parts {
    /// The place that these options of a sink name.
    pub(super) fn open(path: &str, options: &[(String, String)]) -> Result<Self> {
        let (medium, path) = Medium::of(path, options)?;
        Self::on(&medium, path)
    }

    /// The same on a medium.
    pub(super) fn on(medium: &Medium, path: &str) -> Result<Self> {
        let Medium::Bucket(files) = medium else { return Ok(Self::Folder(PathBuf::from(path))) };
        let folder = PathBuf::from(path.trim_end_matches('/'));
        let left = files.list(&folder, false).map_err(file_error("list", &folder))?;
        Ok(Self::Bucket(BucketParts { files: Arc::clone(files), folder, left }))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join(name),
            Self::Bucket(parts) => parts.folder.join(name),
        }
    }

    /// Claims the parts of a subtask, of which the only one would have this name.
    pub(super) fn claim(&self, name: &str, owner: &Owner) -> Result<PartsClaim> {
        match self {
            Self::Folder(folder) => {
                part::make_folder(folder)?;
                Claim::take(folder, name, owner).map(PartsClaim::File)
            }
            Self::Bucket(parts) => ObjectClaim::take(&parts.files, &parts.folder, name, owner).map(PartsClaim::Object),
        }
    }

    /// Begins the only part of a subtask.
    pub(super) fn begin_only(&self, name: &str) -> Result<Part> {
        match self {
            Self::Folder(folder) => PartFile::create_only(folder, name).map(Part::File),
            Self::Bucket(parts) => PartObject::begin(&parts.files, parts.folder.join(name)).map(Part::Object),
        }
    }

    /// Begins a part of a subtask that has been claimed for an attempt.
    pub(super) fn begin(&self, name: &str, attempt: u32) -> Result<Part> {
        match self {
            Self::Folder(folder) => PartFile::create(folder, name, attempt).map(Part::File),
            Self::Bucket(_) => self.begin_only(name),
        }
    }

    /// What a part that was kept so is going to be called.
    pub(super) fn complete_name(&self, kept: &str) -> String {
        match self {
            Self::Folder(_) => part::complete_name(kept).to_owned(),
            Self::Bucket(_) => uploads::name_of(kept),
        }
    }

    /// Gives a part that was kept its name, unless it has it.
    pub(super) fn complete(&self, kept: &str) -> Result<()> {
        match self {
            Self::Folder(folder) => part::complete(folder, kept),
            Self::Bucket(parts) => uploads::complete(&parts.files, &parts.folder, kept),
        }
    }

    /// Removes the parts that are `stale`, by their names.
    pub(super) fn remove(&self, names: &PartNames, is_stale: impl Fn(&str, PartName) -> bool) -> Result<()> {
        match self {
            Self::Folder(folder) => part::remove(folder, names, is_stale),
            Self::Bucket(parts) => {
                let there = parts.files.list(&parts.folder, false).map_err(file_error("list", &parts.folder))?;
                parts.remove_of(&there, names, is_stale)
            }
        }
    }

    /// The same of what an earlier run has left. In a bucket nothing holds off an attempt that does not know yet that it is
    /// over: it must not take a later one's parts for those.
    pub(super) fn remove_left(&self, names: &PartNames, is_stale: impl Fn(&str, PartName) -> bool) -> Result<()> {
        match self {
            Self::Folder(folder) => part::remove(folder, names, is_stale),
            Self::Bucket(parts) => parts.remove_of(&parts.left, names, is_stale),
        }
    }

    /// Sees to it that the names of parts stay.
    pub(super) fn sync(&self) -> Result<()> {
        match self {
            Self::Folder(folder) => part::sync_folder(folder),
            Self::Bucket(_) => Ok(()),
        }
    }
}

impl BucketParts {
    /// Removes those of these objects that are stale parts and have not been replaced.
    fn remove_of(
        &self,
        objects: &[ObjectMeta],
        names: &PartNames,
        is_stale: impl Fn(&str, PartName) -> bool,
    ) -> Result<()> {
        for object in objects {
            let Some(name) = object.location.filename() else { continue };
            let Some(part) = names.parse(name).filter(|part| part.stage == PartStage::Complete) else { continue };
            if is_stale(name, part) {
                self.remove_one(object).map_err(file_error("remove", &self.folder.join(name)))?;
            }
        }
        Ok(())
    }

    fn remove_one(&self, object: &ObjectMeta) -> io::Result<()> {
        let (bucket, object) = (self.files.bucket.clone(), object.clone());
        wait(async move {
            match bucket.look(&object.location).await? {
                Some(now) if now.e_tag == object.e_tag => bucket.remove(&object.location).await,
                _ => Ok(()),
            }
        })
    }
}

impl Part {
    /// What it is written to.
    pub(super) fn bytes(&self) -> Result<PartBytes> {
        match self {
            Self::File(part) => part.file().map(PartBytes::File),
            Self::Object(part) => Ok(PartBytes::Object(part.bytes())),
        }
    }

    /// Where it is written.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::File(part) => part.path(),
            Self::Object(part) => part.path(),
        }
    }

    /// Keeps it, all of which has been written, until [`Parts::complete`] shows it. Returns what that needs.
    pub(super) fn keep(self) -> Result<String> {
        match self {
            Self::File(part) => part.keep(),
            Self::Object(part) => part.keep(),
        }
    }

    /// Shows it.
    pub(super) fn complete(self, parts: &Parts) -> Result<()> {
        match self {
            Self::File(part) => part.complete(),
            Self::Object(part) => parts.complete(&part.keep()?),
        }
    }
}

impl Write for PartBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Object(upload) => upload.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Object(upload) => upload.flush(),
        }
    }
}

impl PartsClaim {
    /// An error if somebody else has taken over.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::File(claim) => claim.check(),
            Self::Object(claim) => claim.check(),
        }
    }

    /// The job is over.
    pub(super) fn end(&mut self) {
        match self {
            Self::File(claim) => claim.end(),
            Self::Object(claim) => claim.end(),
        }
    }
}
