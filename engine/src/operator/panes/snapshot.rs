//! Panes as rows: keys, the pane's start, which of its pieces it is, states. What changes is a piece.
//!
//! Where the order of rows matters, pieces are read back as they were: how often a sum of floats was put
//! together shows in its last bit. Elsewhere all of a pane becomes groups that rows are added to, in memory.

use std::collections::BTreeMap;
use std::iter::repeat_n;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::Int64Type;

use super::{Open, Pane, Panes, Piece, Place};
use crate::error::Result;
use crate::operator::groups::{PartialGroups, named};
use crate::state::spill::Part;
use crate::state::{Belongs, RowKeys, StateReader, StateWriter};

/// Groups written at a time. Tests want to see several batches.
const BATCH_ROWS: usize = if cfg!(test) { 3 } else { 1 << 16 };

/// Pieces as rows.
pub(super) struct PieceRows {
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

    /// Writes the pieces that have come or changed, or all.
    pub(in crate::operator) fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        let is_change = std::mem::replace(&mut self.has_written, true) && state.takes_changes();
        let belongs = Belongs::to_first(self.keys.len());
        let (panes, pieces): (Vec<i64>, Vec<i64>) = std::mem::take(&mut self.gone).into_iter().unzip();
        if is_change {
            let gone = [("pane", panes), ("partial", pieces)];
            let gone = gone.map(|(name, values)| (name, Arc::new(Int64Array::from(values)) as ArrayRef));
            let keys = RowKeys::Exact(vec![self.keys.len(), self.keys.len() + 1]);
            state.changes("groups", belongs.clone(), keys, [], [RecordBatch::try_from_iter(gone)?]);
        }
        let memory = self.spilling.memory().clone();
        state.behind("groups", belongs.clone(), &memory, self.batches(is_change))?;
        if let Some(away) = self.spilling.view(is_change.then_some(Part::Unwritten)) {
            state.later("groups", belongs, Arc::new(away));
        }
        self.spilling.note_written();
        Ok(())
    }

    /// The rows of the pieces in memory that have come or changed, or of all, some at a time.
    fn batches(&mut self, changes: bool) -> impl Iterator<Item = Result<RecordBatch>> {
        let (mut rows, bytes) = (PieceRows::new(self.keys.len()), &mut self.bytes);
        self.panes.iter_mut().map(Some).chain([None]).flat_map(move |pane| {
            let batches = match pane {
                Some((start, pane)) => pane.write(*start, changes, bytes, &mut rows).map(|()| rows.take_full()),
                None => rows.take(),
            };
            match batches {
                Ok(batches) => batches.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            }
        })
    }

    /// Takes up panes that were written.
    pub(in crate::operator) fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.has_written = true;
        let mut found: BTreeMap<Place, Vec<PartialGroups>> = BTreeMap::new();
        for batch in state.batches("groups")? {
            for (place, groups) in self.partials(&batch?)? {
                if self.spilling.is_limited() {
                    // Rows that come find their pane on disk all the same.
                    self.put_piece(place, true, &groups)?;
                    self.next_piece = self.next_piece.max(place.1.saturating_add(1));
                } else {
                    found.entry(place).or_default().push(groups);
                }
            }
        }
        self.spilling.flush()?;
        self.take_up_all(found)
    }

    /// Takes up all pieces there are into memory.
    fn take_up_all(&mut self, found: BTreeMap<Place, Vec<PartialGroups>>) -> Result<()> {
        let next = found.keys().map(|(_, piece)| piece.saturating_add(1)).max();
        self.next_piece = self.next_piece.max(next.unwrap_or_default());
        let mut found = found.into_iter().peekable();
        while let Some(((start, piece), parts)) = found.next() {
            let mut pieces = vec![(piece, PartialGroups::concat(&parts)?)];
            while let Some(((_, piece), parts)) = found.next_if(|((next, _), _)| *next == start) {
                // Several instances had other keys each, so their pieces are parts of one.
                pieces.push((piece, PartialGroups::concat(&parts)?));
            }
            self.take_up(start, pieces)?;
        }
        Ok(())
    }

    /// Takes up the pieces of a pane, in their order.
    fn take_up(&mut self, start: i64, pieces: Vec<(i64, PartialGroups)>) -> Result<()> {
        let in_order = self.calls.iter().any(|call| call.order_matters);
        if in_order && (self.dictionary.is_some() || pieces.len() == 1) {
            return pieces.into_iter().try_for_each(|(number, groups)| self.push_piece(start, number, groups, true));
        }
        let numbers: Vec<i64> = pieces.iter().map(|(number, _)| *number).collect();
        if in_order {
            // Where there are several without a dictionary, none has a key of another.
            let groups: Vec<PartialGroups> = pieces.into_iter().map(|(_, groups)| groups).collect();
            self.push(start, PartialGroups::concat(&groups)?)?;
        } else {
            pieces.iter().try_for_each(|(_, groups)| self.change_open(start, |open, _| open.merge(groups)))?;
        }
        match (numbers.as_slice(), self.panes.get_mut(&start).and_then(|pane| pane.open.as_mut())) {
            ([number], Some(open)) => (open.number, open.is_written) = (*number, true),
            _ => self.note_gone(start, numbers),
        }
        Ok(())
    }

    /// The partials in a batch, pane by pane, piece by piece: on disk their rows are in another order.
    pub(super) fn partials(&self, batch: &RecordBatch) -> Result<Vec<(Place, PartialGroups)>> {
        let mut all = PartialGroups::from_columns(batch, self.keys.len(), self.calls.len());
        let starts = named(batch, "pane")?.as_primitive::<Int64Type>().values();
        let numbers = named(batch, "partial")?.as_primitive::<Int64Type>().values();
        let mut places: Vec<Place> = starts.iter().copied().zip(numbers.iter().copied()).collect();
        if !places.is_sorted() {
            let mut order: Vec<u32> = (0..places.len() as u32).collect();
            order.sort_by_key(|row| places[*row as usize]);
            places = order.iter().map(|row| places[*row as usize]).collect();
            all = all.take(&UInt32Array::from(order))?;
        }
        let (mut partials, mut start) = (Vec::new(), 0);
        for same in places.chunk_by(|a, b| a == b) {
            partials.push((same[0], all.slice(start, same.len())));
            start += same.len();
        }
        Ok(partials)
    }
}

impl Pane {
    /// Writes its pieces in memory that have come or changed, or all. The bytes of all panes are counted anew.
    fn write(&mut self, start: i64, changes: bool, all_bytes: &mut usize, rows: &mut PieceRows) -> Result<()> {
        for Piece { number, partial, is_written } in &mut self.pieces {
            if !(std::mem::replace(is_written, true) && changes) {
                rows.add((start, *number), &partial.groups)?;
            }
        }
        let Some(Open { number, groups, is_written }) = &mut self.open else { return Ok(()) };
        if std::mem::replace(is_written, true) && changes {
            return Ok(());
        }
        // Accumulators give their states away, so they get them back.
        let known = groups.bytes();
        let partial = groups.take_partial()?;
        groups.merge(&partial)?;
        let bytes = groups.bytes();
        self.bytes = (self.bytes + bytes).saturating_sub(known);
        *all_bytes = (*all_bytes + bytes).saturating_sub(known);
        rows.add((start, *number), &partial)
    }
}

impl PieceRows {
    pub(super) fn new(keys: usize) -> Self {
        Self { keys, batches: Vec::new(), parts: Vec::new(), rows: 0 }
    }

    pub(super) fn add(&mut self, place: Place, groups: &PartialGroups) -> Result<()> {
        for chunk in groups.chunks(BATCH_ROWS) {
            self.rows += chunk.rows();
            self.parts.push((place, chunk));
            if self.rows >= BATCH_ROWS {
                self.write_batch()?;
            }
        }
        Ok(())
    }

    /// The batches that are full.
    pub(super) fn take_full(&mut self) -> Vec<RecordBatch> {
        std::mem::take(&mut self.batches)
    }

    /// All of them.
    pub(super) fn take(&mut self) -> Result<Vec<RecordBatch>> {
        self.write_batch()?;
        Ok(self.take_full())
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
