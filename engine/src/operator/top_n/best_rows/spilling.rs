//! Partitions that have no room in memory: their rows go to disk, best first, and come back in that order.

use super::{Best, BestRows, KeptRows, OUTPUT_ROWS};
use crate::error::Result;
use crate::operator::spilled_partitions::Table;
use crate::state::spill::Part;

impl BestRows {
    /// Has partitions go, if there is no room for all. None may be marked.
    pub(super) fn spill_cold(&mut self) -> Result<()> {
        let Some(cold) = self.partitions.take_cold(self.bytes(), 0) else { return Ok(()) };
        debug_assert!(self.marks.changed.is_empty(), "changes are taken before partitions go");
        for (part, partitions) in self.unwritten.parts(&cold) {
            self.put_away(part, &partitions)?;
        }
        let live = self.partitions.let_go(&cold)?;
        self.unwritten.keep(&live);
        self.keep(&live);
        let Best { store, places, .. } = &mut self.best;
        store.compact(&self.keys, |partition, old, new| places[partition].replace(old, new))
    }

    /// Makes room for partitions that are new in memory, with the rows of those that come back.
    pub(super) fn take_back(&mut self) -> Result<()> {
        self.best.grow(self.partitions.len());
        self.marks.marked.resize(self.partitions.len(), false);
        let Some(back) = self.partitions.take_back(Table::Rows)? else { return Ok(()) };
        // The next snapshot may lack what the store held.
        back.numbers.iter().for_each(|partition| self.unwritten.note(*partition));
        self.best.take_up(&back, &self.keys, self.limit)
    }

    /// Puts rows of partitions on disk.
    fn put_away(&mut self, part: Part, partitions: &[u32]) -> Result<()> {
        let (mut of, mut places) = (Vec::new(), Vec::new());
        for (index, partition) in partitions.iter().enumerate() {
            let own = self.best.places[*partition as usize].as_slice();
            places.extend_from_slice(own);
            of.resize(places.len(), *partition);
            if places.len() >= OUTPUT_ROWS || index + 1 == partitions.len() {
                self.partitions.put(Table::Rows, part, &self.best.store.gather(&places)?, &of)?;
                places.clear();
                of.clear();
            }
        }
        Ok(())
    }
}
