//! Takes rows and does nothing with them, or sums their hashes: for measuring what comes before, and for
//! comparing what two runs came to without keeping it.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::datatypes::UInt64Type;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use tidemill_plans::change::{change_column_index, change_ops};

use super::{Sink, option};
use crate::error::Result;
use crate::state::{Belongs, StateReader, StateWriter};

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

    fn is_io(&self) -> bool {
        false
    }

    fn checksum(&self) -> Option<u64> {
        self.checksum
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        let Some(checksum) = self.checksum else { return Ok(()) };
        // A row: instances that change in number share the sums out, whichever has which.
        let sum: ArrayRef = Arc::new(UInt64Array::from(vec![checksum]));
        state.rows("checksum", Belongs::Anywhere, [RecordBatch::try_from_iter([("sum", sum)])?]);
        Ok(())
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        if let Some(checksum) = &mut self.checksum {
            for sums in state.rows("checksum")? {
                let sums = sums.column(0).as_primitive::<UInt64Type>();
                *checksum = sums.values().iter().fold(*checksum, |sum, other| sum.wrapping_add(*other));
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tidemill_plans::change::with_change_column;
    use tidemill_plans::ids::Epoch;

    use super::*;
    use crate::state::Snapshot;
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

    #[test]
    fn sums_go_on_from_a_checkpoint_whatever_the_parallelism() {
        let rows = schema("k:text v:int");
        let sink = |rows_of: &str| {
            let mut sink = Blackhole::new(&[(String::from("checksum"), String::from("true"))]);
            sink.write(&parse_rows(&rows, rows_of).unwrap()).unwrap();
            sink
        };
        let written = ["a 1\nb 2", "c 3", "a 1"].map(|rows_of| {
            let mut snapshot = Snapshot::default();
            sink(rows_of).snapshot(&mut snapshot.writer(Epoch(1))).unwrap();
            snapshot
        });
        for parallelism in 1..4 {
            let sums = (0..parallelism).map(|subtask| {
                let mut sink = sink("d 4");
                sink.restore(&StateReader::new(&written, subtask, parallelism)).unwrap();
                sink.checksum().unwrap()
            });
            let added = "d 4\n".repeat(parallelism as usize);
            let all = checksum("k:text v:int", false, &[&format!("a 1\nb 2\nc 3\na 1\n{added}")]);
            assert_eq!(Some(sums.fold(0, u64::wrapping_add)), all);
        }
    }
}
