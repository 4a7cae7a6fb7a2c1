//! Spreads the tasks of a graph's stages over workers by their slots.
//!
//! All slots form one ring, the workers taking turns; subtask `i` of every stage takes slot `i` of
//! it. So each stage is spread as evenly as slots allow, and subtasks with one number share a worker:
//! forward channels stay in the process. A slot is a compute thread that tasks can share, so there
//! may be more tasks than slots. A stage that reads a view has its places already: where the view is.

use std::collections::BTreeMap;

use tidemill_plans::ids::{StageId, TaskId, WorkerId};
use tidemill_plans::stage::Stages;

use crate::error::{CoordinatorError, Result};

/// The worker of each subtask of a stage.
pub type Places = BTreeMap<StageId, Vec<WorkerId>>;

/// Places every task; `workers` are ids with their slots, in the order in which they take turns, and `fixed`
/// the places of stages that have theirs.
pub fn place(stages: &Stages, workers: &[(WorkerId, u32)], fixed: &Places) -> Result<Vec<(TaskId, WorkerId)>> {
    let ring = slot_ring(workers);
    if ring.is_empty() {
        return Err(CoordinatorError::NoWorkers);
    }
    let place = |task: TaskId| {
        let subtask = task.subtask as usize;
        let fixed = fixed.get(&task.stage).and_then(|places| places.get(subtask)).copied();
        fixed.unwrap_or_else(|| ring[subtask % ring.len()])
    };
    Ok(stages.tasks().map(|task| (task, place(task))).collect())
}

/// The workers in turns: first each one's first slot, then each one's second.
fn slot_ring(workers: &[(WorkerId, u32)]) -> Vec<WorkerId> {
    let rounds = workers.iter().map(|(_, slots)| *slots).max().unwrap_or(0);
    (0..rounds)
        .flat_map(|round| workers.iter().filter(move |(_, slots)| *slots > round).map(|(worker, _)| *worker))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::two_stage_graph;

    fn check(parallelism: (u32, u32), slots: &[u32], expected: &str) {
        let stages = Stages::of(&two_stage_graph(parallelism.0, parallelism.1)).unwrap();
        let workers: Vec<(WorkerId, u32)> = slots.iter().zip(1..).map(|(slots, id)| (WorkerId(id), *slots)).collect();
        let placed = place(&stages, &workers, &Places::new()).unwrap();
        let text: Vec<String> =
            placed.iter().map(|(task, on)| format!("{}.{}@{}", task.stage.0, task.subtask, on.0)).collect();
        assert_eq!(text.join(" "), expected);
    }

    #[test]
    fn equal_subtasks_share_a_worker() {
        check((2, 2), &[1, 1], "0.0@1 0.1@2 1.0@1 1.1@2");
    }

    #[test]
    fn tasks_beyond_the_slots_share_them() {
        check((3, 1), &[1, 1], "0.0@1 0.1@2 0.2@1 1.0@1");
        check((2, 1), &[1], "0.0@1 0.1@1 1.0@1");
    }

    #[test]
    fn larger_workers_take_more() {
        check((4, 1), &[3, 1], "0.0@1 0.1@2 0.2@1 0.3@1 1.0@1");
        check((2, 1), &[0, 1], "0.0@2 0.1@2 1.0@2");
    }

    #[test]
    fn without_workers_or_slots_there_is_an_error() {
        let stages = Stages::of(&two_stage_graph(1, 1)).unwrap();
        let none = Places::new();
        assert!(matches!(place(&stages, &[], &none), Err(CoordinatorError::NoWorkers)));
        assert!(matches!(place(&stages, &[(WorkerId(1), 0)], &none), Err(CoordinatorError::NoWorkers)));
    }

    #[test]
    fn a_stage_that_has_its_places_keeps_them() {
        let stages = Stages::of(&two_stage_graph(2, 2)).unwrap();
        let fixed = Places::from([(StageId(0), vec![WorkerId(2), WorkerId(2)])]);
        let placed = place(&stages, &[(WorkerId(1), 1), (WorkerId(2), 1)], &fixed).unwrap();
        assert_eq!(placed.iter().map(|(_, worker)| worker.0).collect::<Vec<_>>(), [2, 2, 1, 2]);
    }
}
