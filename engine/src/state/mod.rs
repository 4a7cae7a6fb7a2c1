//! What operators hold, as rows and values that outlive their process.
//!
//! At a barrier an operator writes its state into a [`Snapshot`]: small values by name, and rows, whose
//! columns have the types that the query knows, not those of some data structure. So the structure may
//! change and the state be read all the same. Rows say where they belong: when a job comes back with
//! another parallelism, each instance reads what the instances before it wrote and takes its part.
//!
//! Names are stable: they are in checkpoints that later versions read.

mod encoding;
mod restore;

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use tidemill_plans::codec;
use tidemill_plans::ids::Epoch;
use tidemill_plans::key_group::{key_groups, owner};

pub(crate) use self::restore::TaskState;
pub use self::restore::{Moved, Restore};
use crate::error::{EngineError, Result};

/// Which instance of an operator rows belong to.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum Belongs {
    /// To the one that has the key group of these columns, which are those by which the operator's input
    /// is partitioned, in that order. Without columns, to the first instance.
    ToKeys(Vec<usize>),
    /// To any.
    Anywhere,
    /// To every one: what is broadcast, so that instances have the same rows, but may have let go of some
    /// before others did. Each reads those of all.
    ToAll,
}

impl Belongs {
    /// To the owner of the first so many columns.
    #[must_use]
    pub fn to_first(columns: usize) -> Self {
        Self::ToKeys((0..columns).collect())
    }
}

/// What one instance of an operator held at a barrier.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    values: BTreeMap<String, Vec<u8>>,
    rows: BTreeMap<String, StateRows>,
}

/// Rows of one kind: batches of one schema, in the order in which they are to be restored.
#[derive(Debug, Clone, PartialEq)]
struct StateRows {
    belongs: Belongs,
    batches: Vec<RecordBatch>,
}

impl Snapshot {
    /// Where an operator writes its state at the barrier of `epoch`.
    pub fn writer(&mut self, epoch: Epoch) -> StateWriter<'_> {
        StateWriter { snapshot: self, epoch, prefix: String::new() }
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.rows.is_empty()
    }
}

/// Writes the state of an operator, or of a part of one.
pub struct StateWriter<'a> {
    snapshot: &'a mut Snapshot,
    epoch: Epoch,
    prefix: String,
}

impl StateWriter<'_> {
    /// The epoch whose barrier has come.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Where a part of the operator writes its own, under this name.
    pub fn part(&mut self, name: &str) -> StateWriter<'_> {
        StateWriter { prefix: path(&self.prefix, name), epoch: self.epoch, snapshot: self.snapshot }
    }

    /// Writes a value.
    pub fn value<T: bincode::Encode>(&mut self, name: &str, value: &T) -> Result<()> {
        let before = self.snapshot.values.insert(path(&self.prefix, name), codec::encode(value)?);
        debug_assert!(before.is_none(), "{name} is written twice");
        Ok(())
    }

    /// Writes rows; batches without any are left out.
    pub fn rows(&mut self, name: &str, belongs: Belongs, batches: impl IntoIterator<Item = RecordBatch>) {
        let batches: Vec<RecordBatch> = batches.into_iter().filter(|batch| batch.num_rows() > 0).collect();
        if !batches.is_empty() {
            let before = self.snapshot.rows.insert(path(&self.prefix, name), StateRows { belongs, batches });
            debug_assert!(before.is_none(), "{name} is written twice");
        }
    }
}

/// Reads the state of an operator, or of a part of one, back into one of its instances.
#[derive(Clone)]
pub struct StateReader<'a> {
    /// What the instances held, by their number.
    snapshots: &'a [Snapshot],
    subtask: u32,
    parallelism: u32,
    prefix: String,
    /// Whether another job has written it, and shown all that it covers.
    is_of_savepoint: bool,
}

impl<'a> StateReader<'a> {
    /// For instance `subtask` of `parallelism`, from what all the instances before held, in order.
    #[must_use]
    pub fn new(snapshots: &'a [Snapshot], subtask: u32, parallelism: u32) -> Self {
        Self { snapshots, subtask, parallelism, prefix: String::new(), is_of_savepoint: false }
    }

    /// What a part of the operator wrote under this name.
    #[must_use]
    pub fn part(&self, name: &str) -> Self {
        Self { prefix: path(&self.prefix, name), ..self.clone() }
    }

    /// A value that all instances have in common, or that only one has.
    pub fn value<T: bincode::Decode<()>>(&self, name: &str) -> Result<Option<T>> {
        Ok(self.values(name)?.into_iter().next())
    }

    /// A value from each instance whose part this one takes over: its own, unless the parallelism has
    /// changed.
    pub fn values<T: bincode::Decode<()>>(&self, name: &str) -> Result<Vec<T>> {
        let name = path(&self.prefix, name);
        let own = if self.is_rescaled() { self.snapshots } else { self.own() };
        let values = own.iter().filter_map(|snapshot| snapshot.values.get(&name));
        values.map(|bytes| Ok(codec::decode(bytes)?)).collect()
    }

    /// The rows that belong to this instance.
    pub fn rows(&self, name: &str) -> Result<Vec<RecordBatch>> {
        let name = path(&self.prefix, name);
        if !self.is_rescaled() {
            return Ok(self.own().iter().flat_map(|own| own.rows.get(&name)).flat_map(|r| r.batches.clone()).collect());
        }
        let mut rows = Vec::new();
        for (instance, snapshot) in (0u32..).zip(self.snapshots) {
            let Some(found) = snapshot.rows.get(&name) else { continue };
            for batch in &found.batches {
                rows.extend(self.own_part(batch, &found.belongs, instance)?);
            }
        }
        Ok(rows)
    }

    /// Whether it is a savepoint's: what it covers has been shown by the job that it was taken of.
    #[must_use]
    pub fn is_of_savepoint(&self) -> bool {
        self.is_of_savepoint
    }

    /// How many instances have written what is read.
    #[must_use]
    pub fn instances(&self) -> u32 {
        u32::try_from(self.snapshots.len()).unwrap_or(u32::MAX)
    }

    /// Whether this instance looks after what instance `from` left on the outside.
    #[must_use]
    pub fn has_part_of(&self, from: u32) -> bool {
        from % self.parallelism == self.subtask
    }

    fn is_rescaled(&self) -> bool {
        self.snapshots.len() != self.parallelism as usize
    }

    fn own(&self) -> &'a [Snapshot] {
        let own = self.subtask as usize;
        self.snapshots.get(own..=own).unwrap_or_default()
    }

    /// The rows of instance `from` that are this one's now, if any.
    fn own_part(&self, batch: &RecordBatch, belongs: &Belongs, from: u32) -> Result<Option<RecordBatch>> {
        let columns = match belongs {
            Belongs::ToKeys(columns) if !columns.is_empty() => columns,
            Belongs::ToKeys(_) => return Ok((self.subtask == 0).then(|| batch.clone())),
            Belongs::Anywhere => return Ok(self.has_part_of(from).then(|| batch.clone())),
            Belongs::ToAll => return Ok(Some(batch.clone())),
        };
        if columns.iter().any(|column| *column >= batch.num_columns()) {
            return Err(EngineError::State(format!("{}: its keys are not among its columns", self.prefix)));
        }
        let keys: Vec<ArrayRef> = columns.iter().map(|column| ArrayRef::clone(batch.column(*column))).collect();
        let mut groups = Vec::new();
        key_groups(&keys, &mut groups)?;
        let own: BooleanArray =
            groups.iter().map(|group| Some(owner(*group as u32, self.parallelism) == self.subtask)).collect();
        Ok(Some(filter_record_batch(batch, &own)?).filter(|own| own.num_rows() > 0))
    }
}

fn path(prefix: &str, name: &str) -> String {
    debug_assert!(!name.contains('/'), "a slash parts names");
    if prefix.is_empty() { String::from(name) } else { format!("{prefix}/{name}") }
}

#[cfg(test)]
mod tests;
