//! What is known of partitions, and the rows that they hold, as rows of state.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, UInt64Array};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema};
use datafusion::common::ScalarValue;
use hashbrown::HashMap;
use tidemill_plans::time::event_times;

use super::{InOrderOver, State, UNTOUCHED};
use crate::error::Result;
use crate::operator::changed_keys::Changed;
use crate::operator::held_rows::Place;
use crate::operator::over_window::call::{Call, CallState, PartitionRows};
use crate::operator::spilled_partitions::Table;
use crate::operator::state_rows::{STATE_ROWS, least_watermark, other_columns, with_note};
use crate::state::spill::Part;
use crate::state::{RowKeys, StateReader, StateWriter};

/// A partition from a snapshot: how many of its rows have been emitted, and what its calls remember.
pub(super) struct Known {
    emitted: usize,
    calls: Vec<Vec<ScalarValue>>,
}

impl InOrderOver {
    pub(super) fn write(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        state.value("watermark", &self.watermark)?;
        self.waiting.snapshot(self.partitions.belongs(), &mut state.part("waiting"))?;
        let changed = self.unwritten.take(state).zip(self.emptied.take(state)).zip(self.partitions.row_keys());
        let only = changed.as_ref().map(|_| Part::Unwritten);
        let numbers = match changed {
            Some(((changed, emptied), keys)) => self.note_changes(changed, emptied.gone, keys, state)?,
            None => (0..self.states.len() as u32).collect(),
        };
        let [by_key, belongs] = [self.partitions.belongs_by_key(), self.partitions.belongs()];
        let memory = self.partitions.memory().clone();
        let states = numbers.chunks(STATE_ROWS).filter_map(|partitions| self.states_of(partitions).transpose());
        state.behind("states", by_key.clone(), &memory, states)?;
        state.part("held").behind("rows", belongs.clone(), &memory, self.held_of(&numbers))?;
        self.partitions.write_spilled(Table::Known, "states", by_key, only, state);
        self.partitions.write_spilled(Table::Rows, "rows", belongs, only, &mut state.part("held"));
        self.partitions.snapshot(&mut state.part("partitions"))
    }

    fn read_all(&mut self, state: &StateReader<'_>) -> Result<()> {
        let mut known = Vec::new();
        for batch in state.batches("states")? {
            let batch = batch?;
            let partitions = self.partitions.of_keys(&batch)?.iter().copied();
            if !partitions.eq(known.len()..known.len() + batch.num_rows()) {
                return Err(other_columns());
            }
            self.read_states(&batch, &mut known)?;
        }
        self.grow(known.len())?;
        let held = concat_batches(self.waiting.schema(), &state.part("held").rows("rows")?)?;
        let partitions = self.partitions.of_known(&held)?.to_vec();
        self.take_up(known.into_iter().enumerate(), &held, &partitions)
    }

    /// Writes that partitions are gone, and that what follows is of those that have changed; their numbers.
    fn note_changes(
        &self,
        changed: Changed,
        emptied: Vec<RecordBatch>,
        [row_keys, keys]: [RowKeys; 2],
        state: &mut StateWriter<'_>,
    ) -> Result<Vec<u32>> {
        let Changed { numbers, gone } = changed;
        state.changes("states", self.partitions.belongs_by_key(), keys, [], gone.clone());
        // Some of them hold no rows any more.
        let gone = gone.into_iter().chain(emptied).chain([self.partitions.keys(&numbers)?]);
        state.part("held").changes("rows", self.partitions.belongs(), row_keys, [], gone);
        Ok(numbers)
    }

    pub(super) fn read(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.watermark = least_watermark(state, "watermark")?;
        self.waiting.restore(&state.part("waiting"))?;
        self.partitions.restore_spilled(&state.part("partitions"))?;
        if self.partitions.is_limited() {
            self.read_spilled(state)?;
        } else {
            self.read_all(state)?;
        }
        self.unwritten.begin();
        self.emptied.begin();
        self.partitions.restore(&state.part("partitions"))
    }

    /// A row for each of these partitions: its key, how many of its held rows have been emitted, and what its calls
    /// remember.
    pub(super) fn states_of(&mut self, partitions: &[u32]) -> Result<Option<RecordBatch>> {
        if partitions.is_empty() {
            return Ok(None);
        }
        let emitted = partitions.iter().map(|partition| self.states[*partition as usize].emitted as u64);
        let emitted = UInt64Array::from_iter_values(emitted);
        let known = with_note(&self.partitions.keys(partitions)?, "emitted", emitted)?;
        let (mut fields, mut columns) = (known.schema_ref().fields().to_vec(), known.columns().to_vec());
        for (place, call) in self.calls.iter().enumerate() {
            let state = |partition: &u32| call.parts(&mut self.states[*partition as usize].calls[place]);
            let parts = partitions.iter().map(state).collect::<Result<Vec<_>>>()?;
            for part in 0..call.part_count()? {
                let column = ScalarValue::iter_to_array(parts.iter().map(|parts| parts[part].clone()))?;
                fields.push(Arc::new(Field::new(format!("call {place}.{part}"), column.data_type().clone(), true)));
                columns.push(column);
            }
        }
        Ok(Some(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?))
    }

    /// The rows that these partitions hold, those of each together and in their order.
    fn held_of(&self, partitions: &[u32]) -> impl Iterator<Item = Result<RecordBatch>> {
        let places = |partition: &u32| {
            let (batch, first, len) = self.states[*partition as usize].held;
            (first..first + len).map(move |row| (batch, row))
        };
        let all: Vec<Place> = partitions.iter().flat_map(places).collect();
        let own: Vec<usize> = (0..self.input_columns).collect();
        (0..all.len()).step_by(STATE_ROWS).map(move |start| {
            let places = &all[start..all.len().min(start + STATE_ROWS)];
            Ok(self.held.gather(places)?.project(&own)?)
        })
    }

    /// Reads what was written of partitions.
    pub(super) fn read_states(&self, batch: &RecordBatch, known: &mut Vec<Known>) -> Result<()> {
        let keys = self.partitions.key_schema().fields().len();
        let widths = self.calls.iter().map(Call::part_count).collect::<Result<Vec<_>>>()?;
        if batch.num_columns() != keys + 1 + widths.iter().sum::<usize>() {
            return Err(other_columns());
        }
        let emitted = batch.column(keys).as_any().downcast_ref::<UInt64Array>().ok_or_else(other_columns)?;
        for row in 0..batch.num_rows() {
            let mut columns = batch.columns()[keys + 1..].iter();
            let mut part = |width: &usize| {
                let parts = columns.by_ref().take(*width);
                parts.map(|column| Ok(ScalarValue::try_from_array(column, row)?)).collect::<Result<Vec<_>>>()
            };
            let calls = widths.iter().map(&mut part).collect::<Result<Vec<_>>>()?;
            known.push(Known { emitted: emitted.value(row) as usize, calls });
        }
        Ok(())
    }

    /// Takes up partitions, of which nothing is known yet, and the rows that they hold: those of each together, and the
    /// partition of every row.
    pub(super) fn take_up(
        &mut self,
        known: impl Iterator<Item = (usize, Known)>,
        rows: &RecordBatch,
        partitions: &[usize],
    ) -> Result<()> {
        let times = event_times(rows.column(self.time))?;
        // Where the rows of each partition begin, and how many it holds.
        let mut runs: HashMap<usize, (usize, usize)> = HashMap::new();
        for (row, partition) in partitions.iter().enumerate() {
            runs.entry(*partition).or_insert((row, 0)).1 += 1;
        }
        let rows = self.prepared.rows(rows, &self.prepared_schema)?;
        let number = if rows.num_rows() > 0 { self.held.push(rows.clone()) } else { 0 };
        for (partition, known) in known {
            let (start, len) = runs.remove(&partition).unwrap_or_default();
            let own = PartitionRows { rows: &rows, start, len };
            let calls = self.calls.iter().zip(&known.calls);
            let calls =
                calls.map(|(call, parts)| call.resume(parts, own, known.emitted)).collect::<Result<Vec<_>>>()?;
            let pending = (known.emitted < len).then(|| times.value(start + known.emitted));
            self.pending.extend(pending.map(|time| (time, partition)));
            let held = (number, start as u32, len as u32);
            let state = State { calls, held, emitted: known.emitted, pending, touched: UNTOUCHED };
            let bytes = |state: &State| state.calls.iter().map(CallState::bytes).sum::<usize>();
            self.bytes += bytes(&state);
            self.bytes -= bytes(&self.states[partition]);
            self.states[partition] = state;
        }
        // Rows of a partition of which nothing is known.
        if runs.is_empty() { Ok(()) } else { Err(other_columns()) }
    }
}
