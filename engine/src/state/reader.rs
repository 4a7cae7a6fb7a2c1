//! State as those see it who go on from it: the rows that are theirs.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use tidemill_plans::codec;
use tidemill_plans::ids::Epoch;
use tidemill_plans::key_group::{key_groups, owner};

use super::{Belongs, Snapshot, path};
use crate::error::{EngineError, Result};

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
        debug_assert!(!snapshots.iter().any(Snapshot::has_changes), "layers are put together before they are read");
        Self { snapshots, subtask, parallelism, prefix: String::new(), is_of_savepoint: false }
    }

    /// The same of a savepoint: what it covers has been shown by the job that it was taken of.
    #[must_use]
    pub fn of_savepoint(self) -> Self {
        Self { is_of_savepoint: true, ..self }
    }

    /// The epoch of the instance's own snapshot, which its next changes may go on from; none if the parallelism has
    /// changed.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.own().first().filter(|_| !self.is_rescaled()).map(|own| own.epoch)
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
        self.batches(name)?.collect()
    }

    /// As [`Self::rows`], but they are read one batch after the other: for those who may not have room for all.
    pub fn batches(&self, name: &str) -> Result<impl Iterator<Item = Result<RecordBatch>> + use<'a>> {
        let (reader, name) = (self.clone(), path(&self.prefix, name));
        let instances = if self.is_rescaled() { self.snapshots } else { self.own() };
        let found =
            (0u32..).zip(instances).filter_map(|(instance, snapshot)| Some((instance, snapshot.rows.get(&name)?)));
        let found = found.map(|(instance, rows)| Ok((instance, &rows.belongs, rows.rows.all()?)));
        let found: Vec<_> = found.collect::<Result<_>>()?;
        let is_rescaled = self.is_rescaled();
        Ok(found.into_iter().flat_map(move |(instance, belongs, rows)| {
            let reader = reader.clone();
            rows.filter_map(move |rows| match rows {
                Ok(rows) if is_rescaled => reader.own_part(&rows, belongs, instance).transpose(),
                rows => Some(rows),
            })
        }))
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

    /// Whether other instances have written what is read.
    pub(crate) fn is_rescaled(&self) -> bool {
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
