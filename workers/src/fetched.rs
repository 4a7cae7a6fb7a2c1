//! Files of state where they can be read at leisure: as they are in a folder, or copied from a bucket to scratch.
//!
//! So restoring takes the memory of the state that operators keep there, and not that of the files beside it.

use std::fs::File;
use std::io::ErrorKind;

use bytes::Bytes;
use futures::StreamExt;
use tidemill_engine::EngineError;
use tidemill_engine::state::{ScratchFolder, SnapshotBytes};
use tidemill_plans::PlanError;
use tidemill_plans::checkpoint::StateFile;
use tidemill_plans::storage::Storage;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::error::{Result, WorkersError};

/// Files that are not larger are read at once.
const HELD_BYTES_MAX: u64 = 1 << 20;

/// Parts of a file that wait to be written.
const PARTS_AHEAD: usize = 8;

/// A file of state; an error if it is gone, or not as long as it was.
pub(crate) async fn fetch(storage: &Storage, scratch: &ScratchFolder, file: &StateFile) -> Result<SnapshotBytes> {
    let broken = |reason: String| WorkersError::Restore { path: file.path.clone(), reason };
    let found = find(storage, scratch, file).await?.ok_or_else(|| broken(String::from("it is gone")))?;
    match found.length()? {
        bytes if bytes == file.bytes => Ok(found),
        bytes => Err(broken(format!("it has {bytes} bytes instead of {}", file.bytes))),
    }
}

async fn find(storage: &Storage, scratch: &ScratchFolder, file: &StateFile) -> Result<Option<SnapshotBytes>> {
    if file.bytes <= HELD_BYTES_MAX {
        return Ok(storage.get(&file.path).await?.map(SnapshotBytes::Held));
    }
    let Some(path) = storage.file_of(&file.path) else { return copy(storage, scratch, &file.path).await };
    match blocking(move || File::open(path)).await? {
        Ok(found) => Ok(Some(SnapshotBytes::File(found))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(WorkersError::Restore { path: file.path.clone(), reason: error.to_string() }),
    }
}

/// Copies an object into a file of its own.
async fn copy(storage: &Storage, scratch: &ScratchFolder, path: &str) -> Result<Option<SnapshotBytes>> {
    let Some(mut parts) = storage.get_parts(path).await? else { return Ok(None) };
    let (sender, mut receiver) = mpsc::channel::<Bytes>(PARTS_AHEAD);
    let scratch = scratch.clone();
    let writing = blocking(move || scratch.file_of(std::iter::from_fn(|| receiver.blocking_recv())));
    let sending = async move {
        while let Some(part) = parts.next().await {
            // Why nobody takes it any more is told by whoever has stopped.
            if sender.send(part?).await.is_err() {
                break;
            }
        }
        Ok::<_, PlanError>(())
    };
    let (sent, written) = tokio::join!(sending, writing);
    let written = written??;
    sent?;
    Ok(Some(SnapshotBytes::File(written)))
}

/// Waits for the disk on a thread that nobody else waits for.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, EngineError> {
    spawn_blocking(work).await.map_err(|error| EngineError::Panicked(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;

    const PATH: &str = "job-1/state/1.state";

    /// What becomes of a file that has so many bytes, and should have others.
    async fn fetched(storage: &Storage, bytes: u64, expected: u64) -> Result<SnapshotBytes> {
        let folder = tempfile::tempdir().unwrap();
        let scratch = ScratchFolder::new(folder.path().to_path_buf());
        let written = (0..bytes).map(|byte| byte as u8).collect();
        storage.put(PATH, written).await.unwrap();
        fetch(storage, &scratch, &StateFile { path: String::from(PATH), bytes: expected }).await
    }

    #[tokio::test]
    async fn files_are_found_in_folders_and_in_buckets_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let in_folder = Storage::open(folder.path().to_str().unwrap()).unwrap();
        let in_bucket = Storage::on(Arc::new(InMemory::new()));
        for storage in [in_folder, in_bucket] {
            for bytes in [0, 100, HELD_BYTES_MAX, 3 * HELD_BYTES_MAX + 7] {
                let found = fetched(&storage, bytes, bytes).await.unwrap();
                assert_eq!(found.length().unwrap(), bytes);
                assert_eq!(matches!(found, SnapshotBytes::File(_)), bytes > HELD_BYTES_MAX);
                let error = fetched(&storage, bytes, bytes + 1).await.unwrap_err().chain();
                assert!(error.ends_with(&format!("it has {bytes} bytes instead of {}", bytes + 1)), "{error}");
            }
            storage.delete(PATH).await.unwrap();
            for bytes in [100, 3 * HELD_BYTES_MAX] {
                let (scratch, path) = (ScratchFolder::new(folder.path().join("scratch")), String::from(PATH));
                let error = fetch(&storage, &scratch, &StateFile { path, bytes }).await.unwrap_err().chain();
                assert!(error.ends_with("it is gone"), "{error}");
            }
        }
    }
}
