//! Which compute thread a task runs on.

/// How many tasks each compute thread of a worker has.
///
/// Tasks come in the order of their subtasks and go where there are fewest, the first of equals: so
/// the instances of a stage are dealt out in turn, and short stages do not all end up on one thread.
#[derive(Debug)]
pub(crate) struct SlotTable {
    load: Vec<usize>,
}

/// A compute thread's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SlotId(pub(crate) usize);

impl SlotTable {
    /// A table of `slots` threads, at least one.
    pub(crate) fn new(slots: usize) -> Self {
        Self { load: vec![0; slots.max(1)] }
    }

    /// A place for one more task.
    pub(crate) fn place(&mut self) -> SlotId {
        let index = (0..self.load.len()).min_by_key(|index| self.load[*index]).unwrap_or(0);
        self.load[index] += 1;
        SlotId(index)
    }

    /// Gives a task's place back.
    pub(crate) fn free(&mut self, slot: SlotId) {
        debug_assert!(self.load[slot.0] > 0, "a place was given back twice");
        self.load[slot.0] = self.load[slot.0].saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_dealt_out_in_turn_and_fill_what_is_free() {
        let mut slots = SlotTable::new(3);
        let placed: Vec<usize> = (0..7).map(|_| slots.place().0).collect();
        assert_eq!(placed, [0, 1, 2, 0, 1, 2, 0]);
        slots.free(SlotId(1));
        assert_eq!(slots.place(), SlotId(1));
        assert_eq!(SlotTable::new(0).place(), SlotId(0));
    }
}
