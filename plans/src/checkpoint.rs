//! Checkpoints as what they leave on the storage: files of state, and a manifest that is written last.
//!
//! A task's state is a chain of files: one that has all of it, and behind it what has changed since. So a file may be
//! part of many checkpoints, and is needed for as long as one of them is kept.
//!
//! A checkpoint exists once its manifest does. A job's manifests are a list: each has the number after that of the
//! one that it goes on from, and is created, never overwritten. So of two coordinators that believe to own a job
//! one takes the next number, and the other learns that it is not alone. Epochs would not do: an attempt leaves out
//! those that it gives up, so two attempts could seal one after the other without ever meeting.

use crate::checksum::{checked, with_checksum};
use crate::codec;
use crate::error::{PlanError, Result};
use crate::ids::{Epoch, JobId, OperatorId, RunId, StageId, TaskId};

/// A file with state of one task, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct StateFile {
    /// Where it is below the storage's root.
    pub path: String,
    /// How large it is.
    pub bytes: u64,
}

impl StateFile {
    /// Where a job that begins from a savepoint has the files of that.
    #[must_use]
    pub fn path_of_saved(run: RunId, task: TaskId, epoch: Epoch, number: usize) -> String {
        let TaskId { stage, subtask } = task;
        let folder = Self::folder_of(run.job);
        format!("{folder}/{:020}/savepoint-{}-{subtask}-{number}.state", epoch.0, stage.0)
    }

    /// Where a task writes its state. Each attempt has files of its own, so none writes into another's.
    #[must_use]
    pub fn path_of(run: RunId, task: TaskId, epoch: Epoch) -> String {
        let RunId { job, attempt } = run;
        format!("{}/{:020}/{attempt}-{}-{}.state", Self::folder_of(job), epoch.0, task.stage.0, task.subtask)
    }

    /// Where what a task has written at several epochs up to this one is put together.
    #[must_use]
    pub fn path_of_merged(run: RunId, task: TaskId, epoch: Epoch) -> String {
        Self::path_of(run, task, epoch).replace(".state", "-merged.state")
    }

    /// The folder of the state of a job's tasks.
    #[must_use]
    pub fn folder_of(job: JobId) -> String {
        format!("{job}/state")
    }

    /// The epoch whose state is at this path, if it is that of a file of state.
    #[must_use]
    pub fn epoch_of(path: &str) -> Option<Epoch> {
        path.split('/').nth_back(1)?.parse().ok().map(Epoch)
    }
}

/// A task's state at an epoch: a file with all of it, and those behind it with what has changed since, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct TaskState {
    /// The files.
    pub files: Vec<StateFile>,
}

impl TaskState {
    /// How much is read to restore it, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

impl From<StateFile> for TaskState {
    fn from(file: StateFile) -> Self {
        Self { files: vec![file] }
    }
}

/// Where the state of an operator is that another job has written, which had another graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Origin {
    /// The stage in whose files it is.
    pub stage: StageId,
    /// The number that the operator had.
    pub operator: OperatorId,
    /// Whether it took the input of its stage.
    pub is_head: bool,
}

/// A checkpoint: all state of a job at an epoch.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Manifest {
    /// Its place among the job's manifests.
    pub number: u64,
    /// The attempt that took it, or that goes on from it.
    pub run: RunId,
    /// The epoch.
    pub epoch: Epoch,
    /// Each task's state. A task that had ended before has the state that it ended with. None at all is the
    /// beginning, where nothing has been read.
    pub tasks: Vec<(TaskId, TaskState)>,
    /// In a job that has begun from a savepoint and has no checkpoint of its own yet: whose state each operator
    /// takes, by the operators' numbers. The tasks are those of the job that the savepoint is of.
    pub origins: Option<Vec<Option<Origin>>>,
}

/// What a manifest begins with; the last byte is the version of the format.
const MAGIC: &[u8; 8] = b"TDMLMAN\x02";

impl Manifest {
    /// The first manifest of a job, before it has read anything.
    #[must_use]
    pub fn beginning(run: RunId) -> Self {
        Self { number: 0, run, epoch: Epoch::default(), tasks: Vec::new(), origins: None }
    }

    /// Where the manifest of a number is below the storage's root.
    #[must_use]
    pub fn path_of(job: JobId, number: u64) -> String {
        format!("{job}/manifest/{number:020}.manifest")
    }

    /// Where this manifest is.
    #[must_use]
    pub fn path(&self) -> String {
        Self::path_of(self.run.job, self.number)
    }

    /// The folder of a job's manifests.
    #[must_use]
    pub fn folder_of(job: JobId) -> String {
        format!("{job}/manifest")
    }

    /// How much is read to restore all tasks, in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.tasks.iter().map(|(_, state)| state.bytes()).sum()
    }

    /// How much of that was written for this checkpoint.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let files = self.tasks.iter().flat_map(|(_, state)| &state.files);
        files.filter(|file| StateFile::epoch_of(&file.path) == Some(self.epoch)).map(|file| file.bytes).sum()
    }

    /// Where all files of its state are.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.tasks.iter().flat_map(|(_, state)| &state.files).map(|file| file.path.as_str())
    }

    /// The manifest's bytes, which end with a checksum.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(codec::encode(self)?);
        Ok(with_checksum(bytes))
    }

    /// Reads what [`Self::to_bytes`] wrote; `path` is for the error.
    pub fn from_bytes(bytes: &[u8], path: &str) -> Result<Self> {
        let broken = |reason: &str| PlanError::Checkpoint { path: path.to_owned(), reason: reason.to_owned() };
        let content = checked(bytes).ok_or_else(|| broken("its checksum is wrong"))?;
        let (magic, body) = content.split_first_chunk::<8>().ok_or_else(|| broken("it is cut short"))?;
        match magic.strip_prefix(&MAGIC[..MAGIC.len() - 1]) {
            Some(version) if version == &MAGIC[MAGIC.len() - 1..] => codec::decode(body),
            Some(version) => {
                let reads = MAGIC[MAGIC.len() - 1];
                Err(broken(&format!("its format has version {}, and this build reads version {reads}", version[0])))
            }
            None => Err(broken("it is no manifest")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StageId;

    #[test]
    fn a_manifest_is_read_as_it_was_written_or_not_at_all() {
        let run = RunId { job: JobId(3), attempt: 2 };
        let task = TaskId { stage: StageId(1), subtask: 4 };
        let path = StateFile::path_of(run, task, Epoch(7));
        assert_eq!(path, "job-3/state/00000000000000000007/2-1-4.state");
        let base = StateFile { path: StateFile::path_of(run, task, Epoch(5)), bytes: 1000 };
        let state = TaskState { files: vec![base, StateFile { path, bytes: 100 }] };
        let manifest = Manifest { number: 9, run, epoch: Epoch(7), tasks: vec![(task, state)], origins: None };
        assert_eq!((manifest.bytes(), manifest.total_bytes()), (100, 1100));
        let bytes = manifest.to_bytes().unwrap();
        assert_eq!(Manifest::from_bytes(&bytes, "m").unwrap(), manifest);
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            let error = Manifest::from_bytes(&damaged, "m").unwrap_err().to_string();
            assert!(error.starts_with("checkpoint m cannot be read: "), "{error}");
            assert!(Manifest::from_bytes(&bytes[..place], "m").is_err());
        }
    }

    #[test]
    fn a_manifest_of_another_version_is_refused_by_its_version() {
        let mut bytes = Manifest::beginning(RunId::first(JobId(3))).to_bytes().unwrap();
        bytes.truncate(bytes.len() - 4);
        bytes[7] = 1;
        let error = Manifest::from_bytes(&with_checksum(bytes), "m").unwrap_err().to_string();
        assert_eq!(error, "checkpoint m cannot be read: its format has version 1, and this build reads version 2");
    }
}
