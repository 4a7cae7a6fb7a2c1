//! The checkpoints of jobs on their storage: sealed, found again, and cleared away.

use std::collections::HashSet;
use std::path::PathBuf;

use tidemill_plans::checkpoint::{Manifest, StateFile};
use tidemill_plans::connector::{RESULT_CONNECTOR, VIEW_CONNECTOR};
use tidemill_plans::error::chain;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::{Epoch, JobId, RunId};
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

/// Writes a manifest: from then on its checkpoint exists, also after a crash of the machine. An error if somebody
/// else has taken its number.
pub(crate) async fn seal(storage: &Storage, manifest: &Manifest) -> Result<()> {
    let mut manifest = manifest.clone();
    while !create(storage, &manifest).await? {
        // Earlier epochs that were given up while it was not known whether they were sealed: they are.
        manifest.number += 1;
    }
    check_not_overtaken(storage, &manifest).await?;
    flush(storage, &manifest.path()).await
}

/// Creates a manifest; false if its number belongs to an earlier one of the same attempt.
async fn create(storage: &Storage, manifest: &Manifest) -> Result<bool> {
    let path = manifest.path();
    if storage.create(&path, manifest.to_bytes()?).await? {
        return Ok(true);
    }
    let found = read(storage, &path).await?;
    match found.filter(|found| found.run == manifest.run) {
        // It is this one if the answer to an earlier attempt to write it was lost; a later one covers it.
        Some(found) => Ok(found.epoch >= manifest.epoch),
        None => Err(CoordinatorError::Sealed { path }),
    }
}

/// Whoever sleeps for long enough finds a number free again, because the manifest that had it has been deleted.
/// Then the one before is gone too: the oldest goes first.
async fn check_not_overtaken(storage: &Storage, manifest: &Manifest) -> Result<()> {
    let Some(before) = manifest.number.checked_sub(1) else { return Ok(()) };
    if storage.get(&Manifest::path_of(manifest.run.job, before)).await?.is_some() {
        return Ok(());
    }
    // It belongs to no list, and must not be taken for the end of one.
    storage.delete(&manifest.path()).await?;
    Err(CoordinatorError::Sealed { path: manifest.path() })
}

async fn read(storage: &Storage, path: &str) -> Result<Option<Manifest>> {
    Ok(storage.get(path).await?.map(|bytes| Manifest::from_bytes(&bytes, path)).transpose()?)
}

/// Makes an object that was written durable.
pub(crate) async fn flush(storage: &Storage, path: &str) -> Result<()> {
    if !storage.has_to_flush() {
        return Ok(());
    }
    let (storage, object) = (storage.clone(), path.to_owned());
    let flushed = spawn_blocking(move || storage.flush(&object)).await;
    let flushed = flushed.unwrap_or_else(|error| Err(error.into()));
    flushed.map_err(|source| CoordinatorError::Folder { path: path.into(), source })
}

/// Begins the list of a job that is new, with nothing or with what it takes from a savepoint. Before anybody hears of
/// the job: who finds a list empty that has a beginning knows that it was not listed as it is.
pub(crate) async fn begin(storage: &Storage, beginning: Manifest) -> Result<Manifest> {
    seal(storage, &beginning).await?;
    Ok(beginning)
}

/// Finds the checkpoint that an attempt goes on from, and seals it once more in its name. From then on no attempt
/// before it seals any: the rows that are not shown yet are this one's to drop and to write again. `known` is the
/// number of a manifest that has existed, for a listing may lack the newest; those like the `damaged` are left out.
pub(crate) async fn claim(storage: &Storage, run: RunId, known: u64, damaged: &[Manifest]) -> Result<Manifest> {
    let mut paths = storage.list(&Manifest::folder_of(run.job)).await?;
    paths.push(Manifest::path_of(run.job, known));
    paths.sort();
    paths.dedup();
    let mut number = paths.last().and_then(|path| number_of(path)).unwrap_or(known);
    let mut newest = newest(storage, run.job, paths, damaged).await?;
    loop {
        // A later attempt has begun meanwhile; it knows no better than to begin where this one would.
        if newest.run.attempt > run.attempt {
            return Err(CoordinatorError::Sealed { path: newest.path() });
        }
        number += 1;
        let claim = Manifest { number, run, ..newest };
        let path = claim.path();
        if storage.create(&path, claim.to_bytes()?).await? {
            check_not_overtaken(storage, &claim).await?;
            flush(storage, &path).await?;
            return Ok(claim);
        }
        newest = read(storage, &path).await?.ok_or(CoordinatorError::Sealed { path })?;
    }
}

/// The newest checkpoint at these paths that can be read.
async fn newest(storage: &Storage, job: JobId, paths: Vec<String>, damaged: &[Manifest]) -> Result<Manifest> {
    let is_damaged = |manifest: &Manifest| damaged.iter().any(|damaged| damaged.tasks == manifest.tasks);
    let mut has_passed_over = false;
    for path in paths.into_iter().rev() {
        let Some(bytes) = storage.get(&path).await? else { continue };
        match Manifest::from_bytes(&bytes, &path) {
            Ok(manifest) if is_damaged(&manifest) => has_passed_over = true,
            // Rows may have been shown since, which would be written twice.
            Ok(manifest) if manifest.tasks.is_empty() && has_passed_over => break,
            Ok(manifest) => return Ok(manifest),
            Err(error) => {
                warn!(path, error = chain(&error), "checkpoint passed over");
                has_passed_over = true;
            }
        }
    }
    Err(CoordinatorError::NoUsableCheckpoint { job })
}

/// Deletes all checkpoints of a job that is over, the newest last.
pub(crate) async fn clear(storage: &Storage, job: JobId) -> Result<()> {
    for folder in [Manifest::folder_of(job), StateFile::folder_of(job)] {
        for path in storage.list(&folder).await? {
            storage.delete(&path).await?;
        }
    }
    Ok(())
}

/// Deletes what no checkpoint needs any more that is kept: older manifests first, then the state that only they
/// name. Called when `sealed` is the newest. Returns the epoch of the oldest that is kept.
pub(crate) async fn collect_garbage(storage: &Storage, sealed: &Manifest) -> Result<Epoch> {
    let job = sealed.run.job;
    let paths = storage.list(&Manifest::folder_of(job)).await?;
    let older = paths.iter().filter(|path| **path <= sealed.path()).count().saturating_sub(KEPT);
    let (older, kept) = paths.split_at(older);
    for path in older {
        storage.delete(path).await?;
    }
    let mut manifests = Vec::with_capacity(kept.len());
    for path in kept {
        manifests.extend(read(storage, path).await?);
    }
    // State of an epoch that is not sealed may be on its way to be. What it goes on from are files of the chains
    // that the newest checkpoint has, for chains only grow or begin anew.
    let oldest = manifests.iter().map(|manifest| manifest.epoch).fold(sealed.epoch, Epoch::min);
    let needed: HashSet<&str> = manifests.iter().chain([sealed]).flat_map(Manifest::paths).collect();
    for path in storage.list(&StateFile::folder_of(job)).await? {
        let is_older = StateFile::epoch_of(&path).is_some_and(|epoch| epoch < oldest);
        if is_older && !needed.contains(path.as_str()) {
            storage.delete(&path).await?;
        }
    }
    Ok(oldest)
}

fn number_of(manifest: &str) -> Option<u64> {
    manifest.rsplit('/').next()?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod lies;

#[cfg(test)]
mod tests {
    use tidemill_plans::checkpoint::TaskState;
    use tidemill_plans::ids::{StageId, TaskId};

    use super::*;

    const JOB: JobId = JobId(3);

    fn manifest(attempt: u32, number: u64, epoch: u64) -> Manifest {
        let (run, task, epoch) = (run(attempt), TaskId { stage: StageId(0), subtask: 0 }, Epoch(epoch));
        let path = StateFile::path_of(run, task, epoch);
        Manifest { number, run, epoch, tasks: vec![(task, StateFile { path, bytes: 1 }.into())], origins: None }
    }

    fn run(attempt: u32) -> RunId {
        RunId { job: JOB, attempt }
    }

    /// A storage with the beginning of a job.
    async fn storage() -> (tempfile::TempDir, Storage) {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path().to_str().unwrap()).unwrap();
        begin(&storage, Manifest::beginning(run(0))).await.unwrap();
        (folder, storage)
    }

    fn path_of(manifest: &Manifest) -> String {
        manifest.tasks[0].1.files[0].path.clone()
    }

    async fn is_overtaken(storage: &Storage, manifest: &Manifest) -> bool {
        matches!(seal(storage, manifest).await, Err(CoordinatorError::Sealed { .. }))
    }

    #[tokio::test]
    async fn a_number_is_sealed_once_and_by_one_attempt() {
        let (_folder, storage) = storage().await;
        seal(&storage, &manifest(0, 1, 1)).await.unwrap();
        seal(&storage, &manifest(0, 1, 1)).await.unwrap();
        // The last of all and the one of another epoch, too.
        assert!(is_overtaken(&storage, &manifest(1, 1, 1)).await);
        assert!(is_overtaken(&storage, &manifest(1, 1, 2)).await);
        assert!(is_overtaken(&storage, &manifest(1, 1, u64::MAX)).await);
        assert_eq!(claim(&storage, run(1), 0, &[]).await.unwrap().tasks, manifest(0, 1, 1).tasks);
    }

    #[tokio::test]
    async fn an_epoch_that_was_sealed_though_it_was_given_up_keeps_its_number() {
        let (_folder, storage) = storage().await;
        seal(&storage, &manifest(0, 1, 1)).await.unwrap();
        seal(&storage, &manifest(0, 1, 3)).await.unwrap();
        // One that is sealed late is covered by the one behind it.
        seal(&storage, &manifest(0, 2, 2)).await.unwrap();
        assert_eq!(read(&storage, &Manifest::path_of(JOB, 2)).await.unwrap(), Some(manifest(0, 2, 3)));
        assert_eq!(storage.list(&Manifest::folder_of(JOB)).await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn who_claims_a_job_is_the_only_one_to_seal_its_checkpoints() {
        let (_folder, storage) = storage().await;
        assert_eq!(
            claim(&storage, run(1), 0, &[]).await.unwrap(),
            Manifest { number: 1, ..Manifest::beginning(run(1)) }
        );
        assert!(is_overtaken(&storage, &manifest(0, 1, 1)).await);
        seal(&storage, &manifest(1, 2, 1)).await.unwrap();
        let claimed = claim(&storage, run(2), 0, &[]).await.unwrap();
        assert_eq!(claimed, Manifest { number: 3, run: run(2), ..manifest(1, 2, 1) });
        assert!(is_overtaken(&storage, &manifest(1, 3, 2)).await);
        let late = claim(&storage, run(1), 0, &[]).await;
        assert!(matches!(late, Err(CoordinatorError::Sealed { .. })), "{late:?}");
    }

    #[tokio::test]
    async fn who_sleeps_until_its_number_is_free_again_seals_nothing() {
        let (_folder, storage) = storage().await;
        seal(&storage, &manifest(0, 1, 1)).await.unwrap();
        claim(&storage, run(1), 0, &[]).await.unwrap();
        for epoch in 2..=5 {
            let sealed = manifest(1, epoch + 1, epoch);
            seal(&storage, &sealed).await.unwrap();
            collect_garbage(&storage, &sealed).await.unwrap();
        }
        assert!(is_overtaken(&storage, &manifest(0, 2, 2)).await);
        let left = storage.list(&Manifest::folder_of(JOB)).await.unwrap();
        assert_eq!(left, [5, 6].map(|number| Manifest::path_of(JOB, number)));
    }

    #[tokio::test]
    async fn what_is_damaged_is_passed_over_for_the_one_before() {
        let (_folder, storage) = storage().await;
        for epoch in [1, 2, 3] {
            seal(&storage, &manifest(0, epoch, epoch)).await.unwrap();
        }
        let path = Manifest::path_of(JOB, 3);
        let mut bytes = storage.get(&path).await.unwrap().unwrap();
        bytes.truncate(20);
        storage.put(&path, bytes).await.unwrap();
        let second = claim(&storage, run(1), 3, &[]).await.unwrap();
        assert_eq!(second, Manifest { number: 4, run: run(1), ..manifest(0, 2, 2) });
        let first = claim(&storage, run(2), 3, std::slice::from_ref(&second)).await.unwrap();
        assert_eq!(first, Manifest { number: 5, run: run(2), ..manifest(0, 1, 1) });
        // Another attempt's checkpoint of the same epoch is another one.
        seal(&storage, &manifest(2, 6, 2)).await.unwrap();
        assert_eq!(
            claim(&storage, run(3), 0, std::slice::from_ref(&second)).await.unwrap().tasks,
            manifest(2, 6, 2).tasks
        );
        let none = claim(&storage, run(4), 0, &[first, second, manifest(2, 6, 2)]).await.unwrap_err();
        assert!(matches!(none, CoordinatorError::NoUsableCheckpoint { job: JOB }), "{none}");
        clear(&storage, JOB).await.unwrap();
        assert!(storage.list(&Manifest::folder_of(JOB)).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn garbage_is_what_no_kept_checkpoint_names() {
        let (_folder, storage) = storage().await;
        for epoch in [1, 2, 3, 4, u64::MAX] {
            storage.put(&path_of(&manifest(0, epoch, epoch)), vec![1]).await.unwrap();
        }
        for epoch in [1, 2, 3] {
            seal(&storage, &manifest(0, epoch, epoch)).await.unwrap();
        }
        collect_garbage(&storage, &manifest(0, 3, 3)).await.unwrap();
        let left = storage.list("job-3").await.unwrap();
        let of = |number| Manifest::path_of(JOB, number);
        let state = |epoch| path_of(&manifest(0, epoch, epoch));
        assert_eq!(left, [of(2), of(3), state(2), state(3), state(4), state(u64::MAX)]);
    }

    #[tokio::test]
    async fn a_file_is_kept_for_as_long_as_a_checkpoint_that_is_kept_names_it() {
        let (_folder, storage) = storage().await;
        // The state of epoch 1, of another attempt, and what has changed at 3, 4 and 5: 3 was never sealed.
        let chain = |attempt: u32, number: u64, epochs: &[u64]| {
            let newest = manifest(attempt, number, *epochs.last().unwrap());
            let files = epochs.iter().flat_map(|epoch| {
                let attempt = if *epoch == 1 { 0 } else { attempt };
                manifest(attempt, number, *epoch).tasks[0].1.files.clone()
            });
            Manifest { tasks: vec![(newest.tasks[0].0, TaskState { files: files.collect() })], ..newest }
        };
        let chains = [
            chain(0, 1, &[1]),
            Manifest { number: 2, run: run(1), ..chain(0, 1, &[1]) },
            chain(1, 3, &[1, 3, 4]),
            chain(1, 4, &[1, 3, 4, 5]),
            // Written anew.
            chain(1, 5, &[6]),
            chain(1, 6, &[6, 7]),
        ];
        let mut left = Vec::new();
        for manifest in &chains {
            for path in manifest.paths() {
                storage.put(path, vec![1]).await.unwrap();
            }
            seal(&storage, manifest).await.unwrap();
            collect_garbage(&storage, manifest).await.unwrap();
            let paths = storage.list(&StateFile::folder_of(JOB)).await.unwrap();
            left.push(paths.iter().flat_map(|path| StateFile::epoch_of(path)).map(|epoch| epoch.0).collect::<Vec<_>>());
        }
        assert_eq!(left, [vec![1], vec![1], vec![1, 3, 4], vec![1, 3, 4, 5], vec![1, 3, 4, 5, 6], vec![6, 7]]);
    }
}
