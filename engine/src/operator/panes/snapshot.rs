//! Panes as rows: keys, the pane's start, which of its partials it is, states. What changes is a pane.
//!
//! Where the order of rows matters, partials are read back as they were: how often a sum of floats was put
//! together shows in its last bit. Elsewhere all of a pane becomes groups that rows are added to.

use std::collections::BTreeMap;
use std::iter::repeat_n;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;

use super::{Pane, Panes};
use crate::error::Result;
use crate::operator::groups::{Groups, PartialGroups, named};
use crate::state::{Belongs, RowKeys, StateReader, StateWriter};

/// Groups written at a time, but for those of one partial. Tests want to see several batches.
const BATCH_ROWS: usize = if cfg!(test) { 3 } else { 1 << 16 };

/// The pane of a partial, and which of the pane's it is.
type Place = (i64, i64);

/// What has been written.
struct Written {
    keys: usize,
    batches: Vec<RecordBatch>,
    /// What is to be in the next batch.
    parts: Vec<(Place, PartialGroups)>,
    rows: usize,
}

impl Panes {
    /// Whom rows of the input belong to.
    pub(in crate::operator) fn belongs(&self) -> Belongs {
        Belongs::ToKeys(self.keys.clone())
    }

    /// Writes the panes that have changed, or all.
    pub(in crate::operator) fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        let is_change = std::mem::replace(&mut self.has_written, true) && state.takes_changes();
        let wanted = |(start, pane): (&i64, &Pane)| (!is_change || !pane.is_written).then_some(*start);
        let batches = self.write(self.panes.iter().filter_map(wanted).collect())?;
        self.panes.values_mut().for_each(|pane| pane.is_written = true);
        let (belongs, gone) = (Belongs::to_first(self.keys.len()), Int64Array::from(std::mem::take(&mut self.gone)));
        if is_change {
            let gone = RecordBatch::try_from_iter([("pane", Arc::new(gone) as ArrayRef)])?;
            state.changes("groups", belongs, RowKeys::Exact(vec![self.keys.len()]), batches, [gone]);
        } else {
            state.rows("groups", belongs, batches);
        }
        Ok(())
    }

    /// The rows of these panes.
    fn write(&mut self, starts: Vec<i64>) -> Result<Vec<RecordBatch>> {
        let mut written = Written::new(self.keys.len());
        for start in starts {
            let open = self.open_groups(start)?;
            let complete = self.panes.get(&start).into_iter().flat_map(|pane| &pane.partials);
            for (number, groups) in (0..).zip(complete.map(|partial| &partial.groups).chain(&open)) {
                written.add((start, number), groups)?;
            }
        }
        written.write_batch()?;
        Ok(written.batches)
    }

    /// What a pane has that rows are still added to. Accumulators give their states away, so they get them
    /// back.
    fn open_groups(&mut self, start: i64) -> Result<Option<PartialGroups>> {
        let Some(pane) = self.panes.get_mut(&start) else { return Ok(None) };
        let Some(groups) = &mut pane.groups else { return Ok(None) };
        let known = groups.bytes();
        let partial = groups.take_partial()?;
        groups.merge(&partial)?;
        let bytes = groups.bytes();
        pane.bytes = (pane.bytes + bytes).saturating_sub(known);
        self.bytes = (self.bytes + bytes).saturating_sub(known);
        Ok(Some(partial))
    }

    /// Takes up panes that were written.
    pub(in crate::operator) fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        let mut found: BTreeMap<Place, Vec<PartialGroups>> = BTreeMap::new();
        for batch in state.rows("groups")? {
            for (place, groups) in self.partials(&batch)? {
                found.entry(place).or_default().push(groups);
            }
        }
        let in_order = self.calls.iter().any(|call| call.order_matters);
        for ((start, _), parts) in found {
            // Several instances had other keys each, so their partials are parts of one.
            let groups = PartialGroups::concat(&parts)?;
            if in_order { self.push(start, groups)? } else { self.open(start, &groups)? }
        }
        self.has_written = true;
        self.panes.values_mut().for_each(|pane| pane.is_written = true);
        Ok(())
    }

    /// The partials in a batch.
    fn partials(&self, batch: &RecordBatch) -> Result<Vec<(Place, PartialGroups)>> {
        let all = PartialGroups::from_columns(batch, self.keys.len(), self.calls.len());
        let starts = named(batch, "pane")?.as_primitive::<Int64Type>().values();
        let numbers = named(batch, "partial")?.as_primitive::<Int64Type>().values();
        let places: Vec<Place> = starts.iter().copied().zip(numbers.iter().copied()).collect();
        let (mut partials, mut start) = (Vec::new(), 0);
        for same in places.chunk_by(|a, b| a == b) {
            partials.push((same[0], all.slice(start, same.len())));
            start += same.len();
        }
        Ok(partials)
    }

    /// Adds groups to those of a pane that rows are added to.
    fn open(&mut self, start: i64, partial: &PartialGroups) -> Result<()> {
        let pane = self.panes.entry(start).or_default();
        let groups = match &mut pane.groups {
            Some(groups) => groups,
            none => none.insert(Groups::new(&self.key_schema, &self.calls)?),
        };
        let known = groups.bytes();
        groups.merge(partial)?;
        let grown = groups.bytes();
        pane.bytes = (pane.bytes + grown).saturating_sub(known);
        self.bytes = (self.bytes + grown).saturating_sub(known);
        Ok(())
    }
}

impl Written {
    fn new(keys: usize) -> Self {
        Self { keys, batches: Vec::new(), parts: Vec::new(), rows: 0 }
    }

    fn add(&mut self, place: Place, groups: &PartialGroups) -> Result<()> {
        self.rows += groups.rows();
        self.parts.push((place, groups.clone()));
        if self.rows < BATCH_ROWS { Ok(()) } else { self.write_batch() }
    }

    fn write_batch(&mut self) -> Result<()> {
        let (places, parts): (Vec<Place>, Vec<PartialGroups>) = std::mem::take(&mut self.parts).into_iter().unzip();
        if std::mem::take(&mut self.rows) == 0 {
            return Ok(());
        }
        let of = |part: fn(&Place) -> i64| {
            let values = places.iter().zip(&parts).flat_map(|(place, groups)| repeat_n(part(place), groups.rows()));
            Arc::new(Int64Array::from_iter_values(values)) as ArrayRef
        };
        let mut columns = PartialGroups::concat(&parts)?.to_columns();
        let place = [("pane", of(|place| place.0)), ("partial", of(|place| place.1))];
        columns.splice(self.keys..self.keys, place.map(|(name, column)| (String::from(name), column)));
        let columns = columns.into_iter().map(|(name, column)| (name, column, true));
        self.batches.push(RecordBatch::try_from_iter_with_nullable(columns)?);
        Ok(())
    }
}
