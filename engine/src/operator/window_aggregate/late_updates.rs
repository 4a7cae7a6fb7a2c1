//! What late rows change in windows that have closed.
//!
//! A window's panes are kept for a while after its end. A late row is added to its pane; of each closed
//! window that it is in, the result of its key before and after goes out as an update.
//!
//! Where the order of rows matters, a complete pane keeps its rows, and is aggregated anew with the late
//! ones among them: so the last update has the bits that the window would have had in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, interleave_record_batch, min, not};
use arrow::datatypes::SchemaRef;
use hashbrown::HashMap;
use tidemill_plans::change::{ChangeOp, change_array};
use tidemill_plans::time::{EventTime, event_times};

use super::WindowAggregate;
use crate::error::Result;
use crate::operator::panes::{Asked, Times};
use crate::task::OperatorContext;

/// Closed windows by their end, each with the keys that late rows have in it.
type Touched = BTreeMap<i64, Asked>;

/// Results of groups, with the end of the window and the number of the key of each.
struct Results {
    rows: RecordBatch,
    groups: Vec<(i64, u32)>,
}

impl WindowAggregate {
    /// Adds rows of which some may be late, and emits what they change.
    pub(super) fn add_with_updates(&mut self, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let times = event_times(batch.column(self.time))?;
        let touched = self.touched(&batch, &times)?;
        if touched.is_empty() {
            self.add_late_and_others(batch, &times)?;
            return self.panes.make_room();
        }
        let before = self.results(&touched)?;
        self.add_late_and_others(batch, &times)?;
        let after = self.results(&touched)?;
        let mut panes: Vec<i64> = times.values().iter().map(|time| self.grid.start(*time)).collect();
        panes.sort_unstable();
        panes.dedup();
        panes.into_iter().try_for_each(|pane| self.panes.collapse_pane(pane))?;
        self.panes.make_room()?;
        emit_updates(&before, &after, &self.output, ctx)
    }

    /// The closed windows that these rows are in.
    fn touched(&mut self, batch: &RecordBatch, times: &Times) -> Result<Touched> {
        if min(times).is_none_or(|first| EventTime(first) >= self.watermark.0) {
            return Ok(Touched::new());
        }
        let numbers = self.panes.numbers(batch)?;
        let mut rows: BTreeMap<i64, BTreeMap<u32, u32>> = BTreeMap::new();
        for (row, (time, number)) in (0u32..).zip(times.values().iter().zip(numbers)) {
            let windows = self.window.windows(EventTime(*time));
            for window in windows.take_while(|window| self.watermark.closes(EventTime(window.end))) {
                rows.entry(window.end).or_default().insert(number, row);
            }
        }
        let keys = self.panes.key_columns(batch);
        rows.into_iter().map(|(end, rows)| Ok((end, Asked::new(&rows, &keys)?))).collect()
    }

    fn add_late_and_others(&mut self, batch: RecordBatch, times: &Times) -> Result<()> {
        let (Some(waiting), Some(kept)) = (&mut self.waiting, &mut self.kept) else {
            return self.panes.add(&batch, times);
        };
        let sealed = EventTime(self.grid.start(self.watermark.0.0));
        let late: BooleanArray = times.values().iter().map(|time| Some(EventTime(*time) < sealed)).collect();
        if late.true_count() == 0 {
            return waiting.push(batch);
        }
        waiting.push(filter_record_batch(&batch, &not(&late)?)?)?;
        let late = filter_record_batch(&batch, &late)?;
        for (start, rows) in self.grid.split(&late, &event_times(late.column(self.time))?)? {
            kept.push(rows)?;
            self.panes.drop_pane(start)?;
            if let Some(rows) = kept.rows_at(start..self.grid.last(start).saturating_add(1))? {
                self.panes.add_in_order(&rows, &event_times(rows.column(self.time))?)?;
            }
        }
        Ok(())
    }

    /// The results of some keys in some closed windows, as far as there are any.
    fn results(&mut self, touched: &Touched) -> Result<Results> {
        let mut windows = Vec::with_capacity(touched.len());
        for (end, asked) in touched {
            windows.push(self.panes.parts_of(self.window.ending_at(*end), asked)?);
        }
        if windows.iter().all(|window| window.rows() == 0) {
            return Ok(Results { rows: RecordBatch::new_empty(Arc::clone(&self.rows)), groups: Vec::new() });
        }
        let merged = self.panes.merge(&windows)?;
        let parts: Vec<_> = windows.iter().flat_map(|window| &window.parts).collect();
        let ends = merged.windows.iter().flat_map(|(window, rows)| std::iter::repeat_n(window.end, *rows));
        let numbers = merged.first.iter().map(|(part, row)| parts[*part].numbers()[*row]);
        Ok(Results { groups: ends.zip(numbers).collect(), rows: self.rows_of(merged)? })
    }
}

/// Emits each group's old and new result, or only the new one if there was none.
fn emit_updates(before: &Results, after: &Results, output: &SchemaRef, ctx: &mut OperatorContext) -> Result<()> {
    let known: HashMap<_, usize> = before.groups.iter().enumerate().map(|(row, group)| (*group, row)).collect();
    let (mut picks, mut ops) = (Vec::new(), Vec::new());
    for (row, group) in after.groups.iter().enumerate() {
        match known.get(group) {
            Some(old) => {
                picks.extend([(0, *old), (1, row)]);
                ops.extend([ChangeOp::UpdateBefore, ChangeOp::UpdateAfter]);
            }
            None => {
                picks.push((1, row));
                ops.push(ChangeOp::Insert);
            }
        }
    }
    let rows = interleave_record_batch(&[&before.rows, &after.rows], &picks)?;
    ctx.emit(with_ops(&rows, &ops, output)?);
    Ok(())
}

/// The rows with what each of them does behind its columns.
pub(super) fn with_ops(rows: &RecordBatch, ops: &[ChangeOp], output: &SchemaRef) -> Result<RecordBatch> {
    let mut columns = rows.columns().to_vec();
    columns.push(change_array(ops));
    Ok(RecordBatch::try_new(Arc::clone(output), columns)?)
}

#[cfg(test)]
mod tests;
