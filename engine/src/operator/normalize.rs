//! Keeps the last row of each key, and emits what a new one replaces.
//!
//! Of the rows of a batch that have the same key the last one counts, so a batch makes one change of a key. Rows
//! are numbered as they come, and a key knows the number of its row: what has been replaced stays where it is
//! until there is as much of it as of the rest.

mod spilling;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{interleave, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::RowConverter;
use hashbrown::HashSet;
use tidemill_plans::change::{ChangeOp, change_array, change_ops};
use tidemill_plans::node::NormalizeNode;

use self::spilling::Spilling;
use super::Operator;
use super::changed_keys::{Changed, ChangedKeys};
use super::groups::key_schema;
use super::key_numbers::KeyNumbers;
use super::numbered_rows::{NO_ROW, NumberedRows};
use super::partitions::all_fields;
use super::state_rows::{STATE_ROWS, take_note, with_note};
use super::time_to_live::Touches;
use crate::error::Result;
use crate::rows::canonical_key;
use crate::state::spill::Part;
use crate::state::{Belongs, RowKeys, StateMemory, StateReader, StateWriter};
use crate::task::{OperatorContext, PortWatermarks};

/// Fewer rows than twice this are not worth a clean-up. Tests want to see some.
const CLEAN_UP_ROWS: usize = if cfg!(test) { 2 } else { 1024 };

/// See [`NormalizeNode`].
pub(super) struct Normalize {
    last: LastRows,
    /// When keys were touched, if they are not kept for ever.
    touches: Option<Touches>,
    spilling: Spilling,
    /// Encodes whole rows, to tell whether they differ.
    whole: RowConverter,
    output: SchemaRef,
}

/// The last row of each key.
struct LastRows {
    keys: Vec<usize>,
    key_schema: SchemaRef,
    numbers: KeyNumbers,
    rows: NumberedRows,
    /// Of each key the number of its row; [`NO_ROW`] once that is gone.
    row_of: Vec<u32>,
    /// How many keys have a row.
    live: usize,
    /// The keys whose rows, or touches, have changed since they were written.
    unwritten: ChangedKeys,
}

/// What becomes of a key.
struct Replaced {
    key: usize,
    /// The number of its row so far.
    before: Option<u32>,
    /// Which row of the batch it has now.
    after: Option<u32>,
}

impl Normalize {
    pub(super) fn new(
        node: &NormalizeNode,
        input: &SchemaRef,
        output: SchemaRef,
        memory: &StateMemory,
    ) -> Result<Self> {
        let rows: SchemaRef = Arc::new(output.project(&(0..output.fields().len() - 1).collect::<Vec<_>>())?);
        let key_schema = key_schema(input, &node.keys);
        let last = NumberedRows::new(&rows)?;
        Ok(Self {
            spilling: Spilling::new(memory, &last.schema(), &node.keys, &key_schema)?,
            whole: RowConverter::new(all_fields(&rows))?,
            last: LastRows {
                keys: node.keys.clone(),
                numbers: KeyNumbers::new(&key_schema)?,
                key_schema,
                rows: last,
                row_of: Vec::new(),
                live: 0,
                unwritten: ChangedKeys::default(),
            },
            touches: node.ttl.map(Touches::new),
            output,
        })
    }

    /// What becomes of the keys of a batch, in the order of their last rows.
    fn replaced(&mut self, batch: &RecordBatch) -> Result<Vec<Replaced>> {
        let ops = change_ops(batch)?;
        let known = self.last.row_of.len();
        let keys = self.last.find(batch, &self.last.keys.clone())?;
        self.take_back(batch, &keys, known)?;
        if let Some(touches) = &mut self.touches {
            touches.note(batch, &keys)?;
            keys.iter().for_each(|key| self.last.unwritten.note(*key));
        }
        let of_row = |row: usize| Replaced {
            key: keys[row],
            before: self.last.row(keys[row]),
            after: ops[row].adds().then_some(row as u32),
        };
        let replaced = last_of_each(&keys).into_iter().map(of_row);
        Ok(replaced.filter(|replaced| replaced.before.is_some() || replaced.after.is_some()).collect())
    }

    /// Leaves out the rows that are as they were.
    fn leave_same_out(&self, replaced: &mut Vec<Replaced>, batch: &RecordBatch) -> Result<()> {
        let both = replaced.iter().filter_map(|replaced| Some((replaced.before?, replaced.after?)));
        let (before, after): (Vec<u32>, Vec<u32>) = both.unzip();
        if before.is_empty() {
            return Ok(());
        }
        let before = self.whole.convert_columns(self.last.rows.gather(&before)?.columns())?;
        let after = self.whole.convert_columns(take_record_batch(batch, &UInt32Array::from(after))?.columns())?;
        let mut differ = before.iter().zip(after.iter()).map(|(before, after)| before != after);
        replaced.retain(|of| of.before.is_none() || of.after.is_none() || differ.next() == Some(true));
        Ok(())
    }

    /// Replaces rows by those of a batch, and says so.
    fn replace(&mut self, replaced: &[Replaced], batch: &RecordBatch) -> Result<RecordBatch> {
        let before: Vec<u32> = replaced.iter().filter_map(|replaced| replaced.before).collect();
        let after: Vec<u32> = replaced.iter().filter_map(|replaced| replaced.after).collect();
        let before = self.last.rows.gather(&before)?;
        let after = take_record_batch(batch, &UInt32Array::from(after))?;
        self.last.note_gone(replaced, &before)?;
        let (picks, ops) = changes(replaced);
        self.last.put(replaced, &after)?;
        let column =
            |column: usize| interleave(&[before.column(column).as_ref(), after.column(column).as_ref()], &picks);
        let mut columns: Vec<ArrayRef> = (0..after.num_columns()).map(column).collect::<Result<_, _>>()?;
        columns.push(change_array(&ops));
        Ok(RecordBatch::try_new(Arc::clone(&self.output), columns)?)
    }

    fn clean_up(&mut self) -> Result<()> {
        self.keep(&self.last.live_keys())
    }

    /// Keeps these keys only, all of which have a row: the i-th has the number i now.
    fn keep(&mut self, live: &[u32]) -> Result<()> {
        if let Some(touches) = &mut self.touches {
            touches.keep(live);
        }
        self.spilling.keep(live);
        self.last.keep(live)
    }
}

/// The rows of a changelog: each is one of those before (0) or of those after (1).
fn changes(replaced: &[Replaced]) -> (Vec<(usize, usize)>, Vec<ChangeOp>) {
    let (mut picks, mut ops) = (Vec::new(), Vec::new());
    let mut next = [0, 0];
    let mut push = |side: usize, op| {
        picks.push((side, next[side]));
        next[side] += 1;
        ops.push(op);
    };
    for of in replaced {
        if of.before.is_some() {
            push(0, if of.after.is_some() { ChangeOp::UpdateBefore } else { ChangeOp::Delete });
        }
        if of.after.is_some() {
            push(1, if of.before.is_some() { ChangeOp::UpdateAfter } else { ChangeOp::Insert });
        }
    }
    (picks, ops)
}

/// Where the last row of each key is, in order.
fn last_of_each(keys: &[usize]) -> Vec<usize> {
    let mut seen = HashSet::with_capacity(keys.len());
    let mut last: Vec<usize> = (0..keys.len()).rev().filter(|row| seen.insert(keys[*row])).collect();
    last.reverse();
    last
}

impl LastRows {
    /// The number of each row's key, which is in these columns. A new key has no row yet.
    fn find(&mut self, batch: &RecordBatch, columns: &[usize]) -> Result<Vec<usize>> {
        let keys: Vec<ArrayRef> = columns.iter().map(|column| canonical_key(batch.column(*column))).collect();
        let mut numbers = Vec::new();
        self.numbers.find(&keys, batch.num_rows(), &mut numbers)?;
        self.row_of.resize(self.numbers.len(), NO_ROW);
        Ok(numbers)
    }

    fn row(&self, key: usize) -> Option<u32> {
        Some(self.row_of[key]).filter(|row| *row != NO_ROW)
    }

    /// Holds the rows of keys that have one now.
    fn put(&mut self, replaced: &[Replaced], rows: &RecordBatch) -> Result<()> {
        let mut next = self.rows.len() as u32;
        for of in replaced {
            let row = of.after.map_or(NO_ROW, |_| next);
            next += u32::from(of.after.is_some());
            self.set(of.key, row);
            self.unwritten.note(of.key);
        }
        self.rows.push(rows)
    }

    /// Notes which keys lose their row, of those that have the rows `before`.
    fn note_gone(&mut self, replaced: &[Replaced], before: &RecordBatch) -> Result<()> {
        let had_one = replaced.iter().filter(|of| of.before.is_some());
        let gone: Vec<u32> = (0..).zip(had_one).filter(|(_, of)| of.after.is_none()).map(|(row, _)| row).collect();
        if self.unwritten.is_noting() && !gone.is_empty() {
            let keys = take_record_batch(&before.project(&self.keys)?, &UInt32Array::from(gone))?;
            self.unwritten.note_gone(keys, self.live);
        }
        Ok(())
    }

    /// Forgets the rows of these keys.
    fn forget(&mut self, keys: &[u32]) -> Result<()> {
        if self.unwritten.is_noting() {
            let gone = self.of(keys)?.project(&self.keys)?;
            self.unwritten.note_gone(gone, self.live);
        }
        keys.iter().for_each(|key| self.set(*key as usize, NO_ROW));
        Ok(())
    }

    fn set(&mut self, key: usize, row: u32) {
        let before = std::mem::replace(&mut self.row_of[key], row);
        self.live += usize::from(row != NO_ROW);
        self.live -= usize::from(before != NO_ROW);
    }

    /// The keys that have a row.
    fn live_keys(&self) -> Vec<u32> {
        (0..self.row_of.len() as u32).filter(|key| self.row_of[*key as usize] != NO_ROW).collect()
    }

    /// The rows of these keys.
    fn of(&self, keys: &[u32]) -> Result<RecordBatch> {
        let rows: Vec<u32> = keys.iter().map(|key| self.row_of[*key as usize]).collect();
        self.rows.gather(&rows)
    }

    /// Whether so much has been replaced, or has gone, that a pass over what is left is paid for.
    fn wants_clean_up(&self) -> bool {
        let all = self.rows.len().max(self.row_of.len());
        if self.live == 0 { all > 0 } else { all >= 2 * self.live.max(CLEAN_UP_ROWS) }
    }

    /// Keeps these keys only: the i-th has the number i now, and so has its row.
    fn keep(&mut self, live: &[u32]) -> Result<()> {
        let rows: Vec<u32> = live.iter().map(|key| self.row_of[*key as usize]).collect();
        self.rows.keep(&rows)?;
        self.unwritten.keep(live);
        self.numbers = KeyNumbers::new(&self.key_schema)?;
        self.row_of = Vec::new();
        let columns = self.keys.clone();
        for part in (0..live.len() as u32).collect::<Vec<_>>().chunks(STATE_ROWS) {
            let found = self.find(&self.rows.gather(part)?, &columns)?;
            debug_assert!(found.into_iter().eq(part.iter().map(|row| *row as usize)), "keys are kept in their order");
        }
        self.row_of = (0..live.len() as u32).collect();
        self.live = live.len();
        Ok(())
    }

    /// Takes up rows that were written, one of each key.
    fn restore(&mut self, rows: &RecordBatch) -> Result<()> {
        let columns = self.keys.clone();
        let (keys, first) = (self.find(rows, &columns)?, self.rows.len() as u32);
        (first..).zip(keys).for_each(|(row, key)| self.set(key, row));
        self.rows.push(rows)
    }

    fn bytes(&self) -> usize {
        self.rows.bytes() + self.numbers.bytes() + self.row_of.capacity() * size_of::<u32>() + self.unwritten.bytes()
    }
}

impl Operator for Normalize {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let mut replaced = self.replaced(&batch)?;
        let rows = batch.project(&(0..batch.num_columns() - 1).collect::<Vec<_>>())?;
        self.leave_same_out(&mut replaced, &rows)?;
        if !replaced.is_empty() {
            ctx.emit(self.replace(&replaced, &rows)?);
        }
        if self.last.wants_clean_up() {
            self.clean_up()?;
        }
        self.spill()
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        if let Some(touches) = &mut self.touches
            && touches.is_due(watermarks.min())
        {
            let old = self.last.live_keys().into_iter().filter(|key| !touches.is_young(*key as usize));
            // Downstream is not told: it keeps its rows for as long as it wants.
            self.last.forget(&old.collect::<Vec<u32>>())?;
            let gone = self.spilling.drop_before(touches.oldest(), self.last.unwritten.is_noting())?;
            if gone.num_rows() > 0 {
                self.last.unwritten.note_gone(gone, self.last.live + self.spilling.len());
            }
            self.clean_up()?;
        }
        ctx.emit_watermark(watermarks.min());
        Ok(())
    }

    /// Writes the rows, and beside them the keys with their last touches.
    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        let (columns, changed) = (self.last.keys.clone(), self.last.unwritten.take(state));
        let (belongs, touched_belong) = (Belongs::ToKeys(columns.clone()), Belongs::to_first(columns.len()));
        let spilled = self.spilling.views(changed.as_ref().map(|_| Part::Unwritten));
        let keys = match changed {
            Some(Changed { mut numbers, gone }) => {
                numbers.retain(|key| self.last.row(*key as usize).is_some());
                if self.touches.is_some() {
                    let keys = RowKeys::Grouped((0..columns.len()).collect());
                    state.changes("touched", touched_belong.clone(), keys, [], gone.clone());
                }
                state.changes("rows", belongs.clone(), RowKeys::Grouped(columns), [], gone);
                numbers
            }
            None => self.last.live_keys(),
        };
        let memory = self.spilling.memory();
        state.behind("rows", belongs.clone(), memory, keys.chunks(STATE_ROWS).map(|keys| self.last.of(keys)))?;
        if let Some(touches) = &self.touches {
            let touched = keys.chunks(STATE_ROWS).map(|keys| {
                let rows = self.last.of(keys)?.project(&self.last.keys)?;
                with_note(&rows, "at", touches.of(keys))
            });
            state.behind("touched", touched_belong.clone(), memory, touched)?;
        }
        if let Some([rows, touched]) = spilled {
            state.later("rows", belongs, Arc::new(rows));
            if self.touches.is_some() {
                state.later("touched", touched_belong, Arc::new(touched));
            }
        }
        self.spilling.note_written();
        self.touches.as_ref().map_or(Ok(()), |touches| touches.snapshot(&mut state.part("touches")))
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        for rows in state.batches("rows")? {
            self.last.restore(&rows?)?;
            if self.touches.is_none() {
                self.spill()?;
            }
        }
        self.last.unwritten.begin();
        let Some(touches) = &mut self.touches else { return Ok(()) };
        for batch in state.batches("touched")? {
            let (keys, at) = take_note::<Int64Array>(&batch?)?;
            let columns: Vec<usize> = (0..keys.num_columns()).collect();
            touches.set(&self.last.find(&keys, &columns)?, &at);
        }
        touches.restore(self.last.row_of.len(), &state.part("touches"))?;
        self.spill()
    }

    fn state_bytes(&self) -> usize {
        self.last.bytes() + self.touches.as_ref().map_or(0, Touches::bytes) + self.spilling.bytes()
    }

    fn spilled_bytes(&self) -> u64 {
        self.spilling.disk_bytes()
    }
}

#[cfg(test)]
mod tests;
