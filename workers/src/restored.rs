//! The state that a worker's tasks go on from, read from the storage of the checkpoints.

use std::collections::{BTreeMap, BTreeSet};

use tidemill_engine::EngineError;
use tidemill_engine::state::{Moved, Restore, Snapshot};
use tidemill_plans::checkpoint::{Manifest, Origin, StateFile};
use tidemill_plans::ids::{OperatorId, StageId, TaskId};
use tidemill_plans::stage::Stage;
use tidemill_plans::storage::Storage;
use tokio::task::spawn_blocking;

use crate::error::{Result, WorkersError};

/// What the instances of each stage wrote, by subtask. Of those that no task here takes over it has nothing.
#[derive(Default)]
pub(crate) struct Restored {
    stages: BTreeMap<StageId, Vec<Snapshot>>,
    /// Behind a savepoint: whose state each operator takes.
    origins: Option<Vec<Option<Origin>>>,
}

impl Restored {
    /// Reads what the tasks `own` need of a checkpoint: their own state, or where their stage's parallelism has
    /// changed, that of the whole stage. Of a savepoint everything: its stages are others.
    pub(crate) async fn read(
        storage: &Storage,
        checkpoint: &Manifest,
        own: impl Iterator<Item = TaskId>,
        parallelism: &BTreeMap<StageId, u32>,
    ) -> Result<Self> {
        let before = counts(checkpoint.tasks.iter().map(|(task, _)| task.stage));
        let own: BTreeSet<TaskId> = own.collect();
        let mut restored = Self { origins: checkpoint.origins.clone(), ..Self::default() };
        for (task, state) in &checkpoint.tasks {
            let is_rescaled = before.get(&task.stage) != parallelism.get(&task.stage);
            let is_needed = own.contains(task) || is_rescaled && own.iter().any(|own| own.stage == task.stage);
            if is_needed || restored.origins.is_some() {
                let instances = before.get(&task.stage).copied().unwrap_or(0) as usize;
                let stage = restored.stages.entry(task.stage).or_insert_with(|| vec![Snapshot::default(); instances]);
                if let Some(instance) = stage.get_mut(task.subtask as usize) {
                    for file in &state.files {
                        *instance = read(storage, file).await?;
                    }
                }
            }
        }
        Ok(restored)
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

async fn read(storage: &Storage, file: &StateFile) -> Result<Snapshot> {
    let broken = |reason: String| WorkersError::Restore { path: file.path.clone(), reason };
    let bytes = storage.get(&file.path).await?.ok_or_else(|| broken(String::from("it is gone")))?;
    if bytes.len() as u64 != file.bytes {
        return Err(broken(format!("it has {} bytes instead of {}", bytes.len(), file.bytes)));
    }
    let read = spawn_blocking(move || Snapshot::from_bytes(&bytes)).await;
    read.unwrap_or_else(|error| Err(EngineError::Panicked(error.to_string()))).map_err(|error| broken(error.chain()))
}
