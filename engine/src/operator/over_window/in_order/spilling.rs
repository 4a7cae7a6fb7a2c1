//! Partitions that have no room in memory go to disk, with the rows that they hold, unless some of those wait to be
//! emitted: they come out as time passes, and nothing else asks for them.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::InOrderOver;
use crate::error::Result;
use crate::operator::held_rows::Place;
use crate::operator::spilled_partitions::{Back, Table};
use crate::operator::state_rows::STATE_ROWS;
use crate::state::StateReader;
use crate::state::spill::Part;

impl InOrderOver {
    /// Bytes of what is known of partitions, in memory.
    pub(super) fn known_bytes(&self) -> usize {
        let unwritten = self.unwritten.bytes() + self.emptied.bytes();
        self.held.bytes() + self.partitions.bytes() + self.bytes + unwritten
    }

    /// Has partitions go, if there is no room for all of them.
    pub(super) fn spill(&mut self) -> Result<()> {
        if !self.partitions.lacks_room(self.known_bytes(), self.waiting.bytes()) {
            return Ok(());
        }
        // Rows that nobody needs are the first to go.
        self.compact()?;
        let Some(mut cold) = self.partitions.take_cold(self.known_bytes(), self.waiting.bytes()) else { return Ok(()) };
        cold.retain(|partition| self.states[*partition as usize].pending.is_none());
        if cold.is_empty() {
            return Ok(());
        }
        for (part, partitions) in self.unwritten.parts(&cold) {
            for partitions in partitions.chunks(STATE_ROWS) {
                self.put_away(part, partitions)?;
            }
        }
        let live = self.partitions.let_go(&cold)?;
        self.unwritten.keep(&live);
        self.keep(&live);
        self.compact()
    }

    fn put_away(&mut self, part: Part, partitions: &[u32]) -> Result<()> {
        if let Some(states) = self.states_of(partitions)? {
            self.partitions.put(Table::Known, part, &states, partitions)?;
        }
        let (mut rows, mut of): (Vec<Place>, Vec<u32>) = (Vec::new(), Vec::new());
        let mut emptied = Vec::new();
        for partition in partitions {
            let (batch, first, len) = self.states[*partition as usize].held;
            rows.extend((first..first + len).map(|row| (batch, row)));
            of.resize(rows.len(), *partition);
            emptied.extend((part == Part::Unwritten && len == 0).then_some(*partition));
        }
        let held = self.held.gather(&rows)?.project(&(0..self.input_columns).collect::<Vec<_>>())?;
        self.partitions.put(Table::Rows, part, &held, &of)?;
        if !emptied.is_empty() {
            self.emptied.note_gone(self.partitions.keys(&emptied)?, self.states.len());
        }
        Ok(())
    }

    /// Makes room for so many partitions.
    pub(super) fn grow(&mut self, partitions: usize) -> Result<()> {
        while self.states.len() < partitions {
            self.add_state()?;
        }
        Ok(())
    }

    /// Makes room for partitions that are new in memory, with what is known of those that come back.
    pub(super) fn take_back(&mut self) -> Result<()> {
        self.grow(self.partitions.len())?;
        let Some(Back { numbers, rows: states }) = self.partitions.take_back(Table::Known)? else { return Ok(()) };
        let mut known = Vec::new();
        self.read_states(&states, &mut known)?;
        // The next snapshot may lack what the store held.
        numbers.iter().for_each(|partition| self.unwritten.note(*partition));
        let held = self.partitions.take_back(Table::Rows)?;
        let none = RecordBatch::new_empty(Arc::clone(self.waiting.schema()));
        let Back { numbers: of, rows } = held.unwrap_or(Back { numbers: Vec::new(), rows: none });
        self.take_up(numbers.into_iter().zip(known), &rows, &of)
    }

    /// Has what was written on disk, from where it comes back, a part at a time: some of it waits to be emitted, and
    /// stays.
    pub(super) fn read_spilled(&mut self, state: &StateReader<'_>) -> Result<()> {
        let columns: Vec<usize> = (0..self.partitions.key_schema().fields().len()).collect();
        self.partitions.put_read(Table::Known, &columns, state.batches("states")?)?;
        let own = self.partitions.columns().to_vec();
        self.partitions.put_read(Table::Rows, &own, state.part("held").batches("rows")?)?;
        for batch in state.batches("states")? {
            self.partitions.of_keys(&batch?)?;
            self.take_back()?;
            self.spill()?;
        }
        Ok(())
    }
}
