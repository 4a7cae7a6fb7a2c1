//! Takes rows and does nothing with them, or sums their hashes: for measuring what comes before, and for
//! comparing what two runs came to without keeping it.

use arrow::array::RecordBatch;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use tidemill_plans::change::{change_column_index, change_ops};

use super::{Sink, option};
use crate::error::Result;

/// The fixed seed of the hashes.
const SEED: u64 = 0x6368_6563_6b73_756d;

/// The sink; its operator counts the rows.
pub(super) struct Blackhole {
    checksum: Option<u64>,
    hashes: Vec<u64>,
}

impl Blackhole {
    pub(super) fn new(options: &[(String, String)]) -> Self {
        let checksum = (option(options, "checksum") == Some("true")).then_some(0);
        Self { checksum, hashes: Vec::new() }
    }
}

impl Sink for Blackhole {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(checksum) = &mut self.checksum else { return Ok(()) };
        self.hashes.clear();
        self.hashes.resize(batch.num_rows(), 0);
        let change = change_column_index(batch.schema_ref());
        let columns = &batch.columns()[..change.unwrap_or(batch.num_columns())];
        create_hashes(columns, &RandomState::with_seed(SEED), &mut self.hashes)?;
        if change.is_none() {
            *checksum = self.hashes.iter().fold(*checksum, |sum, hash| sum.wrapping_add(*hash));
            return Ok(());
        }
        // What is taken back leaves no trace.
        for (hash, op) in self.hashes.iter().zip(change_ops(batch)?) {
            *checksum = if op.adds() { checksum.wrapping_add(*hash) } else { checksum.wrapping_sub(*hash) };
        }
        Ok(())
    }

    fn takes_any_order(&self) -> bool {
        true
    }

    fn is_io(&self) -> bool {
        false
    }

    fn checksum(&self) -> Option<u64> {
        self.checksum
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidemill_plans::change::with_change_column;

    use super::*;
    use crate::testing::graph::schema;
    use crate::testing::parse_rows;

    fn checksum(columns: &str, updating: bool, batches: &[&str]) -> Option<u64> {
        let columns = schema(columns);
        let columns = if updating { with_change_column(&columns) } else { Arc::clone(&columns) };
        let mut sink = Blackhole::new(&[(String::from("checksum"), String::from("true"))]);
        batches.iter().for_each(|rows| sink.write(&parse_rows(&columns, rows).unwrap()).unwrap());
        sink.checksum()
    }

    #[test]
    fn a_checksum_depends_on_the_rows_but_not_on_their_order() {
        let rows = "k:text v:int";
        let sum = checksum(rows, false, &["a 1\nb 2\nb 2"]);
        assert_eq!(sum, checksum(rows, false, &["b 2", "a 1\nb 2"]));
        for other in ["a 1\nb 2", "a 1\nb 2\nb 3", "a 2\nb 1\nb 2", "a 1\nb 2\n- 2"] {
            assert_ne!(sum, checksum(rows, false, &[other]), "{other}");
        }
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace() {
        let rows = "k:text v:int";
        let updated = checksum(rows, true, &["a 1 0\nb 2 0", "a 1 1\na 3 2\nb 2 3"]);
        assert_eq!(updated, checksum(rows, false, &["a 3"]));
    }
}
