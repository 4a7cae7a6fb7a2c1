//! Which of an operator's keys have changed since its state was written.
//!
//! Keys are known by their numbers, but those that are gone by themselves: their numbers are others' before state is
//! written again.

use arrow::array::RecordBatch;

use crate::state::StateWriter;
use crate::state::spill::Part;

/// So many keys that are gone are remembered, however few there are.
pub(super) const GONE_MIN: usize = if cfg!(test) { 2 } else { 4096 };

/// Nothing is noted before state has been written that changes could go on from.
#[derive(Default)]
pub(super) struct ChangedKeys {
    is_noting: bool,
    /// A bit for each number: whether it is among those that have changed.
    marks: Vec<u64>,
    changed: Vec<u32>,
    gone: Vec<RecordBatch>,
    gone_rows: usize,
}

/// Of so many numbers those that are not live.
pub(super) fn others(live: &[u32], all: usize) -> Vec<u32> {
    let mut live = live.iter().peekable();
    (0..all as u32).filter(|number| live.next_if_eq(&number).is_none()).collect()
}

/// What has changed.
pub(super) struct Changed {
    /// The numbers of the keys, in order. Some of them may be gone.
    pub(super) numbers: Vec<u32>,
    /// Keys that are gone; some of them may have come again.
    pub(super) gone: Vec<RecordBatch>,
}

/// What has become of keys of which some were dropped.
pub(super) struct Dropped {
    /// The numbers of those that are left in memory: the i-th has the number i now.
    pub(super) live: Vec<u32>,
    /// The others, if it is noted what has changed.
    pub(super) gone: Option<RecordBatch>,
    /// How many are left, in memory or not.
    pub(super) left: usize,
}

impl ChangedKeys {
    /// A key has come or changed.
    pub(super) fn note(&mut self, number: usize) {
        if !self.is_noting {
            return;
        }
        let (word, bit) = (number / 64, 1 << (number % 64));
        if word >= self.marks.len() {
            self.marks.resize((word + 1).next_power_of_two(), 0);
        }
        if self.marks[word] & bit == 0 {
            self.marks[word] |= bit;
            self.changed.push(number as u32);
        }
    }

    /// Whether a key is among them.
    pub(super) fn has(&self, number: u32) -> bool {
        self.marks.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Whether anybody wants to know which keys are gone.
    pub(super) fn is_noting(&self) -> bool {
        self.is_noting
    }

    /// Keys are gone, as rows of their columns; so many are left. If that is less than what is gone, it is not worth
    /// while to know what has changed: all that is left is written.
    pub(super) fn note_gone(&mut self, keys: RecordBatch, left: usize) {
        self.gone_rows += keys.num_rows();
        if self.gone_rows > left.max(GONE_MIN) {
            *self = Self::default();
        } else if self.is_noting {
            self.gone.push(keys);
        }
    }

    /// Keys were dropped. If nobody knows which, all that is left is written.
    pub(super) fn note_dropped(&mut self, dropped: &Dropped) {
        let Some(gone) = &dropped.gone else {
            *self = Self::default();
            return;
        };
        self.keep(&dropped.live);
        self.note_gone(gone.clone(), dropped.left);
    }

    /// Keys go to disk: those that have changed, and those that are there as they were written.
    pub(super) fn parts(&self, numbers: &[u32]) -> [(Part, Vec<u32>); 2] {
        let (unwritten, written) = numbers.iter().partition(|number| self.has(**number));
        [(Part::Unwritten, unwritten), (Part::Written, written)]
    }

    /// Only these keys are left: the i-th has the number i now.
    pub(super) fn keep(&mut self, live: &[u32]) {
        let changed: Vec<u32> = (0..live.len() as u32).filter(|new| self.has(live[*new as usize])).collect();
        self.marks = Vec::new();
        self.changed = Vec::new();
        changed.into_iter().for_each(|number| self.note(number as usize));
    }

    /// What has changed since state was written, or restored, last; none if all of it has to be written. It is written
    /// now.
    pub(super) fn take(&mut self, state: &StateWriter<'_>) -> Option<Changed> {
        let Self { is_noting, changed: mut numbers, gone, .. } = std::mem::take(self);
        self.is_noting = true;
        numbers.sort_unstable();
        (is_noting && state.takes_changes()).then_some(Changed { numbers, gone })
    }

    /// State has been restored: changes from now on may go on from it.
    pub(super) fn begin(&mut self) {
        *self = Self { is_noting: true, ..Self::default() };
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let gone: usize = self.gone.iter().map(RecordBatch::get_array_memory_size).sum();
        self.marks.capacity() * size_of::<u64>() + self.changed.capacity() * size_of::<u32>() + gone
    }
}
