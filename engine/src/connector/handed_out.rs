//! Keeps the result of a SELECT on its worker, where whoever asked fetches each part by its ticket: rows go past the
//! coordinator. They come in any order, so nothing is held.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_plans::result_ticket::ResultTicket;

use super::Sink;
use crate::error::Result;
use crate::task::{ResultPart, TaskEnv};

/// The sink of one part.
pub(super) struct HandedOut(Box<dyn ResultPart>);

impl HandedOut {
    pub(super) fn new(result: &str, part: u32, env: &TaskEnv, schema: &SchemaRef) -> Result<Self> {
        let ticket = ResultTicket { result: result.to_owned(), part };
        Ok(Self(env.results.hand_out(ticket, schema)?))
    }
}

impl Sink for HandedOut {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.0.send(batch)
    }

    fn finish(&mut self) -> Result<()> {
        self.0.finish()
    }
}
