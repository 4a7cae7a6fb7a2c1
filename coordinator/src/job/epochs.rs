//! Numbers the barriers of a job and notices when one has passed through every task.

use std::collections::BTreeSet;

use tidemill_plans::ids::{Epoch, TaskId};

use crate::job::JobPlan;
use crate::job::progress::Progress;

/// At most one epoch is in flight: a second barrier behind a slow first one would only make
/// alignment buffers longer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Epochs {
    /// The newest epoch that was begun.
    last: Epoch,
    /// The tasks that the barrier of `last` has passed through, while it is in flight.
    passed: Option<BTreeSet<TaskId>>,
}

impl Epochs {
    /// Begins an epoch, unless one is in flight.
    pub(crate) fn begin(&mut self) -> Option<Epoch> {
        if self.passed.is_some() {
            return None;
        }
        self.last = Epoch(self.last.0 + 1);
        self.passed = Some(BTreeSet::new());
        Some(self.last)
    }

    /// Notes that the barrier of `epoch` has passed through `task`.
    pub(crate) fn pass(&mut self, task: TaskId, epoch: Epoch) {
        if epoch == self.last
            && let Some(passed) = &mut self.passed
        {
            passed.insert(task);
        }
    }

    /// Ends the epoch in flight and names it, if every task has passed its barrier or has ended.
    pub(crate) fn complete(&mut self, plan: &JobPlan, progress: &Progress) -> Option<Epoch> {
        let passed = self.passed.as_ref()?;
        let all = plan.tasks().all(|task| passed.contains(&task) || progress.has_ended(task));
        all.then(|| {
            self.passed = None;
            self.last
        })
    }

    /// Gives the epoch in flight up: a worker did not take its barrier.
    pub(crate) fn abandon(&mut self) -> Option<Epoch> {
        self.passed.take().map(|_| self.last)
    }
}
