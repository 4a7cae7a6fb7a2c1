//! Rows that are there as soon as they are written: without checkpoints, and where each may be there more than once.

use arrow::array::RecordBatch;

use super::session::Session;
use super::table::Table;
use crate::connector::Sink;
use crate::error::Result;

/// See the [module](self).
pub(super) struct DirectSink {
    table: Table,
    session: Session,
}

impl DirectSink {
    pub(super) fn new(table: Table, session: Session) -> Self {
        Self { table, session }
    }
}

impl Sink for DirectSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.session.execute("write to", "BEGIN")?;
        match self.table.has_key() {
            true => self.table.replace(&self.session, batch)?,
            false => self.table.append(&self.session, batch)?,
        }
        self.session.execute("commit to", "COMMIT")
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
