//! What is known of a query while workers run it: the tasks of its stages, those that have ended, and what has been read.
//!
//! The scheduler tells nobody before a query has ended. So the stages are those that its planner makes of the same plan, and
//! ends are counted as workers tell them, each once.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidemill_plans::batch::ReadCounts;
use tidemill_plans::batch::progress::{Fraction, Share};
use tidemill_plans::ids::WorkerId;

/// Of one query, over all its attempts.
#[derive(Debug, Default)]
pub(crate) struct Account(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    restarts: u32,
    /// Of the attempt that runs, if one does, by number.
    stages: BTreeMap<u32, Stage>,
    /// What has been read, by worker.
    counts: BTreeMap<WorkerId, ReadCounts>,
}

/// A stage of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stage {
    pub(crate) tasks: Share,
    /// Whether it reads tables, and not what other stages have written.
    pub(crate) reads_tables: bool,
}

/// How far the stages of an attempt are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) stages: Share,
    /// Of the stages that read tables.
    reading: Share,
    /// Of all others.
    others: Share,
}

impl Account {
    /// An attempt begins, with these stages; nothing counts of those before it.
    pub(crate) fn begin(&self, stages: BTreeMap<u32, Stage>) {
        let mut state = self.state();
        (state.stages, state.counts) = (stages, BTreeMap::new());
    }

    /// A worker is lost: another attempt is to begin.
    pub(crate) fn begin_anew(&self) {
        self.begin(BTreeMap::new());
        self.state().restarts += 1;
    }

    /// No worker runs it any more.
    pub(crate) fn close(&self) {
        self.begin(BTreeMap::new());
    }

    /// A worker has read so much by now.
    pub(crate) fn note_read(&self, worker: WorkerId, counts: ReadCounts) {
        self.state().counts.insert(worker, counts);
    }

    /// A task has ended well.
    pub(crate) fn end_task(&self, stage: u32) {
        if let Some(stage) = self.state().stages.get_mut(&stage) {
            stage.tasks.done = (stage.tasks.done + 1).min(stage.tasks.all);
        }
    }

    pub(crate) fn restarts(&self) -> u32 {
        self.state().restarts
    }

    /// What all workers have read.
    pub(crate) fn counts(&self) -> ReadCounts {
        let mut all = ReadCounts::default();
        self.state().counts.values().for_each(|counts| all += *counts);
        all
    }

    /// How far an attempt is, if one runs.
    pub(crate) fn steps(&self) -> Option<Steps> {
        let state = self.state();
        let mut steps = Steps::default();
        for stage in state.stages.values() {
            let is_done = u32::from(stage.tasks.done == stage.tasks.all);
            steps.stages.add(Share { done: is_done, all: 1 });
            let tasks = if stage.reads_tables { &mut steps.reading } else { &mut steps.others };
            tasks.add(stage.tasks);
        }
        Some(steps).filter(|steps| steps.stages.all > 0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Steps {
    pub(crate) fn tasks(self) -> Share {
        let mut tasks = self.reading;
        tasks.add(self.others);
        tasks
    }

    /// How much of all tasks is done: of those that read tables, what has ended or as much as has been read.
    pub(crate) fn fraction(self, is_read: Option<Fraction>) -> Option<Fraction> {
        let (reading, others) = (f64::from(self.reading.all), f64::from(self.others.all));
        let read = f64::from(self.reading.done).max(reading * is_read.map(Fraction::value).unwrap_or_default());
        let done = read + f64::from(self.others.done);
        // A fraction has four digits.
        Fraction::of((done / (reading + others) * 1e4) as u64, 10_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(all: u32, reads_tables: bool) -> Stage {
        Stage { tasks: Share { done: 0, all }, reads_tables }
    }

    #[test]
    fn tasks_that_end_are_counted_until_a_worker_is_lost() {
        let account = Account::default();
        assert_eq!(account.steps(), None);
        account.begin(BTreeMap::from([(1, stage(3, true)), (2, stage(1, false))]));
        account.note_read(WorkerId(1), ReadCounts { rows: 5, ..ReadCounts::default() });
        let mut told = Vec::new();
        for ended in [1, 1, 7, 1, 2, 2] {
            account.end_task(ended);
            let steps = account.steps().unwrap();
            told.push((steps.stages.done, steps.tasks().done, steps.fraction(None).unwrap().to_string()));
        }
        let told: Vec<_> = told.iter().map(|(stages, tasks, all)| (*stages, *tasks, all.as_str())).collect();
        // A stage that nobody knows counts nothing, nor does a task more than there are.
        assert_eq!(told, [(0, 1, "25%"), (0, 2, "50%"), (0, 2, "50%"), (1, 3, "75%"), (2, 4, "100%"), (2, 4, "100%")]);
        account.begin_anew();
        assert_eq!((account.steps(), account.counts(), account.restarts()), (None, ReadCounts::default(), 1));
    }

    #[test]
    fn what_has_been_read_counts_before_its_tasks_have_ended() {
        let account = Account::default();
        account.begin(BTreeMap::from([(1, stage(2, true)), (2, stage(2, false))]));
        let fraction = |is_read| account.steps().unwrap().fraction(is_read).unwrap().to_string();
        assert_eq!(fraction(Fraction::of(1, 2)), "25%");
        account.end_task(1);
        account.end_task(1);
        assert_eq!(fraction(Fraction::of(1, 2)), "50%", "what has ended has been read");
    }
}
