//! Joins each row with the rows of an external table as they are now.

use crate::expr::StreamSchema;

/// A look-up join (`FOR SYSTEM_TIME AS OF PROCTIME()`). Output: the input's columns, then the table's.
/// What the table holds is asked when a row comes: a replay may see another answer.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct LookupJoinNode {
    /// The table.
    pub table: LookupTable,
    /// Key columns of the input.
    pub input_keys: Vec<usize>,
    /// Whether rows for which the table has none stay, with NULLs.
    pub keeps_unmatched: bool,
}

/// An external table that is asked by key.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct LookupTable {
    /// Its name in the catalog.
    pub name: String,
    /// The connector.
    pub connector: String,
    /// The connector's options, checked.
    pub options: Vec<(String, String)>,
    /// The names of all its columns, in the order in which they stand in data without names.
    pub declared: Vec<String>,
    /// The columns that are fetched.
    pub columns: StreamSchema,
    /// Those of them that are compared with the input's keys, in their order.
    pub keys: Vec<usize>,
    /// How many rows are kept for the next rows with their keys.
    pub cache_rows: u64,
    /// For how long what was fetched is true, in microseconds.
    pub cache_ttl: i64,
}
