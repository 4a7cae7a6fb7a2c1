//! The groups of an aggregation as rows: keys, what is known of the group, what each aggregate knows of it.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use tidemill_plans::node::AggregateEmit;

use super::{Aggregate, Group};
use crate::error::{EngineError, Result};
use crate::operator::Operator;
use crate::operator::changed_keys::others;
use crate::operator::groups::{columns_of, named, state_columns};
use crate::state::spill::Part;
use crate::state::{Belongs, RowKeys, StateReader, StateWriter};

/// Groups written at a time. Tests want to see several batches.
const PART_GROUPS: usize = if cfg!(test) { 2 } else { 1 << 14 };

impl Aggregate {
    /// Writes the groups that have changed, or all; nothing is gathered.
    pub(super) fn write(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        debug_assert!(!self.has_gathered(), "changes are emitted before a barrier");
        state.value("watermark", &self.watermark)?;
        state.value("next_clean_up", &self.next_clean_up)?;
        if let Some(waiting) = &mut self.waiting {
            waiting.snapshot(Belongs::ToKeys(self.key_columns.clone()), &mut state.part("waiting"))?;
        }
        let (keys, changed) = (self.key_columns.len(), self.unwritten.take(state));
        let memory = self.spilling.memory().clone();
        for (call, states) in self.states.iter_mut().enumerate() {
            if let Some(pairs) = states.pairs_mut() {
                pairs.write_pairs(&format!("pairs{call}"), &self.keys, changed.is_some(), &memory, state)?;
            }
        }
        // Without keys there is one group, and no key to call it by.
        let (groups, spilled) = match changed.filter(|_| keys > 0) {
            None => ((0..self.groups.len() as u32).collect(), self.spilling.view(None)),
            Some(changed) => {
                let columns = RowKeys::Grouped((0..keys).collect());
                state.changes("groups", Belongs::to_first(keys), columns, [], changed.gone);
                (changed.numbers, self.spilling.view(Some(Part::Unwritten)))
            }
        };
        self.write_groups(&groups, state)?;
        if let Some(spilled) = spilled {
            state.later("groups", Belongs::to_first(keys), Arc::new(spilled));
        }
        self.spilling.note_written();
        Ok(())
    }

    fn write_groups(&mut self, groups: &[u32], state: &mut StateWriter<'_>) -> Result<()> {
        let (memory, belongs) = (self.spilling.memory().clone(), Belongs::to_first(self.key_columns.len()));
        // Some states are slow for each time that they are asked, so all is asked for at once where there is room.
        let at_once = if memory.is_limited() { PART_GROUPS } else { groups.len().max(1) };
        let batches = groups.chunks(at_once).flat_map(|groups| match self.group_rows(groups) {
            Ok(batches) => batches.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        });
        state.behind("groups", belongs, &memory, batches)
    }

    fn read_pairs(&mut self, state: &StateReader<'_>) -> Result<()> {
        let (keys, known) = (self.key_columns.len(), self.groups.len());
        let mut groups = Vec::new();
        for (call, states) in self.states.iter_mut().enumerate() {
            let Some(pairs) = states.pairs_mut() else { continue };
            for batch in state.batches(&format!("pairs{call}"))? {
                let batch = batch?;
                if pairs.is_limited() {
                    pairs.read_spilled(&batch)?;
                    continue;
                }
                self.keys.find(&batch, &(0..keys).collect::<Vec<_>>(), &mut groups)?;
                // Where rows go before they come, values of a group that was dropped may have been on disk.
                let is_known: BooleanArray = groups.iter().map(|group| Some(*group < known)).collect();
                groups.retain(|group| *group < known);
                pairs.read_pairs(&groups, &filter_record_batch(&batch, &is_known)?.columns()[keys..])?;
            }
            pairs.begin();
        }
        if self.keys.len() > known { self.keys.keep(&(0..known as u32).collect::<Vec<_>>()) } else { Ok(()) }
    }

    /// Notes that the other groups are gone.
    pub(super) fn note_gone(&mut self, live: &[u32]) -> Result<()> {
        if self.unwritten.is_noting() {
            let keys = self.keys_of(&others(live, self.groups.len()))?;
            self.unwritten.note_gone(keys, live.len() + self.spilling.len());
        }
        self.unwritten.keep(live);
        Ok(())
    }

    /// The keys of these groups.
    pub(super) fn keys_of(&self, groups: &[u32]) -> Result<RecordBatch> {
        Ok(RecordBatch::try_new(Arc::clone(self.keys.schema()), self.keys.keys(groups)?)?)
    }

    /// The rows of these groups.
    pub(super) fn group_rows(&mut self, groups: &[u32]) -> Result<Vec<RecordBatch>> {
        let parts: Vec<&[u32]> = groups.chunks(PART_GROUPS).collect();
        let mut tables: Vec<Vec<(String, ArrayRef)>> = Vec::with_capacity(parts.len());
        for part in &parts {
            let keys = self.keys.keys(part)?;
            let keys = keys.into_iter().enumerate().map(|(number, key)| (format!("k{number}"), key));
            tables.push(keys.chain(self.what_is_known(part)).collect());
        }
        for (call, states) in self.states.iter_mut().enumerate() {
            for (table, columns) in tables.iter_mut().zip(states.write(&parts)?) {
                table.extend(state_columns(call, columns));
            }
        }
        let batch = |table: Vec<_>| {
            let columns = table.into_iter().map(|(name, column)| (name, column, true));
            Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
        };
        tables.into_iter().map(batch).collect()
    }

    fn what_is_known(&self, groups: &[u32]) -> [(String, ArrayRef); 3] {
        let groups = || groups.iter().map(|number| &self.groups[*number as usize]);
        let rows = Int64Array::from_iter_values(groups().map(|group| group.rows));
        let known = BooleanArray::from_iter(groups().map(|group| Some(group.known)));
        let touched = Int64Array::from_iter_values(groups().map(|group| group.touched));
        [
            (String::from("rows"), Arc::new(rows)),
            (String::from("known"), Arc::new(known)),
            (String::from("touched"), Arc::new(touched)),
        ]
    }

    /// Takes up what was written.
    pub(super) fn read(&mut self, state: &StateReader<'_>) -> Result<()> {
        if let Some(least) = state.values("watermark")?.into_iter().min() {
            self.watermark = least;
        }
        if let Some(least) = state.values("next_clean_up")?.into_iter().min() {
            self.next_clean_up = least;
        }
        if let Some(waiting) = &mut self.waiting {
            waiting.restore(&state.part("waiting"))?;
        }
        for batch in state.batches("groups")? {
            self.read_groups(&batch?)?;
            self.spill()?;
        }
        self.read_pairs(state)?;
        self.unwritten.begin();
        Ok(())
    }

    pub(super) fn read_groups(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys = self.key_columns.len();
        if keys == 0 {
            // The one group has been there from the start, and was not known then.
            self.groups.keep(&[]);
            self.changed.clear();
        }
        let first = self.groups.len();
        let mut numbers = Vec::new();
        self.keys.find(batch, &(0..keys).collect::<Vec<_>>(), &mut numbers)?;
        if !numbers.iter().copied().eq(first..first + batch.num_rows()) {
            return Err(EngineError::State(String::from("two groups of an aggregation have the same key")));
        }
        self.read_what_is_known(batch)?;
        for (call, states) in self.states.iter_mut().enumerate() {
            states.read(first, &columns_of(batch, call))?;
        }
        Ok(())
    }

    fn read_what_is_known(&mut self, batch: &RecordBatch) -> Result<()> {
        let (rows, touched) = (named(batch, "rows")?, named(batch, "touched")?);
        let (rows, touched) = (rows.as_primitive::<Int64Type>(), touched.as_primitive::<Int64Type>());
        let known = named(batch, "known")?.as_boolean();
        // Until the end, groups of an aggregation that emits then have changed, all of them.
        let changed = self.emit == AggregateEmit::AtEnd;
        for row in 0..batch.num_rows() {
            let known = known.value(row);
            let empty = !changed && !known;
            self.empty += usize::from(empty);
            if changed {
                self.changed.push(self.groups.len() as u32);
            }
            self.groups.push(Group { rows: rows.value(row), known, changed, empty, touched: touched.value(row) });
        }
        Ok(())
    }
}
