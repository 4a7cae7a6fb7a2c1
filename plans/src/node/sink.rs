//! Writes rows to a connector.

use crate::connector::{VIEW_CONNECTOR, writes_in_parallel};

/// A sink of a job's graph.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct SinkNode {
    /// The name it was created under, or the number of the SELECT whose result it carries.
    pub table: String,
    /// The connector's name, such as `files`.
    pub connector: String,
    /// The connector's options as the user wrote them, already checked.
    pub options: Vec<(String, String)>,
    /// Index of the input's event-time column, if it has one: rows are then written in its order.
    pub time: Option<usize>,
    /// Columns that identify a row of an updating input: a row replaces the one with equal values.
    pub upsert_keys: Vec<usize>,
    /// The order of a bounded result (ORDER BY of the outermost SELECT).
    pub order_by: Vec<SortColumn>,
    /// At most so many rows of a result.
    pub limit: Option<u64>,
    /// Whether a result's rows go to the session as they come, changes as changes: there may be no end to wait for, or
    /// nobody wants an order.
    pub live: bool,
}

impl SinkNode {
    /// A sink without options, which writes rows as they come.
    #[must_use]
    pub fn new(table: &str, connector: &str) -> Self {
        Self {
            table: table.to_owned(),
            connector: connector.to_owned(),
            options: Vec::new(),
            time: None,
            upsert_keys: Vec::new(),
            order_by: Vec::new(),
            limit: None,
            live: false,
        }
    }

    /// The event-time column, if rows wait to be written in its order: not where the order makes no difference.
    #[must_use]
    pub fn waits_by(&self) -> Option<usize> {
        let is_keyed = !self.upsert_keys.is_empty();
        let takes_any_order = self.connector == VIEW_CONNECTOR || writes_in_parallel(&self.connector, is_keyed);
        self.time.filter(|_| !takes_any_order)
    }
}

/// One column of an ORDER BY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct SortColumn {
    /// Index of the column.
    pub column: usize,
    /// Largest first.
    pub descending: bool,
    /// NULLs before everything else.
    pub nulls_first: bool,
}
