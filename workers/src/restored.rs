//! The state that a worker's tasks go on from, read from the storage of the checkpoints.

use std::collections::{BTreeMap, BTreeSet};

use tidemill_engine::EngineError;
use tidemill_engine::state::Snapshot;
use tidemill_plans::checkpoint::{StateFile, TaskState};
use tidemill_plans::ids::{StageId, TaskId};
use tidemill_plans::storage::Storage;
use tokio::task::spawn_blocking;

use crate::error::{Result, WorkersError};

/// What the instances of each stage wrote, by subtask. Of those that no task here takes over it has nothing.
#[derive(Default)]
pub(crate) struct Restored {
    stages: BTreeMap<StageId, Vec<Snapshot>>,
}

impl Restored {
    /// Reads what the tasks `own` need of `states`: their own state, or where their stage's parallelism has
    /// changed, that of the whole stage.
    pub(crate) async fn read(
        storage: &Storage,
        states: &[(TaskId, TaskState)],
        own: impl Iterator<Item = TaskId>,
        parallelism: &BTreeMap<StageId, u32>,
    ) -> Result<Self> {
        let before = counts(states.iter().map(|(task, _)| task.stage));
        let own: BTreeSet<TaskId> = own.collect();
        let mut restored = Self::default();
        for (task, state) in states {
            let is_rescaled = before.get(&task.stage) != parallelism.get(&task.stage);
            let is_needed = own.contains(task) || is_rescaled && own.iter().any(|own| own.stage == task.stage);
            if is_needed {
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

    /// What the instances of a task's stage wrote; nothing where the job begins anew.
    pub(crate) fn of(&self, task: TaskId) -> &[Snapshot] {
        self.stages.get(&task.stage).map_or(&[], Vec::as_slice)
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
