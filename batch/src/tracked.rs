//! How far a query has come, as its engine says it while the query runs.

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::physical_plan::ExecutionPlan;
use tidemill_plans::batch::progress::{BatchProgress, Fraction, Share};
use tidemill_plans::batch::{ReadCounts, TableReader};

use crate::cluster::Account;
use crate::engine::Progress;
use crate::reading::{Reading, Whole, done_by, parts_done};

/// A query, from its plan on.
#[derive(Debug)]
pub(crate) struct Tracked {
    reader: Arc<dyn TableReader>,
    /// What the connectors read of it.
    reading: Arc<Reading>,
    planned: Mutex<Planned>,
    /// What workers do of it.
    account: Arc<Account>,
}

/// What runs, once it is known.
#[derive(Debug, Clone, Default)]
struct Planned {
    /// What it has to read.
    whole: Whole,
    /// The plan, if it runs here.
    plan: Option<Arc<dyn ExecutionPlan>>,
}

impl Tracked {
    pub(crate) fn new(reader: Arc<dyn TableReader>, reading: Arc<Reading>) -> Self {
        Self { reader, reading, planned: Mutex::default(), account: Arc::default() }
    }

    /// What workers do of it.
    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// This runs here. What workers have done of it, if anything, counts no more.
    pub(crate) fn follow(&self, plan: &Arc<dyn ExecutionPlan>) {
        self.account.close();
        *self.planned() = Planned { whole: Whole::of(plan, &self.reading), plan: Some(Arc::clone(plan)) };
    }

    /// Workers are to run this.
    pub(crate) fn expect(&self, plan: &Arc<dyn ExecutionPlan>) {
        *self.planned() = Planned { whole: Whole::of(plan, &self.reading), plan: None };
    }

    fn planned(&self) -> std::sync::MutexGuard<'_, Planned> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Tracked {
    fn counts(&self) -> ReadCounts {
        let mut counts = self.reader.counts();
        let plan = self.planned().plan.clone();
        plan.iter().for_each(|plan| counts += done_by(plan.as_ref()));
        counts += self.account.counts();
        counts
    }

    fn progress(&self) -> BatchProgress {
        let (counts, Planned { whole, plan }) = (self.counts(), self.planned().clone());
        let is_read = Fraction::of(counts.bytes, whole.bytes);
        let (stages, tasks, fraction) = match self.account.steps() {
            Some(steps) => (steps.stages, steps.tasks(), steps.fraction(is_read)),
            None => {
                let parts = plan.map(|plan| parts_done(plan.as_ref())).unwrap_or_default() + self.reading.parts_done();
                let tasks = Share { done: parts.min(whole.parts), all: whole.parts };
                (Share { done: 0, all: 1 }, tasks, is_read.or(tasks.fraction()))
            }
        };
        BatchProgress {
            restarts: self.account.restarts(),
            stages,
            tasks,
            rows: counts.rows,
            rows_all: whole.rows,
            bytes: counts.bytes,
            bytes_all: Some(whole.bytes).filter(|bytes| *bytes > 0),
            spilled_bytes: counts.spilled_bytes,
            fraction,
        }
    }
}
