//! Takes rows and does nothing with them: for measuring what comes before.

use arrow::array::RecordBatch;

use super::Sink;
use crate::error::Result;

/// The sink; its operator counts the rows.
pub(super) struct Blackhole;

impl Sink for Blackhole {
    fn write(&mut self, _batch: &RecordBatch) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
