//! The state that a worker's tasks go on from, read from the storage of the checkpoints.
//!
//! Files are opened some at a time, whichever tasks they are of; the layers of a task are put together once all are
//! there. Rows stay in their files until an operator takes them up (`fetched.rs`).

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};
use tidemill_engine::state::{Moved, Restore, ScratchFolder, Snapshot, StateMemory};
use tidemill_plans::checkpoint::{Manifest, Origin, StateFile, TaskState};
use tidemill_plans::ids::{OperatorId, StageId, TaskId};
use tidemill_plans::stage::Stage;
use tidemill_plans::storage::Storage;

use crate::error::{Result, WorkersError};
use crate::fetched;
use crate::state_chain::StateChain;

/// Files that are read, and tasks whose layers are put together, at the same time.
const READS_AT_ONCE: usize = 8;

/// What the instances of each stage wrote, by subtask. Of those that no task here takes over it has nothing.
#[derive(Default)]
pub(crate) struct Restored {
    stages: BTreeMap<StageId, Vec<Snapshot>>,
    /// The files of the tasks that are as they were.
    chains: BTreeMap<TaskId, Vec<StateFile>>,
    /// Behind a savepoint: whose state each operator takes.
    origins: Option<Vec<Option<Origin>>>,
}

impl Restored {
    /// Reads what the tasks `own` need of a checkpoint: their own state, or where their stage's parallelism has
    /// changed, that of the whole stage. Of a savepoint everything: its stages are others. `memory` is an operator's: it
    /// takes up its state with a part of it.
    pub(crate) async fn read(
        storage: &Storage,
        memory: &StateMemory,
        checkpoint: &Manifest,
        own: impl Iterator<Item = TaskId>,
        parallelism: &BTreeMap<StageId, u32>,
    ) -> Result<Self> {
        let before = counts(checkpoint.tasks.iter().map(|(task, _)| task.stage));
        let own: BTreeSet<TaskId> = own.collect();
        let is_rescaled = |stage: StageId| before.get(&stage) != parallelism.get(&stage);
        let takes_over = |task: &TaskId| own.contains(task) || own.iter().any(|own| own.stage == task.stage);
        let is_moved = checkpoint.origins.is_some();
        let is_needed = |task: &TaskId| match is_rescaled(task.stage) {
            _ if is_moved => true,
            true => takes_over(task),
            false => own.contains(task),
        };
        let needed = || checkpoint.tasks.iter().filter(|(task, _)| is_needed(task));
        let mut restored = Self { origins: checkpoint.origins.clone(), ..Self::default() };
        for (task, state) in needed().filter(|(task, _)| !is_moved && !is_rescaled(task.stage)) {
            restored.chains.insert(*task, state.files.clone());
        }
        for (task, snapshot) in read_all(storage, memory, needed()).await? {
            let instances = before.get(&task.stage).copied().unwrap_or(0) as usize;
            let stage = restored.stages.entry(task.stage).or_insert_with(|| vec![Snapshot::default(); instances]);
            if let Some(instance) = stage.get_mut(task.subtask as usize) {
                *instance = snapshot;
            }
        }
        Ok(restored)
    }

    /// The chain that a task goes on with.
    pub(crate) fn chain_of(&self, task: TaskId) -> StateChain {
        self.chains.get(&task).map_or_else(StateChain::default, |files| StateChain::restored(files.clone()))
    }

    /// What a task of this stage goes on from; nothing where the job begins anew.
    pub(crate) fn of(&self, stage: &Stage) -> Restore<'_> {
        let (Some(origins), Some(head)) = (&self.origins, stage.operators.first()) else {
            return Restore::of_stage(self.stage(stage.id));
        };
        let origin = |operator: OperatorId| origins.get(operator.0 as usize).copied().flatten();
        let mut moved = Moved { had_same_inputs: origin(*head).is_some_and(|head| head.is_head), ..Moved::default() };
        for operator in &stage.operators {
            if let Some(Origin { stage, operator: before, .. }) = origin(*operator) {
                moved.operators.insert(*operator, (before, self.stage(stage)));
            }
        }
        Restore::moved(*head, moved)
    }

    fn stage(&self, id: StageId) -> &[Snapshot] {
        self.stages.get(&id).map_or(&[], Vec::as_slice)
    }
}

/// How many there are of each.
pub(crate) fn counts(stages: impl Iterator<Item = StageId>) -> BTreeMap<StageId, u32> {
    let mut counts = BTreeMap::new();
    stages.for_each(|stage| *counts.entry(stage).or_default() += 1);
    counts
}

/// What each task had written.
async fn read_all(
    storage: &Storage,
    memory: &StateMemory,
    states: impl Iterator<Item = &(TaskId, TaskState)>,
) -> Result<Vec<(TaskId, Snapshot)>> {
    let files = states.flat_map(|(task, state)| state.files.iter().map(|file| (*task, file)));
    let read = |(task, file): (TaskId, &StateFile)| {
        let (storage, scratch, file) = (storage.clone(), memory.scratch.clone(), file.clone());
        async move { Ok::<_, WorkersError>((task, file.path.clone(), read(&storage, &scratch, &file).await?)) }
    };
    let mut reading = stream::iter(files.collect::<Vec<_>>()).map(read).buffered(READS_AT_ONCE);
    let mut layers: BTreeMap<TaskId, (String, Vec<Snapshot>)> = BTreeMap::new();
    while let Some(read) = reading.next().await {
        let (task, path, layer) = read?;
        let (newest, of_task) = layers.entry(task).or_default();
        *newest = path;
        of_task.push(layer);
    }
    let merge = |(task, (path, layers)): (TaskId, (String, Vec<Snapshot>))| {
        let memory = memory.clone();
        async move { Ok((task, blocking(&path, move || Snapshot::merged(layers, &memory)).await?)) }
    };
    stream::iter(layers).map(merge).buffered(READS_AT_ONCE).collect::<Vec<_>>().await.into_iter().collect()
}

/// What has changed according to these files, which follow each other. It takes a part of that much memory.
pub(crate) async fn merged_changes(storage: &Storage, memory: &StateMemory, files: &[StateFile]) -> Result<Snapshot> {
    let path = files.last().map_or_else(String::new, |file| file.path.clone());
    let read = |file: StateFile| {
        let (storage, scratch) = (storage.clone(), memory.scratch.clone());
        async move { read(&storage, &scratch, &file).await }
    };
    let reading = stream::iter(files.to_vec()).map(read).buffered(READS_AT_ONCE);
    let layers: Result<Vec<Snapshot>> = reading.collect::<Vec<_>>().await.into_iter().collect();
    let layers = layers?;
    let memory = memory.clone();
    blocking(&path, move || Snapshot::merged_changes(layers, &memory)).await
}

async fn read(storage: &Storage, scratch: &ScratchFolder, file: &StateFile) -> Result<Snapshot> {
    let bytes = fetched::fetch(storage, scratch, file).await?;
    blocking(&file.path, move || Snapshot::open(bytes)).await
}

/// Does what takes a while on a thread that nobody else waits for.
async fn blocking(
    path: &str,
    compute: impl FnOnce() -> tidemill_engine::Result<Snapshot> + Send + 'static,
) -> Result<Snapshot> {
    // A panic is told of the file, too.
    let computed = fetched::blocking(compute).await.unwrap_or_else(Err);
    computed.map_err(|error| WorkersError::Restore { path: path.to_owned(), reason: error.chain() })
}
