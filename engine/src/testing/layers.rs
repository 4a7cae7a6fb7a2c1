//! The state of an operator as a task writes it: all of it, then what has changed, through bytes.

use tidemill_plans::ids::Epoch;

use crate::error::Result;
use crate::operator::Operator;
use crate::state::{Snapshot, StateMemory};

/// Each so many-th snapshot is of everything.
const WHOLE_EACH: u64 = 4;

/// Once there are so many, those behind the first are put together. Others follow them.
const MERGED_AT: usize = 3;

/// Snapshots of one operator, each since the one before.
#[derive(Clone, Default)]
pub(super) struct Layers {
    layers: Vec<Snapshot>,
    newest: Epoch,
    taken: u64,
}

impl Layers {
    /// Takes a snapshot. What is put together is with so much memory.
    pub(super) fn take(&mut self, operator: &mut dyn Operator, memory: &StateMemory) -> Result<()> {
        let is_whole = self.layers.is_empty() || self.taken.is_multiple_of(WHOLE_EACH);
        self.taken += 1;
        let (before, epoch) = (self.newest, Epoch(self.newest.0 + 1));
        let mut snapshot = Snapshot::default();
        match is_whole {
            true => operator.snapshot(&mut snapshot.writer(epoch))?,
            false => operator.snapshot(&mut snapshot.writer_of_changes(epoch, before))?,
        }
        if !snapshot.has_changes() {
            self.layers.clear();
        }
        self.newest = epoch;
        self.layers.push(snapshot);
        if self.layers.len() == MERGED_AT {
            let newest = self.layers.split_off(1);
            self.layers.push(Snapshot::merged_changes(through_bytes(&newest)?, memory)?);
        }
        Ok(())
    }

    /// The newest state.
    pub(super) fn merged(&self, memory: &StateMemory) -> Result<Snapshot> {
        Snapshot::merged(through_bytes(&self.layers)?, memory)
    }
}

fn through_bytes(layers: &[Snapshot]) -> Result<Vec<Snapshot>> {
    layers.iter().map(|layer| Snapshot::from_bytes(&layer.to_bytes()?)).collect()
}
