//! Checkpoints as what they leave on the storage: a file of state a task, and a manifest that is written last.
//!
//! A checkpoint exists once its manifest does. A job's manifests are a list: each has the number after that of the
//! one that it goes on from, and is created, never overwritten. So of two coordinators that believe to own a job
//! one takes the next number, and the other learns that it is not alone. Epochs would not do: an attempt leaves out
//! those that it gives up, so two attempts could seal one after the other without ever meeting.

use crate::codec;
use crate::error::{PlanError, Result};
use crate::ids::{Epoch, JobId, RunId, TaskId};

/// A task's state at an epoch, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct StateFile {
    /// Where it is below the storage's root.
    pub path: String,
    /// How large it is.
    pub bytes: u64,
}

impl StateFile {
    /// Where a task writes its state. Each attempt has files of its own, so none writes into another's.
    #[must_use]
    pub fn path_of(run: RunId, task: TaskId, epoch: Epoch) -> String {
        let RunId { job, attempt } = run;
        format!("{job}/state/{:020}/{attempt}-{}-{}.state", epoch.0, task.stage.0, task.subtask)
    }
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
    pub tasks: Vec<(TaskId, StateFile)>,
}

/// What a manifest begins with; the last byte is the version of the format.
const MAGIC: &[u8; 8] = b"TDMLMAN\x01";

impl Manifest {
    /// The first manifest of a job, before it has read anything.
    #[must_use]
    pub fn beginning(run: RunId) -> Self {
        Self { number: 0, run, epoch: Epoch::default(), tasks: Vec::new() }
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

    /// How much state there is, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.tasks.iter().map(|(_, state)| state.bytes).sum()
    }

    /// The manifest's bytes, which end with a checksum.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(codec::encode(self)?);
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        Ok(bytes)
    }

    /// Reads what [`Self::to_bytes`] wrote; `path` is for the error.
    pub fn from_bytes(bytes: &[u8], path: &str) -> Result<Self> {
        let broken = |reason: &str| PlanError::Checkpoint { path: path.to_owned(), reason: reason.to_owned() };
        let (content, checksum) = bytes.split_last_chunk::<4>().ok_or_else(|| broken("it is cut short"))?;
        if crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
            return Err(broken("its checksum is wrong"));
        }
        let body = content.strip_prefix(MAGIC).ok_or_else(|| broken("it is no manifest that this build can read"))?;
        codec::decode(body)
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
        let manifest =
            Manifest { number: 9, run, epoch: Epoch(7), tasks: vec![(task, StateFile { path, bytes: 100 })] };
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
}
