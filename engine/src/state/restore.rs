//! The state that a task goes on from, and which part of it is whose.
//!
//! A job that goes on finds each operator's state under the operator's number, in what its own stage wrote. One that
//! begins from a savepoint may have been planned in another way: its operators had other numbers, and ran in other
//! stages with other instances.

use std::collections::BTreeMap;

use tidemill_plans::ids::OperatorId;

use super::{Snapshot, StateReader};

/// See the [module](self).
#[derive(Default, Clone)]
pub struct Restore<'a> {
    /// What the instances of the head's stage wrote, by subtask; empty to begin anew.
    stage: &'a [Snapshot],
    /// For a job that begins from a savepoint.
    moved: Option<Moved<'a>>,
}

/// Where a savepoint has the state of a task's operators.
#[derive(Default, Clone)]
pub struct Moved<'a> {
    /// The number that each operator had, and what the instances of its stage wrote; nothing for those that begin
    /// with nothing.
    pub operators: BTreeMap<OperatorId, (OperatorId, &'a [Snapshot])>,
    /// Whether the head was the head of its stage before.
    pub had_same_inputs: bool,
}

impl<'a> Restore<'a> {
    /// For a job that goes on: what the instances of the task's stage wrote.
    #[must_use]
    pub fn of_stage(stage: &'a [Snapshot]) -> Self {
        Self { stage, moved: None }
    }

    /// For a job that begins from a savepoint; `head` is the task's first operator.
    #[must_use]
    pub fn moved(head: OperatorId, moved: Moved<'a>) -> Self {
        let stage = moved.operators.get(&head).map_or(&[][..], |(_, stage)| stage);
        Self { stage, moved: Some(moved) }
    }

    /// For one instance.
    pub(crate) fn at(&self, subtask: u32, parallelism: u32) -> TaskState<'a> {
        TaskState { restore: self.clone(), subtask, parallelism }
    }
}

/// What one task goes on from.
pub(crate) struct TaskState<'a> {
    restore: Restore<'a>,
    subtask: u32,
    parallelism: u32,
}

impl<'a> TaskState<'a> {
    /// Whether the task begins anew.
    pub(crate) fn is_empty(&self) -> bool {
        self.restore.stage.is_empty() && self.restore.moved.as_ref().is_none_or(|moved| moved.operators.is_empty())
    }

    /// What the task itself wrote.
    pub(crate) fn task(&self) -> StateReader<'a> {
        self.read(self.restore.stage)
    }

    /// What the task wrote of its inputs, unless they were others.
    pub(crate) fn inputs(&self) -> Option<StateReader<'a>> {
        let has_same = self.restore.moved.as_ref().is_none_or(|moved| moved.had_same_inputs);
        has_same.then(|| self.task())
    }

    /// What an operator wrote; nothing if it begins with nothing.
    pub(crate) fn operator(&self, id: OperatorId) -> Option<StateReader<'a>> {
        let Some(moved) = &self.restore.moved else { return Some(self.task().part(&id.to_string())) };
        let (before, stage) = moved.operators.get(&id)?;
        Some(self.read(stage).part(&before.to_string()).of_savepoint())
    }

    fn read(&self, stage: &'a [Snapshot]) -> StateReader<'a> {
        StateReader::new(stage, self.subtask, self.parallelism)
    }
}
