//! Makes a changelog of the last rows of keys, as Flink's ChangelogNormalize does.

use crate::node::TimeToLive;

/// Rows replace each other by key. Each comes as a change: one that adds is what its key's row is now, and of
/// one that takes away only the key counts. Output: the input's rows as inserts, updates and deletions of
/// what was there. A row that changes nothing makes no change, and neither does a deletion of no row.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct NormalizeNode {
    /// Key columns, by which the input is partitioned.
    pub keys: Vec<usize>,
    /// How long the row of a key is kept that no row touches. What is dropped is not taken back.
    pub ttl: Option<TimeToLive>,
}
