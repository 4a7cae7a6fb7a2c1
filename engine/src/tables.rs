//! Reads tables, and writes to sinks, for queries that run as a whole, with the connectors that streams are read with: so a row that is bad in a
//! stream is bad there, and goes to the same dead letters.

mod written;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use tidemill_plans::batch::{BoundedTable, FileGroup, Part, ReadCounts, RowSink, TableReader, TableReaders, TableRows};
use tidemill_plans::ids::{JobId, OperatorId};
use tidemill_plans::node::SinkNode;
use tidemill_plans::settings::Settings;

use self::written::Written;
use crate::connector::{Buckets, Source, SourceEvent, columns_of, groups_of, open_part, open_sink};
use crate::error::{EngineError, Result};
use crate::metrics::OperatorStats;
use crate::operator::Columns;
use crate::rows::show_row;
use crate::state::{ScratchFolder, StateMemory};
use crate::task::{DeadLetter, DeadLetters, LocalTeams, OperatorContext, ResultPort, TaskEnv};

/// Reads tables with the connectors of this crate.
#[derive(Debug, Clone, Copy)]
pub struct ConnectorTables;

impl TableReaders for ConnectorTables {
    fn columns(&self, options: &[(String, String)]) -> DataFusionResult<SchemaRef> {
        columns_of(options).map_err(external)
    }

    fn begin(&self, settings: &Settings) -> DataFusionResult<Arc<dyn TableReader>> {
        let dead_letters = Arc::new(DeadLetters::open(settings).map_err(external)?.each_once());
        let env = TaskEnv {
            job: JobId(0),
            settings: settings.clone(),
            attempt: 0,
            checkpoints: None,
            dead_letters,
            models: Arc::default(),
            served: Arc::default(),
            alignment: Arc::default(),
            results: Arc::new(NoResults),
            state_memory: StateMemory { bytes_max: None, scratch: ScratchFolder::new(PathBuf::new()) },
            query_memory: Arc::default(),
            views: Arc::default(),
            interrupt: Arc::default(),
            teams: Arc::new(LocalTeams::default()),
        };
        let stats = Arc::new(OperatorStats::new(JobId(0), OperatorId(0), 0));
        Ok(Arc::new(Reader { env, stats, buckets: Buckets::default() }))
    }
}

/// Nothing that reads has results.
struct NoResults;

impl ResultPort for NoResults {
    fn send(&self, _operator: OperatorId, _batch: &RecordBatch) -> Result<()> {
        Ok(())
    }
}

/// Reads the tables of one query, whose parts count together.
struct Reader {
    env: TaskEnv,
    stats: Arc<OperatorStats>,
    buckets: Buckets,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl TableReader for Reader {
    fn groups(&self, table: &BoundedTable) -> DataFusionResult<Vec<FileGroup>> {
        groups_of(table, &self.buckets).map_err(external)
    }

    fn open(&self, table: &BoundedTable, columns: &[usize], part: Part) -> DataFusionResult<Box<dyn TableRows>> {
        Ok(Box::new(Rows::open(self, table, columns, part).map_err(external)?))
    }

    fn writer(&self, sink: &SinkNode, columns: SchemaRef) -> DataFusionResult<Box<dyn RowSink>> {
        let sink = open_sink(sink, OperatorId(0), 0, 1, &self.env, Arc::clone(&columns)).map_err(external)?;
        Ok(Box::new(Written::new(sink, columns)))
    }

    fn refuse(&self, operator: &str, row: &RecordBatch, reason: String) -> DataFusionResult<()> {
        OperatorStats::add(&self.stats.dead_letter_rows, 1);
        let letter = || Ok(DeadLetter { operator: operator.to_owned(), reason, row: show_row(row, 0)? });
        self.env.dead_letters.push(letter).map_err(external)
    }

    fn counts(&self) -> ReadCounts {
        let metrics = self.stats.snapshot();
        ReadCounts {
            rows: metrics.rows_out,
            bad_rows: metrics.dead_letter_rows,
            bytes: self.stats.file_bytes.load(Ordering::Relaxed),
            // Readers keep nothing.
            spilled_bytes: 0,
        }
    }
}

/// Rows of a part of a table.
struct Rows {
    source: Box<dyn Source>,
    computed: Columns,
    /// Where the wanted columns are among those that are computed.
    places: Vec<usize>,
    context: OperatorContext,
}

impl Rows {
    fn open(reader: &Reader, table: &BoundedTable, columns: &[usize], part: Part) -> Result<Self> {
        let mut wanted = vec![false; table.columns.fields().len()];
        columns.iter().for_each(|column| wanted[*column] = true);
        table.source.add_needed(&table.columns, &mut wanted)?;
        let mut node = table.source.clone();
        node.narrow(&wanted);
        let made: Vec<usize> = (0..wanted.len()).filter(|column| wanted[*column]).collect();
        let places = columns.iter().filter_map(|column| made.binary_search(column).ok()).collect();
        let schema = Arc::new(table.columns.project(&made)?);
        let computed = Columns::new(&node.projection, &node.read_schema(), schema)?;
        let source = open_part(table, &node, &reader.env, Arc::clone(&reader.stats), part, &reader.buckets)?;
        let name = format!("Source {}", node.table);
        let context = OperatorContext::new(name, reader.env.clone(), Arc::clone(&reader.stats));
        Ok(Self { source, computed, places, context })
    }

    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            match self.source.next_event()? {
                SourceEvent::Batch(batch) => {
                    let rows = self.computed.evaluate_or_route(batch, &self.context)?;
                    OperatorStats::add(&self.context.stats().rows_out, rows.num_rows());
                    return Ok(Some(rows.project(&self.places)?));
                }
                SourceEvent::Idle | SourceEvent::CaughtUp => {}
                SourceEvent::End => return Ok(None),
            }
        }
    }
}

impl TableRows for Rows {
    fn next_rows(&mut self) -> DataFusionResult<Option<RecordBatch>> {
        self.next().map_err(external)
    }
}

fn external(error: EngineError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
