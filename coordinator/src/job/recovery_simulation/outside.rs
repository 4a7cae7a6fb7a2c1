//! What the job writes to: a folder of part files, as the files sink keeps it.
//!
//! A part is locked by the sink that writes it until that is gone, and in progress until it gets its final name.
//! One that was kept for a commit stays when its sink goes; all stay when its process is killed.

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
    in_progress: BTreeMap<PartName, InProgress>,
    parts: BTreeMap<PartName, Vec<Row>>,
    visible: BTreeSet<Row>,
}

impl Outside {
    pub(super) fn visible(&self) -> &BTreeSet<Row> {
        &self.visible
    }

    /// Begins a part; false if somebody else writes it.
    pub(super) fn create(&mut self, name: PartName, owner: Owner) -> bool {
        if self.in_progress.get(&name).and_then(|part| part.owner).is_some_and(|other| other != owner) {
            return false;
        }
        self.in_progress.insert(name, InProgress { owner: Some(owner), ..InProgress::default() });
        true
    }

    pub(super) fn write(&mut self, name: PartName, owner: Owner, row: Row) {
        let part = self.in_progress.get_mut(&name).expect("a part that is locked is not removed");
        assert_eq!(part.owner, Some(owner), "nobody else writes part {name:?}");
        part.rows.push(row);
    }

    pub(super) fn keep(&mut self, name: PartName) {
        self.in_progress.get_mut(&name).expect("a part that is locked is not removed").is_kept = true;
    }

    /// Gives a part its final name; false if it is not there.
    #[must_use]
    pub(super) fn complete(&mut self, part: &Part) -> bool {
        let Some(found) = self.in_progress.remove(&part.name) else { return self.parts.contains_key(&part.name) };
        assert_eq!(found.rows, part.rows, "part {:?} holds what its checkpoint covers", part.name);
        for row in &found.rows {
            assert!(self.visible.insert(*row), "row {row:?} is shown twice");
        }
        let before = self.parts.insert(part.name, found.rows);
        assert!(before.is_none_or(|rows| rows.is_empty()), "rows that were shown are gone with part {:?}", part.name);
        true
    }

    /// Removes what nobody will complete.
    pub(super) fn tidy(&mut self, subtask: u32) {
        self.in_progress.retain(|(of, _), part| *of != subtask || part.owner.is_some());
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
