//! Partitions that have no room in memory. What their owner knows of them goes to disk, and comes back, table by table.

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::row::RowConverter;

use super::{Keys, Partitions, all_fields};
use crate::error::Result;
use crate::operator::changed_keys::others;
use crate::operator::spilled_partitions::{Back, SpilledPartitions, Table};
use crate::operator::state_rows::{STATE_ROWS, take_note};
use crate::rows::canonical_key;
use crate::state::spill::Part;
use crate::state::{Belongs, StateReader, StateWriter};

impl Partitions {
    /// What a table has of the partitions that were not in memory before rows of theirs were looked for last. It may
    /// not have been written yet.
    pub(in crate::operator) fn take_back(&mut self, table: Table) -> Result<Option<Back>> {
        let (Some(spilled), Keys::Known(keys, _)) = (&mut self.spilled, &self.keys) else { return Ok(None) };
        let new: Vec<u32> = (self.first_new as u32..keys.len() as u32).collect();
        if new.is_empty() || spilled.is_empty(table) {
            return Ok(None);
        }
        spilled.take(table, &keys.keys(&new)?, self.first_new)
    }

    /// Whether there is no room for all of them, if they have so many bytes with what their owner knows, and others
    /// have so many beside.
    pub(in crate::operator) fn lacks_room(&self, bytes: usize, beside: usize) -> bool {
        self.spilled.as_ref().is_some_and(|spilled| spilled.room(self.len(), bytes, beside).is_some())
    }

    /// Which of them have to go then; none if there is room.
    pub(in crate::operator) fn take_cold(&mut self, bytes: usize, beside: usize) -> Option<Vec<u32>> {
        let partitions = self.len();
        let spilled = self.spilled.as_mut()?;
        let room = spilled.room(partitions, bytes, beside)?;
        Some(spilled.take_cold(partitions, room))
    }

    /// Puts rows of partitions that go on disk: all that a table has of them, and the partition of each row.
    pub(in crate::operator) fn put(
        &mut self,
        table: Table,
        part: Part,
        rows: &RecordBatch,
        partitions: &[u32],
    ) -> Result<()> {
        match (&mut self.spilled, &self.keys) {
            (Some(spilled), Keys::Known(keys, _)) => spilled.put(table, part, &keys.keys(partitions)?, rows),
            _ => Ok(()),
        }
    }

    /// Lets partitions go of which everything has been put on disk. Returns the others: the i-th has the number i now.
    pub(in crate::operator) fn let_go(&mut self, cold: &[u32]) -> Result<Vec<u32>> {
        if self.touches().is_some() {
            for (part, partitions) in self.unwritten.parts(cold) {
                for partitions in partitions.chunks(STATE_ROWS) {
                    self.put(Table::Touched, part, &self.touched(partitions)?, partitions)?;
                }
            }
        }
        let live = others(cold, self.len());
        self.keep(&live)?;
        self.unwritten.keep(&live);
        Ok(live)
    }

    /// Has some of the partitions on disk in the place of those in memory, until all of them were there; nothing goes
    /// any more. Whether there were any.
    pub(in crate::operator) fn next_spilled(&mut self) -> Result<bool> {
        let keys = self.spilled.as_mut().map(SpilledPartitions::next_keys).transpose()?.flatten();
        let Some(keys) = keys else { return Ok(false) };
        self.keep(&[])?;
        self.of_keys(&keys)?;
        Ok(true)
    }

    /// Writes the rows of a table on disk, or one part of them.
    pub(in crate::operator) fn write_spilled(
        &mut self,
        table: Table,
        name: &str,
        belongs: Belongs,
        only: Option<Part>,
        state: &mut StateWriter<'_>,
    ) {
        self.spilled.iter_mut().for_each(|spilled| spilled.write(table, name, belongs.clone(), only, state));
    }

    /// Whether partitions may have to go.
    pub(in crate::operator) fn is_limited(&self) -> bool {
        self.spilled.is_some()
    }

    /// Bytes on disk.
    pub(in crate::operator) fn disk_bytes(&self) -> u64 {
        self.spilled.as_ref().map_or(0, SpilledPartitions::disk_bytes)
    }

    /// Has what is in state of when partitions were touched on disk, if partitions may go: for it has to be known when
    /// they do. Called before their rows are read.
    pub(in crate::operator) fn restore_spilled(&mut self, state: &StateReader<'_>) -> Result<()> {
        let keeps_touches = self.touches().is_some();
        let Some(spilled) = self.spilled.as_mut().filter(|_| keeps_touches) else { return Ok(()) };
        for batch in state.batches("touched")? {
            let batch = batch?;
            let keys = take_note::<Int64Array>(&batch)?.0;
            let keys: Vec<ArrayRef> = keys.columns().iter().map(canonical_key).collect();
            spilled.put(Table::Touched, Part::Written, &keys, &batch)?;
        }
        Ok(())
    }

    /// Has rows from state on disk, those of each partition together, where they have to be; their keys are in these
    /// columns. For tables that are empty.
    pub(in crate::operator) fn put_read(
        &mut self,
        table: Table,
        columns: &[usize],
        batches: impl Iterator<Item = Result<RecordBatch>>,
    ) -> Result<()> {
        let Some(spilled) = &mut self.spilled else { return Ok(()) };
        let converter = RowConverter::new(all_fields(&self.key_schema))?;
        let keys_of = |rows: &RecordBatch| columns.iter().map(|c| canonical_key(rows.column(*c))).collect::<Vec<_>>();
        // The last partition of a batch may go on in the next one.
        let mut rest: Option<RecordBatch> = None;
        for batch in batches {
            let batch = batch?;
            let rows = concat_batches(&batch.schema(), rest.iter().chain([&batch]))?;
            let encoded = converter.convert_columns(&keys_of(&rows))?;
            let Some(last) = rows.num_rows().checked_sub(1) else { continue };
            let same = (0..last).rev().take_while(|row| encoded.row(*row) == encoded.row(last)).count();
            let whole = rows.slice(0, last - same);
            spilled.put(table, Part::Written, &keys_of(&whole), &whole)?;
            rest = Some(rows.slice(last - same, same + 1));
        }
        rest.map_or(Ok(()), |rows| spilled.put(table, Part::Written, &keys_of(&rows), &rows))
    }
}
