//! Savepoints: checkpoints that a user owns.
//!
//! A savepoint is a folder or URL with the state files of a checkpoint and `savepoint.json`, which is written
//! last. It has what a later release needs to find the state of each operator and to judge what an edited query can
//! keep of it; so it names operators and types, and has nothing in the form in which this release plans or sends.

mod keeps;
mod migration;

use serde::{Deserialize, Serialize};

pub use self::migration::{Fate, Migration, source_instances};
use crate::checkpoint::{Manifest, Origin};
use crate::error::{PlanError, Result};
use crate::graph::DataflowGraph;
use crate::ids::{Epoch, OperatorId, StageId, TaskId};
use crate::stage::Stages;

/// The name of the file that makes a savepoint of a folder.
pub const SAVEPOINT_FILE: &str = "savepoint.json";

/// The newest format; earlier ones are read for ever.
const FORMAT: u32 = 1;

/// A savepoint, without the state itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Savepoint {
    /// The number of the job that it was taken of.
    pub job: u64,
    /// The epoch of the checkpoint.
    pub epoch: u64,
    /// The job's operators.
    pub operators: Vec<SavedOperator>,
    /// The state of its tasks.
    pub tasks: Vec<SavedTask>,
}

/// An operator as a savepoint knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedOperator {
    /// Its number, under which its state is in the files of its stage.
    pub id: u32,
    /// Its stable name.
    pub name: String,
    /// What it is, such as `Aggregate`.
    pub kind: String,
    /// The stage that it ran in.
    pub stage: u32,
    /// Whether it took the input of its stage.
    pub is_head: bool,
    /// How many instances it had.
    pub parallelism: u32,
    /// What its state means; nothing for an operator without any.
    pub keeps: Option<Keeps>,
}

/// What an operator's state means: it can be kept by one that means the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeps {
    /// In words, such as `by (auction): count(*)`.
    pub what: String,
    /// The columns of each input that is part of it: name and type.
    pub inputs: Vec<Vec<(String, String)>>,
}

/// The state of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedTask {
    /// Its stage.
    pub stage: u32,
    /// Which of the stage's tasks.
    pub subtask: u32,
    /// Its files, the oldest first, relative to the savepoint.
    pub files: Vec<SavedFile>,
}

/// A file of state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFile {
    /// Where it is, relative to the savepoint.
    pub path: String,
    /// How large it is.
    pub bytes: u64,
}

/// The file: the savepoint, and what tells whether it is whole.
#[derive(Serialize, Deserialize)]
struct Envelope {
    format: u32,
    /// CRC-32 of the savepoint's text without white space, its keys in order.
    checksum: u32,
    savepoint: serde_json::Value,
}

impl Savepoint {
    /// The savepoint of a checkpoint of a job that runs `graph`, without files yet.
    pub fn of(manifest: &Manifest, graph: &DataflowGraph) -> Result<Self> {
        let stages = Stages::of(graph)?;
        let mut operators = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            let stage = stages.stage(stages.stage_of(node.id)?)?;
            operators.push(SavedOperator {
                id: node.id.0,
                name: node.name.clone(),
                kind: node.kind.name().to_owned(),
                stage: stage.id.0,
                is_head: stage.operators.first() == Some(&node.id),
                parallelism: node.parallelism,
                keeps: keeps::of(graph, node),
            });
        }
        Ok(Self { job: manifest.run.job.0, epoch: manifest.epoch.0, operators, tasks: Vec::new() })
    }

    /// The checkpoint's epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch)
    }

    /// The text of `savepoint.json`.
    pub fn to_text(&self) -> Result<String> {
        let broken = |error: serde_json::Error| PlanError::InvalidGraph(error.to_string());
        let savepoint = serde_json::to_value(self).map_err(broken)?;
        let envelope = Envelope { format: FORMAT, checksum: checksum(&savepoint), savepoint };
        serde_json::to_string_pretty(&envelope).map_err(broken)
    }

    /// Reads what [`Self::to_text`] wrote; `url` is for the error.
    pub fn from_text(text: &[u8], url: &str) -> Result<Self> {
        let broken = |reason: String| PlanError::Savepoint { url: url.to_owned(), reason };
        let json = |error: serde_json::Error| broken(format!("{SAVEPOINT_FILE} is damaged: {error}"));
        let envelope: Envelope = serde_json::from_slice(text).map_err(json)?;
        if envelope.format != FORMAT {
            let format = envelope.format;
            return Err(broken(format!("it has format {format}, and this release reads up to {FORMAT}")));
        }
        if checksum(&envelope.savepoint) != envelope.checksum {
            return Err(broken(format!("{SAVEPOINT_FILE} is damaged: its checksum is wrong")));
        }
        serde_json::from_value(envelope.savepoint).map_err(json)
    }
}

impl SavedOperator {
    /// Where its state is.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin { stage: StageId(self.stage), operator: OperatorId(self.id), is_head: self.is_head }
    }
}

impl SavedTask {
    /// The task.
    #[must_use]
    pub fn task(&self) -> TaskId {
        TaskId { stage: StageId(self.stage), subtask: self.subtask }
    }
}

/// Keys of an object are sorted in a value, so its text is the same wherever white space was put in the file.
fn checksum(savepoint: &serde_json::Value) -> u32 {
    crc32fast::hash(savepoint.to_string().as_bytes())
}

#[cfg(test)]
mod tests;
