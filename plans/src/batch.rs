//! Queries that are run as a whole over tables that end: what planning hands to the engine that runs them, and what reads
//! their rows where that engine would read them differently than a stream does.

pub mod progress;
pub mod work;

use std::fmt::Debug;
use std::ops::AddAssign;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlan, TableSource};

use crate::explain::PLAN_COLUMN;
use crate::node::{SinkNode, SourceNode};
use crate::settings::Settings;

/// A query, resolved and typed. Each leaf of the plan that reads a table has a [`BoundedTable`] as its source.
#[derive(Debug, Clone)]
pub struct BatchQuery {
    /// What it does, with its order and limit; not optimised yet.
    pub plan: LogicalPlan,
    /// Its columns, with the names that the user sees.
    pub columns: SchemaRef,
    /// What is wanted of it.
    pub wanted: Wanted,
    /// Where its rows go.
    pub destination: Destination,
}

/// What is wanted of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// That it runs.
    Rows,
    /// How it would run.
    Plan,
    /// That it runs, and how it has.
    Analysis,
}

/// Where the rows of a query go. What is written is there once all of it is, or not at all; whoever asks gets the number
/// of rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Destination {
    /// To whoever asks.
    Asker,
    /// Into files, by whoever runs the query.
    Files(CopyTarget),
    /// Into a sink.
    Sink(Box<SinkNode>),
}

/// Files that a query's rows are written to. They are there once all rows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyTarget {
    /// As the user wrote it.
    pub path: String,
    /// How they are encoded.
    pub format: CopyFormat,
    /// What the path is to be.
    pub layout: CopyLayout,
    /// Options of the format, as DataFusion names them.
    pub options: Vec<(String, String)>,
    /// The columns whose values are the names of folders in a folder.
    pub partition_by: Vec<String>,
    /// Options of the store, if the path is a URL.
    pub store: Vec<(String, String)>,
}

/// What is written to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyLayout {
    /// A file, in the place of one that may be there.
    File,
    /// A folder, which is not there yet or has nothing in it.
    Folder,
    /// A folder, in the place of the one that is there.
    Replacement,
    /// One more file in a folder.
    Addition,
}

/// How a file is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFormat {
    /// Parquet.
    Parquet,
    /// CSV, with a header.
    Csv,
    /// JSON, an object a line.
    Json,
    /// Arrow IPC.
    Arrow,
}

impl CopyFormat {
    /// The format of this name, in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.to_lowercase().as_str() {
            "parquet" => Self::Parquet,
            "csv" => Self::Csv,
            "json" | "ndjson" => Self::Json,
            "arrow" => Self::Arrow,
            _ => return None,
        })
    }

    /// What the names of such files end in.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Arrow => "arrow",
        }
    }
}

impl BatchQuery {
    /// The columns of what whoever asks gets.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        match (self.wanted, &self.destination) {
            (Wanted::Plan | Wanted::Analysis, _) => {
                Arc::new(Schema::new(vec![Field::new(PLAN_COLUMN, DataType::Utf8, false)]))
            }
            (Wanted::Rows, Destination::Asker) => Arc::clone(&self.columns),
            (Wanted::Rows, Destination::Files(_) | Destination::Sink(_)) => count_column(),
        }
    }

    /// The same query with other options of its tables and of what it writes to, which `change` changes in place, or
    /// says why not.
    pub fn with_options(
        mut self,
        mut change: impl FnMut(&mut Vec<(String, String)>) -> Result<(), String>,
    ) -> Result<Self, String> {
        let mut refused = None;
        let changed = self.plan.transform_up_with_subqueries(|plan| {
            let LogicalPlan::TableScan(mut scan) = plan else { return Ok(Transformed::no(plan)) };
            let Some(mut table) = scan.source.downcast_ref::<BoundedTable>().cloned() else {
                return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
            };
            refused = refused.take().or(change(&mut table.source.options).err());
            scan.source = Arc::new(table);
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        });
        self.plan = changed.map_err(|error| error.to_string())?.data;
        if let Some(refused) = refused {
            return Err(refused);
        }
        match &mut self.destination {
            Destination::Asker => {}
            Destination::Files(target) => change(&mut target.store)?,
            Destination::Sink(sink) => change(&mut sink.options)?,
        }
        Ok(self)
    }

    /// The tables that it reads, each once, in the order of the plan.
    pub fn tables(&self) -> Result<Vec<SourceNode>> {
        let mut tables: Vec<SourceNode> = Vec::new();
        self.plan.apply_with_subqueries(|plan| {
            if let LogicalPlan::TableScan(scan) = plan
                && let Some(table) = scan.source.downcast_ref::<BoundedTable>()
                && tables.iter().all(|known| known.table != table.source.table)
            {
                tables.push(table.source.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(tables)
    }
}

/// The column of how many rows have been written.
#[must_use]
pub fn count_column() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("count", DataType::Int64, false)]))
}

/// A table whose rows end, have no time and do not change, as a plan's leaf.
#[derive(Debug, Clone)]
pub struct BoundedTable {
    /// What it is.
    pub source: SourceNode,
    /// Its columns.
    pub columns: SchemaRef,
    /// Its files, if they have been chosen; else those that its options name.
    pub files: Option<Vec<PathBuf>>,
}

/// Files of a table that are read alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileGroup {
    /// The files, in the order of their paths.
    pub files: Vec<PathBuf>,
    /// Which columns their folders say, and what these are.
    pub partition: Vec<(usize, Option<String>)>,
    /// Which columns they do not have, though others of the table do.
    pub missing: Vec<usize>,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl TableSource for BoundedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }
}

/// Gives each query what reads its tables.
pub trait TableReaders: Debug + Send + Sync {
    /// The columns of the files that these options of a source name. Waits for the disk.
    fn columns(&self, options: &[(String, String)]) -> Result<SchemaRef>;

    /// For a query with these settings, which say what becomes of bad rows.
    fn begin(&self, settings: &Settings) -> Result<Arc<dyn TableReader>>;
}

/// Reads tables, and writes to sinks, for one query as streams do: what is a bad row there is one here. Shared by the query's threads.
pub trait TableReader: Debug + Send + Sync {
    /// The files of a table, which are at least one. Waits for the disk.
    fn groups(&self, table: &BoundedTable) -> Result<Vec<FileGroup>>;

    /// The rows of one of so many parts of a table, with the columns of these places. Waits for the disk.
    fn open(&self, table: &BoundedTable, columns: &[usize], part: Part) -> Result<Box<dyn TableRows>>;

    /// Begins to write rows with these columns to a sink. Waits for the outside.
    fn writer(&self, sink: &SinkNode, columns: SchemaRef) -> Result<Box<dyn RowSink>>;

    /// Takes a row, the only one of its batch, that `operator` could not use.
    fn refuse(&self, operator: &str, row: &RecordBatch, reason: String) -> Result<()>;

    /// What has been read by now.
    fn counts(&self) -> ReadCounts;
}

/// Which part of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 0 on.
    pub number: u32,
    /// How many there are.
    pub of: u32,
}

/// What has been read of the tables of a query.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct ReadCounts {
    /// Rows that could be used.
    pub rows: u64,
    /// Rows that could not, there or behind.
    pub bad_rows: u64,
    /// Bytes of files that have been read, or that nobody has to read any more.
    pub bytes: u64,
    /// Bytes that had no room in memory.
    pub spilled_bytes: u64,
}

impl AddAssign for ReadCounts {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.bad_rows += other.bad_rows;
        self.bytes += other.bytes;
        self.spilled_bytes += other.spilled_bytes;
    }
}

/// Rows of a part of a table. Used by one thread.
pub trait TableRows: Send {
    /// The next rows; nothing behind the last. Waits for the disk.
    fn next_rows(&mut self) -> Result<Option<RecordBatch>>;
}

/// Writes rows to a sink. Used by one thread at a time. Dropped before it has finished, it has written nothing.
pub trait RowSink: Send {
    /// Takes rows. Waits for the outside.
    fn write(&mut self, rows: RecordBatch) -> Result<()>;

    /// Completes what was written. Waits for the outside.
    fn finish(self: Box<Self>) -> Result<()>;
}
