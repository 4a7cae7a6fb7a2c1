//! What the job writes to: a folder of part files, as the files sink keeps it.
//!
//! A sink claims the parts of its subtask; a later attempt takes the claim over, and an earlier one is refused. A part
//! is in progress, under a name that has the attempt, until it gets its final name. One that was kept for a commit
//! stays when its sink goes; all stay when its process is killed.

use std::collections::{BTreeMap, BTreeSet};

use tidemill_plans::ids::{Epoch, RunId, TaskId, WorkerId};

/// A row: its source and its number there, from 1 on.
pub(super) type Row = (u32, u64);

/// Who writes a part.
pub(super) type Owner = (RunId, TaskId, WorkerId);

/// A part's name: the subtask, and the checkpoint behind which it begins.
pub(super) type PartName = (u32, Option<Epoch>);

/// A part that is complete, and what becomes visible with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: PartName,
    /// The attempt that has written it.
    pub(super) attempt: u32,
    /// The epoch that it becomes visible with.
    pub(super) epoch: Epoch,
    pub(super) rows: Vec<Row>,
}

#[derive(Debug, Default)]
struct InProgress {
    rows: Vec<Row>,
    owner: Option<Owner>,
    is_kept: bool,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Outside {
    /// Who writes the parts of a subtask, or has been the last to.
    claims: BTreeMap<u32, Owner>,
    in_progress: BTreeMap<(PartName, u32), InProgress>,
    parts: BTreeMap<PartName, Vec<Row>>,
    visible: BTreeSet<Row>,
}

impl Outside {
    pub(super) fn visible(&self) -> &BTreeSet<Row> {
        &self.visible
    }

    /// Claims the parts of a subtask; false if a later attempt has.
    #[must_use]
    pub(super) fn claim(&mut self, subtask: u32, owner: Owner) -> bool {
        let (run, ..) = owner;
        let is_refused = self.claims.get(&subtask).is_some_and(|(other, ..)| other.attempt > run.attempt);
        if !is_refused {
            self.claims.insert(subtask, owner);
        }
        !is_refused
    }

    /// Whether the parts of a subtask are still this sink's.
    #[must_use]
    pub(super) fn is_claimed_by(&self, subtask: u32, owner: Owner) -> bool {
        self.claims.get(&subtask) == Some(&owner)
    }

    /// Begins a part.
    pub(super) fn create(&mut self, name: PartName, owner: Owner) {
        self.in_progress.insert((name, owner.0.attempt), InProgress { owner: Some(owner), ..InProgress::default() });
    }

    /// Writes a row. What is written to a part that has been removed is lost, and nobody misses it.
    pub(super) fn write(&mut self, name: PartName, owner: Owner, row: Row) {
        if let Some(part) = self.in_progress.get_mut(&(name, owner.0.attempt)) {
            assert_eq!(part.owner, Some(owner), "nobody else writes part {name:?}");
            part.rows.push(row);
        }
    }

    pub(super) fn keep(&mut self, name: PartName, attempt: u32) {
        if let Some(part) = self.in_progress.get_mut(&(name, attempt)) {
            part.is_kept = true;
        }
    }

    /// Gives a part its final name; false if it is not there.
    #[must_use]
    pub(super) fn complete(&mut self, part: &Part) -> bool {
        let found = self.in_progress.remove(&(part.name, part.attempt));
        let Some(found) = found else { return self.parts.contains_key(&part.name) };
        assert_eq!(found.rows, part.rows, "part {:?} holds what its checkpoint covers", part.name);
        for row in &found.rows {
            assert!(self.visible.insert(*row), "row {row:?} is shown twice");
        }
        let before = self.parts.insert(part.name, found.rows);
        assert!(before.is_none_or(|rows| rows.is_empty()), "rows that were shown are gone with part {:?}", part.name);
        true
    }

    /// Removes what a checkpoint does not cover, once what it covers is complete.
    pub(super) fn tidy(&mut self, subtask: u32, after: Option<Epoch>, pending: &[Part]) {
        self.in_progress.retain(|((of, _), _), _| *of != subtask);
        let is_pending = |name: &PartName| pending.iter().any(|part| part.name == *name);
        let removed = self.parts.extract_if(.., |name, _| name.0 == subtask && name.1 >= after && !is_pending(name));
        for (name, rows) in removed {
            assert!(rows.is_empty(), "rows that were shown are gone with part {name:?}");
        }
    }

    /// A sink is gone.
    pub(super) fn let_go(&mut self, owner: Owner) {
        self.in_progress.retain(|_, part| part.owner != Some(owner) || part.is_kept);
        self.unlock(|other| *other == owner);
    }

    /// A process was killed.
    pub(super) fn kill(&mut self, worker: WorkerId) {
        self.unlock(|(.., on)| *on == worker);
    }

    fn unlock(&mut self, is_gone: impl Fn(&Owner) -> bool) {
        for part in self.in_progress.values_mut() {
            part.owner.take_if(|owner| is_gone(owner));
        }
    }
}
