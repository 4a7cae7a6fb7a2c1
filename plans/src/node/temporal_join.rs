//! Joins each row with the newest row of the other side as of its event time.

/// An event-time temporal join (`FOR SYSTEM_TIME AS OF`, `ASOF JOIN`). The right side's rows are versions:
/// of those with an equal key and an event time not after the left row's, the newest joins. Output: the left
/// columns, then the right ones, at the left row's event time.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct TemporalJoinNode {
    /// Key columns of the left input.
    pub left_keys: Vec<usize>,
    /// Key columns of the right input, pairwise equal to the left ones.
    pub right_keys: Vec<usize>,
    /// Event-time column of the left input.
    pub left_time: usize,
    /// Event-time column of the right input: from when on a version is valid.
    pub right_time: usize,
    /// Whether a version of the left row's very time counts.
    pub bound: VersionBound,
    /// What happens to left rows without a version.
    pub kind: TemporalJoinKind,
    /// For how much event time a version is found, in microseconds: a key that has had none for longer has none,
    /// and its versions are dropped. `None` for ever. It counts from a version to the left row, so what is found
    /// does not depend on when anything is dropped.
    pub ttl: Option<i64>,
}

/// Which versions a left row may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum VersionBound {
    /// Those not after its event time.
    AtOrBefore,
    /// Those before its event time.
    Before,
}

/// What happens to left rows without a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum TemporalJoinKind {
    /// They are left out.
    Inner,
    /// They are kept, with NULLs on the right.
    Left,
}
