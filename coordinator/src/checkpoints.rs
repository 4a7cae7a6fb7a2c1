//! The checkpoints of jobs on their storage: sealed, found again, and cleared away.

use std::path::PathBuf;

use tidemill_plans::checkpoint::Manifest;
use tidemill_plans::connector::{RESULT_CONNECTOR, VIEW_CONNECTOR};
use tidemill_plans::error::chain;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::{Epoch, JobId};
use tidemill_plans::node::NodeKind;
use tidemill_plans::settings::Settings;
use tidemill_plans::storage::Storage;
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::error::{CoordinatorError, Result};

/// Where the checkpoints of a coordinator's jobs are.
#[derive(Debug, Clone)]
pub(crate) struct CheckpointPlace {
    /// Where, if a job's settings do not say.
    pub(crate) default: Option<PathBuf>,
    /// The name of the cluster: clusters that share a storage have folders of their own.
    pub(crate) cluster: String,
}

impl CheckpointPlace {
    /// The folder or URL of the checkpoints of a job with these settings, if it is to have any.
    pub(crate) fn of(&self, settings: &Settings) -> Option<String> {
        let given = Some(settings.checkpoint_storage.as_str()).filter(|url| !url.is_empty()).map(str::to_owned);
        let root = given.or_else(|| self.default.as_ref().map(|folder| folder.display().to_string()))?;
        (settings.checkpoint_interval_ms > 0).then(|| format!("{}/{}", root.trim_end_matches('/'), self.cluster))
    }
}

/// Whether a job can go on from a checkpoint. Rows of a SELECT have gone to whoever asked, and what a view held at
/// an epoch cannot be read again.
pub(crate) fn can_be_restored(graph: &DataflowGraph) -> bool {
    graph.nodes.iter().all(|node| match &node.kind {
        NodeKind::Source(source) => source.connector != VIEW_CONNECTOR,
        NodeKind::Sink(sink) => sink.connector != RESULT_CONNECTOR,
        _ => true,
    })
}

/// Sealed checkpoints that are kept: the newest, and one to fall back to.
const KEPT: usize = 2;

/// Writes a manifest: from then on its checkpoint exists, also after a crash of the machine. An error if the
/// epoch has been sealed by somebody else.
pub(crate) async fn seal(storage: &Storage, manifest: &Manifest) -> Result<()> {
    let path = Manifest::path_of(manifest.run.job, manifest.epoch);
    if !storage.create(&path, manifest.to_bytes()?).await? {
        let found = storage.get(&path).await?.map(|bytes| Manifest::from_bytes(&bytes, &path)).transpose()?;
        // Ours, if the answer to an earlier attempt to write it was lost.
        if found.as_ref() != Some(manifest) {
            return Err(CoordinatorError::Sealed { path });
        }
    }
    let (storage, object) = (storage.clone(), path.clone());
    let flushed = spawn_blocking(move || storage.flush(&object)).await;
    let flushed = flushed.unwrap_or_else(|error| Err(error.into()));
    flushed.map_err(|source| CoordinatorError::Folder { path: path.into(), source })
}

/// The newest checkpoint of a job whose manifest can be read, but for the epochs in `damaged`; an error if there are
/// some and none of them can be. `known` is one that is known to exist, which a listing may lack. Newer ones that
/// cannot be used make room: the attempt that goes on takes checkpoints of the same numbers.
pub(crate) async fn newest(
    storage: &Storage,
    job: JobId,
    known: Option<Epoch>,
    damaged: &[Epoch],
) -> Result<Option<Manifest>> {
    let mut paths = storage.list(&Manifest::folder_of(job)).await?;
    paths.extend(known.map(|epoch| Manifest::path_of(job, epoch)));
    paths.sort();
    paths.dedup();
    let is_first = paths.is_empty();
    let mut unusable = Vec::new();
    for path in paths.into_iter().rev() {
        let Some(bytes) = storage.get(&path).await? else { continue };
        match Manifest::from_bytes(&bytes, &path) {
            Ok(manifest) if manifest.run.job != job => warn!(path, "manifest of another job passed over"),
            Ok(manifest) if damaged.contains(&manifest.epoch) => unusable.push((path, bytes)),
            Ok(manifest) => {
                set_aside(storage, unusable).await?;
                return Ok(Some(manifest));
            }
            Err(error) => {
                warn!(path, error = chain(&error), "checkpoint passed over");
                unusable.push((path, bytes));
            }
        }
    }
    if is_first { Ok(None) } else { Err(CoordinatorError::NoUsableCheckpoint { job }) }
}

/// Puts manifests where they are not looked for, except by a person.
async fn set_aside(storage: &Storage, manifests: Vec<(String, Vec<u8>)>) -> Result<()> {
    for (path, bytes) in manifests {
        storage.put(&path.replace("/manifest/", "/damaged/"), bytes).await?;
        storage.delete(&path).await?;
    }
    Ok(())
}

/// Deletes all checkpoints of a job that is over, the newest last.
pub(crate) async fn clear(storage: &Storage, job: JobId) -> Result<()> {
    for folder in [Manifest::folder_of(job), format!("{job}/state"), format!("{job}/damaged")] {
        for path in storage.list(&folder).await? {
            storage.delete(&path).await?;
        }
    }
    Ok(())
}

/// Deletes what no checkpoint needs any more that is kept: older manifests first, then the state that only they
/// name. Called when `sealed` is the newest.
pub(crate) async fn collect_garbage(storage: &Storage, sealed: &Manifest) -> Result<()> {
    let job = sealed.run.job;
    let mut manifests = storage.list(&Manifest::folder_of(job)).await?;
    manifests.retain(|path| *path <= Manifest::path_of(job, sealed.epoch));
    let older = manifests.len().saturating_sub(KEPT);
    let kept = manifests.split_off(older);
    for path in manifests {
        storage.delete(&path).await?;
    }
    // State of an epoch that is not sealed may be on its way to be.
    let Some(oldest) = kept.first().and_then(|path| epoch_of(path)) else { return Ok(()) };
    for path in storage.list(&format!("{job}/state")).await? {
        let epoch = path.split('/').nth_back(1).and_then(|epoch| epoch.parse::<u64>().ok()).map(Epoch);
        if epoch.is_some_and(|epoch| epoch < oldest) {
            storage.delete(&path).await?;
        }
    }
    Ok(())
}

fn epoch_of(manifest: &str) -> Option<Epoch> {
    let name = manifest.rsplit('/').next()?;
    name.split('.').next()?.parse().ok().map(Epoch)
}

#[cfg(test)]
mod tests {
    use tidemill_plans::checkpoint::StateFile;
    use tidemill_plans::ids::{RunId, StageId, TaskId};

    use super::*;

    const JOB: JobId = JobId(3);

    fn manifest(attempt: u32, epoch: u64) -> Manifest {
        let (run, task, epoch) = (RunId { job: JOB, attempt }, TaskId { stage: StageId(0), subtask: 0 }, Epoch(epoch));
        let path = StateFile::path_of(run, task, epoch);
        Manifest { run, epoch, tasks: vec![(task, StateFile { path, bytes: 1 })] }
    }

    async fn storage() -> (tempfile::TempDir, Storage) {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path().to_str().unwrap()).unwrap();
        (folder, storage)
    }

    #[tokio::test]
    async fn an_epoch_is_sealed_once_and_by_one_attempt() {
        let (_folder, storage) = storage().await;
        seal(&storage, &manifest(0, 1)).await.unwrap();
        seal(&storage, &manifest(0, 1)).await.unwrap();
        let error = seal(&storage, &manifest(1, 1)).await.unwrap_err();
        assert!(matches!(error, CoordinatorError::Sealed { .. }), "{error}");
        assert_eq!(newest(&storage, JOB, None, &[]).await.unwrap(), Some(manifest(0, 1)));
        assert_eq!(newest(&storage, JobId(4), None, &[]).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_damaged_is_passed_over_for_the_one_before() {
        let (_folder, storage) = storage().await;
        for epoch in [9, 10, 11] {
            seal(&storage, &manifest(0, epoch)).await.unwrap();
        }
        let path = Manifest::path_of(JOB, Epoch(11));
        let mut bytes = storage.get(&path).await.unwrap().unwrap();
        bytes.truncate(20);
        storage.put(&path, bytes).await.unwrap();
        assert_eq!(newest(&storage, JOB, Some(Epoch(11)), &[]).await.unwrap(), Some(manifest(0, 10)));
        assert_eq!(newest(&storage, JOB, None, &[Epoch(10)]).await.unwrap(), Some(manifest(0, 9)));
        let none = newest(&storage, JOB, None, &[Epoch(9), Epoch(10)]).await.unwrap_err();
        assert!(matches!(none, CoordinatorError::NoUsableCheckpoint { job: JOB }), "{none}");
        clear(&storage, JOB).await.unwrap();
        assert_eq!(newest(&storage, JOB, None, &[]).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_damaged_makes_room_once_there_is_one_before() {
        let (_folder, storage) = storage().await;
        for epoch in [9, 10, 11] {
            seal(&storage, &manifest(0, epoch)).await.unwrap();
        }
        storage.put(&Manifest::path_of(JOB, Epoch(11)), vec![1]).await.unwrap();
        let all = [Epoch(9), Epoch(10)];
        newest(&storage, JOB, None, &all).await.unwrap_err();
        assert_eq!(storage.list("job-3/manifest").await.unwrap().len(), 3, "nothing to go back to");
        assert_eq!(newest(&storage, JOB, Some(Epoch(11)), &all[1..]).await.unwrap(), Some(manifest(0, 9)));
        for epoch in [10, 11] {
            seal(&storage, &manifest(1, epoch)).await.unwrap();
        }
        assert_eq!(newest(&storage, JOB, None, &[]).await.unwrap(), Some(manifest(1, 11)));
        assert_eq!(storage.list("job-3/damaged").await.unwrap().len(), 2);
        clear(&storage, JOB).await.unwrap();
        assert_eq!(storage.list("job-3").await.unwrap(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn garbage_is_what_no_kept_checkpoint_names() {
        let (_folder, storage) = storage().await;
        for epoch in [1, 2, 3, 4, u64::MAX] {
            storage.put(&manifest(0, epoch).tasks[0].1.path, vec![1]).await.unwrap();
        }
        for epoch in [1, 2, 3] {
            seal(&storage, &manifest(0, epoch)).await.unwrap();
        }
        collect_garbage(&storage, &manifest(0, 3)).await.unwrap();
        let left = storage.list("job-3").await.unwrap();
        let of = |epoch| Manifest::path_of(JOB, Epoch(epoch));
        let state = |epoch| manifest(0, epoch).tasks[0].1.path.clone();
        assert_eq!(left, [of(2), of(3), state(2), state(3), state(4), state(u64::MAX)]);
    }
}
