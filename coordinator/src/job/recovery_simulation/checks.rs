//! What must hold, whatever the adversary does.

use std::collections::BTreeMap;

use tidemill_plans::checkpoint::{Manifest, TaskState};
use tidemill_plans::ids::{Epoch, TaskId};

use super::World;
use super::coordinator::Coordinator;
use super::tasks::{Body, State};
use crate::job::JobStatus;

impl World {
    /// What holds at every moment.
    pub(super) fn check(&mut self) {
        for manifest in self.commons.store.sealed_since(self.checked.0) {
            self.check_manifest(&manifest);
            self.checked.0 += 1;
        }
        let shown = self.commons.outside.visible().len();
        if shown != self.checked.1 && !self.commons.is_given_up {
            self.check_shown();
        }
        self.checked.1 = shown;
        if let Some(savepoint) = &self.commons.savepoint {
            let read = self.positions(savepoint).values().map(|next| next - 1).sum::<u64>();
            assert_eq!(shown as u64, read, "what is shown is what the savepoint covers");
        }
    }

    /// A manifest goes on from the one before it, and is a cut: what each task has read, others have sent.
    fn check_manifest(&self, manifest: &Manifest) {
        let sealed = self.commons.store.sealed_since(0);
        let Some(before) = self.checked.0.checked_sub(1).map(|number| &sealed[number]) else { return };
        assert_eq!(manifest.number, before.number + 1, "manifests are numbered");
        if manifest.run != before.run {
            let base = (&manifest.epoch, &manifest.tasks);
            assert_eq!(base, (&before.epoch, &before.tasks), "an attempt begins with the checkpoint before it");
            return;
        }
        assert!(manifest.epoch > before.epoch, "epochs grow");
        if let Some(kept) = self.checked.0.checked_sub(2).map(|number| &sealed[number]) {
            let is_whole = kept.paths().all(|path| self.commons.store.has(path));
            assert!(is_whole, "{} can be fallen back to", kept.path());
        }
        let tasks: Vec<TaskId> = manifest.tasks.iter().map(|(task, _)| *task).collect();
        assert_eq!(tasks, self.commons.shape.tasks().collect::<Vec<_>>(), "a checkpoint has all tasks");
        let mut read = BTreeMap::new();
        let (mut summed, mut written) = (BTreeMap::new(), BTreeMap::new());
        for (task, files) in &manifest.tasks {
            let state = self.state(files);
            assert!(state.epoch == manifest.epoch || state.epoch == Epoch::END, "{task} is at {}", state.epoch);
            match &state.body {
                Body::Source(next) => add(&mut read, task.subtask, next - 1),
                Body::Middle(sums) => sums.iter().for_each(|(of, (_, count))| add(&mut summed, *of, *count)),
                Body::Sink { counts, .. } => counts.iter().for_each(|(of, count)| add(&mut written, *of, *count)),
            }
        }
        assert_eq!((&read, &read), (&summed, &written), "{} is a cut", manifest.path());
    }

    /// Rows that are shown are covered by the newest checkpoint.
    fn check_shown(&self) {
        let newest = self.commons.store.newest().unwrap();
        let next = self.positions(&newest);
        for (source, number) in self.commons.outside.visible() {
            let covered = next.get(source).is_some_and(|next| number < next);
            assert!(covered, "row {number} of source {source} is shown before it is covered by {newest:?}");
        }
    }

    /// The next row of each source at a checkpoint.
    fn positions(&self, manifest: &Manifest) -> BTreeMap<u32, u64> {
        let positions = manifest.tasks.iter().filter_map(|(task, files)| match &self.state(files).body {
            Body::Source(position) => Some((task.subtask, *position)),
            _ => None,
        });
        positions.collect()
    }

    /// What a task had at the newest of its files.
    fn state(&self, written: &TaskState) -> &State {
        &self.states[&written.files.last().unwrap().path]
    }

    /// What holds when nothing is left to do.
    pub(super) fn check_end(&self) {
        assert_eq!(self.commons.journal.attempt, None, "the job has ended");
        let visible = self.commons.outside.visible();
        let failed = |coordinator: &Coordinator| matches!(coordinator.status, Some(JobStatus::Failed { .. }));
        let all: u64 = self.commons.shape.rows.iter().sum();
        let is_short = self.commons.has_stopped || self.coordinators.iter().any(failed);
        assert!(is_short || visible.len() as u64 == all, "{} of {all} rows are shown", visible.len());
        assert!(self.workers.values().all(|(_, worker)| worker.is_idle()), "no worker keeps anything");
    }
}

fn add(sums: &mut BTreeMap<u32, u64>, of: u32, more: u64) {
    if more > 0 {
        *sums.entry(of).or_default() += more;
    }
}
