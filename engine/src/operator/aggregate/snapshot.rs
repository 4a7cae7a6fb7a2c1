//! The groups of an aggregation as rows: keys, what is known of the group, what each aggregate knows of it.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use tidemill_plans::node::AggregateEmit;

use super::{Aggregate, Group};
use crate::error::{EngineError, Result};
use crate::operator::Operator;
use crate::operator::groups::{columns_of, named, state_columns};
use crate::state::{Belongs, StateReader, StateWriter};

/// Groups written at a time. Tests want to see several batches.
const STRETCH_GROUPS: u32 = if cfg!(test) { 2 } else { 1 << 16 };

impl Aggregate {
    /// Writes everything; nothing is gathered.
    pub(super) fn write(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        debug_assert!(!self.has_gathered(), "changes are emitted before a barrier");
        state.value("watermark", &self.watermark)?;
        state.value("next_clean_up", &self.next_clean_up)?;
        if let Some(waiting) = &self.waiting {
            waiting.snapshot(Belongs::ToKeys(self.key_columns.clone()), &mut state.part("waiting"));
        }
        let batches = self.group_rows()?;
        state.rows("groups", Belongs::to_first(self.key_columns.len()), batches);
        Ok(())
    }

    fn group_rows(&mut self) -> Result<Vec<RecordBatch>> {
        let total = self.groups.len() as u32;
        let starts = (0..total).step_by(STRETCH_GROUPS as usize);
        let stretches: Vec<Range<u32>> =
            starts.map(|start| start..total.min(start.saturating_add(STRETCH_GROUPS))).collect();
        let mut tables: Vec<Vec<(String, ArrayRef)>> = Vec::with_capacity(stretches.len());
        for stretch in &stretches {
            let keys = self.keys.keys(&stretch.clone().collect::<Vec<u32>>())?;
            let keys = keys.into_iter().enumerate().map(|(number, key)| (format!("k{number}"), key));
            tables.push(keys.chain(self.what_is_known(stretch)).collect());
        }
        for (call, states) in self.states.iter_mut().enumerate() {
            for (table, columns) in tables.iter_mut().zip(states.write(&stretches)?) {
                table.extend(state_columns(call, columns));
            }
        }
        let batch = |table: Vec<_>| {
            let columns = table.into_iter().map(|(name, column)| (name, column, true));
            Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
        };
        tables.into_iter().map(batch).collect()
    }

    fn what_is_known(&self, groups: &Range<u32>) -> [(String, ArrayRef); 3] {
        let groups = &self.groups[groups.start as usize..groups.end as usize];
        let rows = Int64Array::from_iter_values(groups.iter().map(|group| group.rows));
        let known = BooleanArray::from_iter(groups.iter().map(|group| Some(group.known)));
        let touched = Int64Array::from_iter_values(groups.iter().map(|group| group.touched));
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
        state.rows("groups")?.iter().try_for_each(|batch| self.read_groups(batch))
    }

    fn read_groups(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys = self.key_columns.len();
        if keys == 0 {
            // The one group has been there from the start, and was not known then.
            self.groups.clear();
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
