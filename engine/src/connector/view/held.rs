//! What one part of a view holds: the rows of old epochs, condensed, and the changes since, by epoch.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use tidemill_plans::change::change_column_index;
use tidemill_plans::ids::Epoch;

use crate::connector::changes;
use crate::error::Result;
use crate::state::{Belongs, StateReader, StateWriter};
use crate::task::batch_bytes;

/// Epochs that can be read besides the newest of those before them. A reader learns the newest epoch from
/// the coordinator and is deployed then, while others pass.
const EPOCHS_KEPT: usize = 8;

/// Rows of append-only views are put together until a batch has so many.
const BATCH_ROWS: usize = 1 << 16;

/// Batches, most of them of one epoch, that are held before they are put together.
const BATCHES_MAX: usize = 64;

/// Changes that are held before it is worth a look at which rows are left of them.
const CONDENSE_ROWS_MIN: usize = 4096;

/// What a part holds.
#[derive(Debug)]
pub(super) struct Held {
    schema: SchemaRef,
    keys: Vec<usize>,
    /// Which instance has a row and its changes.
    belongs: Belongs,
    /// The rows and changes up to the epoch `folded`, in order.
    old: Vec<RecordBatch>,
    folded: Epoch,
    /// How many rows of `old` were left when it was last condensed.
    rows_condensed: usize,
    /// The changes of each epoch behind `folded`, in order.
    epochs: VecDeque<(Epoch, Vec<RecordBatch>)>,
    bytes: usize,
}

impl Held {
    /// Nothing; `keys` identify a row of an updating view.
    pub(super) fn new(schema: SchemaRef, keys: Vec<usize>) -> Self {
        let (old, epochs) = (Vec::new(), VecDeque::new());
        let belongs = Belongs::Anywhere;
        Self { schema, keys, belongs, old, folded: Epoch(0), rows_condensed: 0, epochs, bytes: 0 }
    }

    /// Has other instances find a row where its changes will come.
    pub(super) fn hold_where(&mut self, belongs: Belongs) {
        self.belongs = belongs;
    }

    /// The rows and changes of one epoch, behind those before it.
    pub(super) fn seal(&mut self, epoch: Epoch, changes: Vec<RecordBatch>) {
        self.bytes += changes.iter().map(batch_bytes).sum::<usize>();
        self.epochs.push_back((epoch, changes));
        while self.epochs.len() > EPOCHS_KEPT
            && let Some((folded, changes)) = self.epochs.pop_front()
        {
            self.folded = folded;
            self.old.extend(changes);
        }
    }

    /// What of the old is worth condensing, up to its end, and where it begins; then [`Self::replace_old`] takes
    /// what it comes to. Between the two, which only the sink calls, readers see the same rows as before.
    pub(super) fn old_to_condense(&self) -> Option<(usize, Vec<RecordBatch>)> {
        let rows: usize = self.old.iter().map(RecordBatch::num_rows).sum();
        let is_updating = change_column_index(&self.schema).is_some();
        if is_updating && rows >= CONDENSE_ROWS_MIN.max(2 * self.rows_condensed) {
            return Some((0, self.old.clone()));
        }
        // Else only what has come since: it is much less than what it changes.
        let start = match is_updating {
            true => 1,
            false => self.old.iter().rposition(|batch| batch.num_rows() >= BATCH_ROWS / 2).map_or(0, |last| last + 1),
        };
        let recent = self.old.get(start..)?;
        (recent.len() > BATCHES_MAX).then(|| (start, recent.to_vec()))
    }

    pub(super) fn replace_old(&mut self, start: usize, condensed: Vec<RecordBatch>) {
        self.old.truncate(start);
        self.old.extend(condensed);
        if start == 0 {
            self.rows_condensed = self.old.iter().map(RecordBatch::num_rows).sum();
        }
        self.count_bytes();
    }

    /// All changes up to an epoch, in order; `None` if changes behind it have been mixed with those before.
    pub(super) fn until(&self, epoch: Epoch) -> Option<Vec<RecordBatch>> {
        if epoch < self.folded {
            return None;
        }
        let later = self.epochs.iter().take_while(|(sealed, _)| *sealed <= epoch);
        Some(self.old.iter().chain(later.flat_map(|(_, changes)| changes)).cloned().collect())
    }

    /// The changes of each epoch behind this one, in order; `None` if some of them have been mixed with those before.
    pub(super) fn behind(&self, epoch: Epoch) -> Option<Vec<(Epoch, Vec<RecordBatch>)>> {
        let later = self.epochs.iter().filter(|(sealed, _)| *sealed > epoch);
        (epoch >= self.folded).then(|| later.cloned().collect())
    }

    /// Writes all rows and changes so far, `open` being those behind the last that was sealed. As they are:
    /// condensing them would take longer than writing them. What came with the end is written apart.
    pub(super) fn snapshot(&self, open: &[RecordBatch], state: &mut StateWriter<'_>) -> Result<()> {
        let (last, before): (Vec<_>, Vec<_>) = self.epochs.iter().partition(|(epoch, _)| *epoch == Epoch::END);
        let rows = self.old.iter().chain(before.iter().flat_map(|(_, changes)| changes));
        state.rows("rows", self.belongs.clone(), rows.chain(open).cloned());
        state.rows("last", self.belongs.clone(), last.iter().flat_map(|(_, changes)| changes).cloned());
        let newest = before.last().map_or(self.folded, |(epoch, _)| *epoch);
        state.value("epoch", &if self.has_ended() { newest } else { state.epoch() })?;
        state.value("ended", &self.has_ended())
    }

    /// Takes up what parts held at an epoch; it cannot be read as it was before.
    pub(super) fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        (self.old, self.rows_condensed) = (state.rows("rows")?, 0);
        self.folded = state.values("epoch")?.into_iter().max().unwrap_or_default();
        self.epochs.clear();
        let ended: Vec<bool> = state.values("ended")?;
        if ended.contains(&true) {
            self.epochs.push_back((Epoch::END, state.rows("last")?));
        }
        self.count_bytes();
        Ok(())
    }

    fn count_bytes(&mut self) {
        let epochs = self.epochs.iter().flat_map(|(_, changes)| changes);
        self.bytes = self.old.iter().chain(epochs).map(batch_bytes).sum();
    }

    /// Whether the view's input has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.epochs.back().is_some_and(|(epoch, _)| *epoch == Epoch::END)
    }

    /// Bytes of Arrow buffers held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(super) fn keys(&self) -> &[usize] {
        &self.keys
    }
}

/// As few batches as do for these rows and changes, which follow each other.
pub(super) fn condense(schema: &SchemaRef, keys: &[usize], batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
    if change_column_index(schema).is_some() {
        let condensed = changes::condense(&concat_batches(schema, batches)?, keys)?;
        return Ok(vec![condensed]);
    }
    let mut merged: Vec<RecordBatch> = Vec::new();
    let mut run: Vec<RecordBatch> = Vec::new();
    let mut rows = 0;
    for batch in batches {
        if rows + batch.num_rows() > BATCH_ROWS && !run.is_empty() {
            merged.push(concat_batches(schema, &std::mem::take(&mut run))?);
            rows = 0;
        }
        rows += batch.num_rows();
        run.push(batch.clone());
    }
    if !run.is_empty() {
        merged.push(concat_batches(schema, &run)?);
    }
    Ok(merged)
}
