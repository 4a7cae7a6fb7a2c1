//! The Nexmark benchmark's event log, generated: people, the auctions that they open, and bids.
//!
//! After Tucker, Tufte, Papadimos and Maier, "NEXMark – a benchmark for queries over data streams"
//! (2002), with the parameters of the generator that Flink's benchmark uses. Its random numbers are not
//! that generator's: every event is a function of the seed and of its number alone, so subtasks make
//! any part of the log, and sources of the three tables belong to one log.

mod columns;
mod log;
mod text;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use tidemill_plans::PlanError;
use tidemill_plans::connector::{Direction, timestamp, value};
use tidemill_plans::node::SourceNode;

use self::columns::Column;
use self::log::{Events, Log, Table};
use super::generated::{self, Generate, GeneratedOptions};
use super::share::Share;
use super::{Source, number};
use crate::error::{EngineError, Result};
use crate::task::TaskEnv;

/// Opens one subtask's share of a table.
pub(super) fn open_source(node: &SourceNode, env: &TaskEnv, share: Share) -> Result<Box<dyn Source>> {
    let rows = NexmarkRows::new(&node.options, Arc::clone(&node.columns.0))?;
    let options = GeneratedOptions {
        rows: rows.table.rows_of(number(&node.options, "events").unwrap_or(Log::EVENTS_MAX)),
        batch_rows: u64::from(env.settings.source_batch_rows),
        rows_per_second: number(&node.options, "rows_per_second"),
        share,
    };
    Ok(generated::open(rows, &options, node))
}

/// Makes rows of one table.
struct NexmarkRows {
    log: Log,
    table: Table,
    columns: Vec<Column>,
    schema: SchemaRef,
}

impl NexmarkRows {
    fn new(options: &[(String, String)], schema: SchemaRef) -> Result<Self> {
        let option = |name: &str| {
            value("nexmark", Direction::Source, options, name).ok_or_else(|| invalid(format!("no option '{name}'")))
        };
        let whole = |name: &str| {
            option(name)?.parse::<u64>().map_err(|_| invalid(format!("option '{name}' is no whole number")))
        };
        let first_time = timestamp("first_event_time", option("first_event_time")?)?;
        let log = Log { seed: whole("seed")?, event_rate: whole("event_rate")?.max(1), first_time: first_time.0 };
        let name = option("table")?;
        let table = Table::of(name).ok_or_else(|| invalid(format!("no table '{name}'")))?;
        let column = |name: &str| {
            Column::of(table, name, &log).ok_or_else(|| invalid(format!("no column '{name}' that can be generated")))
        };
        let columns = schema.fields().iter().map(|field| column(field.name())).collect::<Result<_>>()?;
        Ok(Self { log, table, columns, schema })
    }
}

fn invalid(what: String) -> EngineError {
    PlanError::InvalidOption(format!("connector 'nexmark': {what}")).into()
}

impl Generate for NexmarkRows {
    fn rows(&self, numbers: Range<u64>) -> Result<RecordBatch> {
        let rows = (numbers.end - numbers.start) as usize;
        let events = Events::new(self.table, numbers);
        let columns: Result<Vec<ArrayRef>> =
            self.columns.iter().map(|column| column.values(&self.log, &events)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns?, &options)?)
    }
}

#[cfg(test)]
mod tests;
