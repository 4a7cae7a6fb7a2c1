//! One subtask of a source among all of them.

/// One subtask among all of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// Its number, from 0 on.
    pub(super) subtask: u32,
    /// How many there are.
    pub(super) parallelism: u32,
}

impl Share {
    /// Whether the subtask has the part of this number: they are dealt out in turn.
    pub(super) fn owns(self, part: usize) -> bool {
        part % self.parallelism as usize == self.subtask as usize
    }
}
