//! Puts the rows of several inputs with one schema together, in no particular order.

/// UNION ALL: every input arrives on port 0.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct UnionNode {}
