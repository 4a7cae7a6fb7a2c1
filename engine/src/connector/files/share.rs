//! Deals what a source reads out to its subtasks.

use super::source::Split;

/// One subtask among all of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// Its number, from 0 on.
    pub(super) subtask: u32,
    /// How many there are.
    pub(super) parallelism: u32,
}

impl Share {
    /// Whether the subtask reads the split of this number: they are dealt out in turn.
    pub(super) fn owns(self, split: usize) -> bool {
        split % self.parallelism as usize == self.subtask as usize
    }
}

/// The splits of a source.
#[derive(Default)]
pub(super) struct Splits {
    /// What this subtask reads, in order.
    pub(super) own: Vec<Box<dyn Split>>,
    /// How many splits all subtasks read together.
    pub(super) all: usize,
}
