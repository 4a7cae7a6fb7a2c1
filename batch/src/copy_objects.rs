//! COPY and CREATE TABLE AS to a URL: objects whose uploads are completed together at the end, so nothing has to have
//! another name meanwhile. A store has no folders: one is there once something in it is.

use std::path::PathBuf;

use datafusion::error::{DataFusionError, Result};
use object_store::path::Path;
use tidemill_plans::batch::{CopyFormat, CopyLayout, CopyTarget};

use crate::copy::{ADDITIONS_MAX, IN_PROGRESS, file_name, refused};
use crate::objects::{Named, QueryObjects, failed, key};

/// Objects that are being written.
#[derive(Debug)]
pub(crate) struct UnfinishedObjects {
    objects: QueryObjects,
    named: Named,
    /// The object or the folder.
    complete: Path,
    is_folder: bool,
    /// Where the rows go, for DataFusion.
    url: String,
    /// What goes once the new ones are there.
    replaced: Vec<Path>,
    /// What keeps others off the name of an addition.
    reserved: Option<Path>,
    /// Whether nothing is left to be given up.
    is_over: bool,
}

impl UnfinishedObjects {
    /// Looks at what is there. Nothing is, of a path of this machine.
    pub(crate) async fn begin(objects: &QueryObjects, target: &CopyTarget) -> Result<Option<Self>> {
        let Some(named) = objects.bucket(&target.path, &target.store)? else { return Ok(None) };
        let path = PathBuf::from(&target.path);
        let folder = key(&named.bucket, &path)?;
        let there = |is_deep| {
            let (bucket, folder) = (named.bucket.clone(), folder.clone());
            async move { bucket.list(&folder, is_deep).await.map_err(failed) }
        };
        let (mut complete, mut replaced, mut reserved) = (folder.clone(), Vec::new(), None);
        match target.layout {
            CopyLayout::File if folder.as_ref().is_empty() => return Err(refused(&path, "names no object")),
            CopyLayout::File => {}
            CopyLayout::Folder if there(true).await?.is_empty() => {}
            CopyLayout::Folder => {
                return Err(refused(&path, "has something in it already; name another folder, or remove this one"));
            }
            CopyLayout::Replacement => {
                replaced = there(true).await?.into_iter().map(|object| object.location).collect()
            }
            CopyLayout::Addition => {
                let taken: Vec<Path> = there(false).await?.into_iter().map(|object| object.location).collect();
                complete = free(&named, &folder, &taken, target.format).await?;
                reserved = Some(in_progress(&complete)?);
            }
        }
        let is_folder = matches!(target.layout, CopyLayout::Folder | CopyLayout::Replacement);
        let url = url(&named, &complete, target, is_folder);
        Ok(Some(Self { objects: objects.clone(), named, complete, is_folder, url, replaced, reserved, is_over: false }))
    }

    /// Where the rows would go.
    pub(crate) fn planned(objects: &QueryObjects, target: &CopyTarget) -> Result<Option<String>> {
        let Some(named) = objects.bucket(&target.path, &target.store)? else { return Ok(None) };
        let complete = key(&named.bucket, &PathBuf::from(&target.path))?;
        let is_folder = target.layout != CopyLayout::File;
        Ok(Some(url(&named, &complete, target, is_folder)))
    }

    /// Where the rows go.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Shows all of it.
    pub(crate) async fn finish(mut self) -> Result<()> {
        let written = self.objects.complete().await?;
        debug_assert!(self.is_folder || written.len() <= 1, "one object at {}", self.complete);
        let is_written =
            |key: &Path| written.iter().any(|location| location.as_ref() == format!("{}/{key}", self.named.name));
        for key in self.replaced.iter().filter(|key| !is_written(key)).chain(&self.reserved) {
            self.named.bucket.remove(key).await.map_err(failed)?;
        }
        self.is_over = true;
        Ok(())
    }

    /// Nobody sees anything of it.
    pub(crate) async fn give_up(mut self) {
        self.is_over = true;
        self.clean_up().await;
    }

    fn clean_up(&self) -> impl Future<Output = ()> + Send + use<> {
        let (objects, bucket, reserved) = (self.objects.clone(), self.named.bucket.clone(), self.reserved.clone());
        async move {
            objects.give_up().await;
            if let Some(reserved) = &reserved {
                // The next addition has another name, then.
                let _ = bucket.remove(reserved).await;
            }
        }
    }
}

impl Drop for UnfinishedObjects {
    fn drop(&mut self) {
        if !self.is_over {
            self.objects.leave(self.clean_up());
        }
    }
}

fn url(named: &Named, complete: &Path, target: &CopyTarget, is_folder: bool) -> String {
    match (target.partition_by.is_empty(), is_folder) {
        (false, _) => format!("{}/", named.url(complete)),
        (true, true) => named.url(&complete.clone().join(file_name(0, target.format))),
        (true, false) => named.url(complete),
    }
}

/// The first name that is free in a folder, and nobody else's from here on.
async fn free(named: &Named, folder: &Path, taken: &[Path], format: CopyFormat) -> Result<Path> {
    for number in 0..ADDITIONS_MAX {
        let complete = folder.clone().join(file_name(number, format));
        let reserved = in_progress(&complete)?;
        if taken.contains(&complete) || taken.contains(&reserved) {
            continue;
        }
        if !named.bucket.create(&reserved, Vec::new()).await.map_err(failed)? {
            continue;
        }
        // Between the look and the reservation another may have been completed.
        if named.bucket.look(&complete).await.map_err(failed)?.is_none() {
            return Ok(complete);
        }
        named.bucket.remove(&reserved).await.map_err(failed)?;
    }
    Err(refused(&named.bucket.url(folder), "has no name left for another file; put its rows into fewer files"))
}

fn in_progress(complete: &Path) -> Result<Path> {
    Path::parse(format!("{complete}{IN_PROGRESS}")).map_err(|error| DataFusionError::External(Box::new(error)))
}
