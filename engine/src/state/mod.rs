//! What operators hold, as rows and values that outlive their process.
//!
//! At a barrier an operator writes its state into a [`Snapshot`]: small values by name, and rows, whose
//! columns have the types that the query knows, not those of some data structure. So the structure may
//! change and the state be read all the same. Rows say where they belong: when a job comes back with
//! another parallelism, each instance reads what the instances before it wrote and takes its part.
//!
//! A snapshot may lack what has not changed since the one before it: an operator that knows writes, name by name,
//! the rows that have come or changed, and the keys of those that are gone. Such layers are put together when they
//! are read, so whoever restores state sees none of them.
//!
//! Names are stable: they are in checkpoints that later versions read.

mod encoding;
mod layers;
mod read_at;
mod reader;
mod restore;
mod seen_keys;
pub(crate) mod spill;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tidemill_plans::codec;
use tidemill_plans::ids::Epoch;

pub use self::read_at::SnapshotBytes;
pub use self::reader::StateReader;
pub(crate) use self::restore::TaskState;
pub use self::restore::{Moved, Restore};
use self::spill::set_aside;
pub use self::spill::{ScratchFolder, StateMemory};
use crate::error::Result;

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

/// By which columns changes call rows.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum RowKeys {
    /// Rows are one if these are equal as those of groups are: 0.0 is -0.0.
    Grouped(Vec<usize>),
    /// Rows are one if these are the same to the last bit.
    Exact(Vec<usize>),
    /// Each row is one of its own: rows only come, or whoever reads them knows which are gone.
    Each,
    /// Each row is one of its own, and goes once time has passed it: of those that were written before, these are left
    /// whose event time, in this column, is not before `from`.
    Passing {
        /// The column.
        time: usize,
        /// In microseconds.
        from: i64,
    },
}

impl RowKeys {
    /// The columns, if there are any.
    fn columns(&self) -> Option<&[usize]> {
        match self {
            Self::Grouped(columns) | Self::Exact(columns) => Some(columns),
            Self::Each | Self::Passing { .. } => None,
        }
    }
}

/// What one instance of an operator held at a barrier, or what of it had changed since the barrier before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    epoch: Epoch,
    /// The epoch of the snapshot that its changes go on from, if it has any.
    after: Option<Epoch>,
    values: BTreeMap<String, Vec<u8>>,
    rows: BTreeMap<String, StateRows>,
}

/// Rows of one kind, and what they are to those of the snapshot before.
#[derive(Debug, Clone, PartialEq)]
struct StateRows {
    belongs: Belongs,
    rows: Rows,
    /// What they do to the rows of the snapshot before; nothing if they are all there are.
    changes: Option<Changes>,
}

/// Rows replace those before that have the same keys.
#[derive(Debug, Clone, PartialEq)]
struct Changes {
    keys: RowKeys,
    /// The keys of those that are gone; they have no other columns.
    gone: Rows,
}

/// Batches of one schema, in the order in which they are to be restored.
#[derive(Debug, Clone, Default, PartialEq)]
struct Rows {
    batches: Vec<RecordBatch>,
    /// Rows behind them, which are not in memory.
    later: Vec<Later>,
}

impl Rows {
    /// Rows that are in memory; batches without any are left out.
    fn held(batches: impl IntoIterator<Item = RecordBatch>) -> Self {
        Self { batches: batches.into_iter().filter(|batch| batch.num_rows() > 0).collect(), later: Vec::new() }
    }

    fn later(rows: Arc<dyn LaterRows>) -> Self {
        Self { batches: Vec::new(), later: vec![Later(rows)] }
    }

    fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.later.is_empty()
    }

    /// All rows, in their order.
    fn all(&self) -> Result<impl Iterator<Item = Result<RecordBatch>> + Send + use<>> {
        let later = self.later.iter().map(|later| later.0.batches()).collect::<Result<Vec<_>>>()?;
        Ok(self.batches.clone().into_iter().map(Ok).chain(later.into_iter().flatten()))
    }
}

/// Rows that are read when they are needed: when their snapshot is written, or when an operator takes them up. There are
/// too many of them to hold them until then. What they are must not depend on what their operator does meanwhile, on
/// another thread.
pub trait LaterRows: Send + Sync {
    /// All of them, some at a time.
    fn batches(&self) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>>;
}

#[derive(Clone)]
struct Later(Arc<dyn LaterRows>);

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Later")
    }
}

impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Snapshot {
    /// Where an operator writes all of its state at the barrier of `epoch`.
    pub fn writer(&mut self, epoch: Epoch) -> StateWriter<'_> {
        self.epoch = epoch;
        StateWriter { snapshot: self, epoch, takes_changes: false, prefix: String::new() }
    }

    /// Where something is written that comes after the rest.
    pub(crate) fn more(&mut self) -> StateWriter<'_> {
        StateWriter { epoch: self.epoch, snapshot: self, takes_changes: false, prefix: String::new() }
    }

    /// Where an operator writes what has changed since it wrote the snapshot of the epoch `after`.
    pub fn writer_of_changes(&mut self, epoch: Epoch, after: Epoch) -> StateWriter<'_> {
        (self.epoch, self.after) = (epoch, Some(after));
        StateWriter { snapshot: self, epoch, takes_changes: true, prefix: String::new() }
    }

    /// How many rows it has, be they all or changes.
    #[cfg(test)]
    pub(crate) fn row_count(&self) -> Result<usize> {
        let mut count = 0;
        for rows in self.rows.values() {
            rows.rows.all()?.try_for_each(|batch| batch.map(|batch| count += batch.num_rows()))?;
        }
        Ok(count)
    }

    /// How many of its rows are in memory.
    #[cfg(test)]
    pub(crate) fn rows_in_memory(&self) -> usize {
        self.rows.values().flat_map(|rows| &rows.rows.batches).map(RecordBatch::num_rows).sum()
    }

    /// Whether it can be read with the snapshots before it only.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.rows.values().any(|rows| rows.changes.is_some())
    }
}

/// Writes the state of an operator, or of a part of one.
pub struct StateWriter<'a> {
    snapshot: &'a mut Snapshot,
    epoch: Epoch,
    takes_changes: bool,
    prefix: String,
}

impl StateWriter<'_> {
    /// The epoch whose barrier has come.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether [`Self::changes`] can be written: those since the snapshot that was written last. All rows can be
    /// written in any case.
    #[must_use]
    pub fn takes_changes(&self) -> bool {
        self.takes_changes
    }

    /// Where a part of the operator writes its own, under this name.
    pub fn part(&mut self, name: &str) -> StateWriter<'_> {
        let Self { epoch, takes_changes, .. } = *self;
        StateWriter { prefix: path(&self.prefix, name), epoch, takes_changes, snapshot: self.snapshot }
    }

    /// Writes a value.
    pub fn value<T: bincode::Encode>(&mut self, name: &str, value: &T) -> Result<()> {
        let before = self.snapshot.values.insert(path(&self.prefix, name), codec::encode(value)?);
        debug_assert!(before.is_none(), "{name} is written twice");
        Ok(())
    }

    /// Writes all rows there are; batches without any are left out.
    pub fn rows(&mut self, name: &str, belongs: Belongs, batches: impl IntoIterator<Item = RecordBatch>) {
        let rows = Rows::held(batches);
        if !rows.is_empty() {
            self.insert(name, StateRows { belongs, rows, changes: None });
        }
    }

    /// Writes the rows that have come or changed, which replace all before that have the same keys, and the keys of
    /// rows that are gone. A key may be among both, and may not have been there before.
    pub fn changes(
        &mut self,
        name: &str,
        belongs: Belongs,
        keys: RowKeys,
        rows: impl IntoIterator<Item = RecordBatch>,
        gone: impl IntoIterator<Item = RecordBatch>,
    ) {
        debug_assert!(
            self.takes_changes && keys.columns().is_none_or(|columns| !columns.is_empty()),
            "{name} goes on from nothing"
        );
        // Without any rows too: what is not named at all has no rows any more.
        let changes = Some(Changes { keys, gone: Rows::held(gone) });
        self.insert(name, StateRows { belongs, rows: Rows::held(rows), changes });
    }

    /// Has more rows written behind those of this name, when the snapshot is.
    pub fn later(&mut self, name: &str, belongs: Belongs, rows: Arc<dyn LaterRows>) {
        self.of(name, belongs).later.push(Later(rows));
    }

    /// Has more rows written behind those of this name. They are made now: if there is a limit on the memory of their
    /// operator they wait on disk, and some are in memory at a time.
    pub(crate) fn behind(
        &mut self,
        name: &str,
        belongs: Belongs,
        memory: &StateMemory,
        batches: impl Iterator<Item = Result<RecordBatch>>,
    ) -> Result<()> {
        if memory.is_limited() {
            if let Some(aside) = set_aside(&memory.scratch, batches)? {
                self.later(name, belongs, aside);
            }
            return Ok(());
        }
        let rows = Rows::held(batches.collect::<Result<Vec<_>>>()?);
        if !rows.is_empty() {
            self.of(name, belongs).batches.extend(rows.batches);
        }
        Ok(())
    }

    /// The rows of this name, which are all there are if nothing else has been said.
    fn of(&mut self, name: &str, belongs: Belongs) -> &mut Rows {
        let whole = StateRows { belongs, rows: Rows::default(), changes: None };
        &mut self.snapshot.rows.entry(path(&self.prefix, name)).or_insert(whole).rows
    }

    fn insert(&mut self, name: &str, rows: StateRows) {
        let before = self.snapshot.rows.insert(path(&self.prefix, name), rows);
        debug_assert!(before.is_none(), "{name} is written twice");
    }
}

fn path(prefix: &str, name: &str) -> String {
    debug_assert!(!name.contains('/'), "a slash parts names");
    if prefix.is_empty() { String::from(name) } else { format!("{prefix}/{name}") }
}

#[cfg(test)]
mod tests;
