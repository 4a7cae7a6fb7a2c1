//! Where rows come from and go to: the only code of a task that waits for the outside.
//!
//! A connector's options are declared in [`tidemill_plans::connector`], where the planner checks
//! them; here they are used. A [`Source`] runs on an I/O thread of its own, a [`Sink`] in its task's.

mod blackhole;
mod changes;
mod datagen;
mod files;
mod generated;
mod handed_out;
mod logged;
mod lookup;
mod nexmark;
mod pace;
#[cfg(test)]
mod positions;
mod postgres;
mod print;
mod pushed;
mod random;
mod result;
mod served_model;
mod share;
pub mod transactions;
mod values;
mod view;

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_plans::PlanError;
use tidemill_plans::batch::{BoundedTable, FileGroup, Part};
use tidemill_plans::connector::{MODEL_CONNECTOR, RESULT_CONNECTOR, VALUES_CONNECTOR, VIEW_CONNECTOR, option};
use tidemill_plans::ids::{Epoch, OperatorId};
use tidemill_plans::node::{SinkNode, SourceNode};
use tidemill_plans::pushed::{LogNeed, PUSH_CONNECTOR, TABLE_CONNECTOR};
use tidemill_plans::result_ticket::RESULT_OPTION;

pub(crate) use self::files::Buckets;
pub(crate) use self::lookup::Lookup;
pub use self::served_model::ServedVersions;
use self::share::Share;
pub use self::view::Views;
use crate::error::{EngineError, Result};
use crate::metrics::OperatorStats;
use crate::state::{Belongs, StateReader, StateWriter};
use crate::task::TaskEnv;

/// What a source has to say.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceEvent {
    /// Rows, with the columns that the source node declares.
    Batch(RecordBatch),
    /// Nothing at the moment. A source returns within 20 ms or so, that its driver can be told to stop.
    Idle,
    /// All that was there when the job began has been given out; what follows has come since. Once, and only from
    /// sources that tell their past from the rest.
    CaughtUp,
    /// Nothing any more.
    End,
}

/// Reads rows, from one thread.
pub trait Source: Send {
    /// The next rows. May block briefly. An error ends the job.
    fn next_event(&mut self) -> Result<SourceEvent>;

    /// How far it has come: everything that [`Self::next_event`] has given out, and nothing else. Bytes of the
    /// connector's own, with a version in them.
    fn position(&self) -> Result<Vec<u8>>;

    /// Goes to where one like it was: the next row is the one that came behind that position. Called before
    /// anything was read. An error says what has changed so that this is not possible.
    fn seek(&mut self, position: &[u8]) -> Result<()>;

    /// Whether [`SourceEvent::CaughtUp`] is still to come.
    fn is_backfilling(&self) -> bool {
        false
    }

    /// From where on [`Self::position`] needs a log that others shorten, if it reads one.
    fn needs(&self) -> Option<LogNeed> {
        None
    }
}

/// Writes rows, from one thread.
pub trait Sink: Send {
    /// Writes rows.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    /// How many rows to write at a time, where the cut shows in what is written; else rows are written
    /// as soon as they are known.
    fn chunk_rows(&self) -> Option<NonZeroUsize> {
        None
    }

    /// Whether writing waits for the outside, so that the sink's task must run on an I/O thread.
    fn is_io(&self) -> bool {
        true
    }

    /// A sum over the hashes of the rows so far, if it was asked for.
    fn checksum(&self) -> Option<u64> {
        None
    }

    /// Bytes of rows held; zero for sinks that pass rows on.
    fn state_bytes(&self) -> usize {
        0
    }

    /// All rows so far belong to this epoch or to an earlier one, all others to later ones.
    fn seal(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    /// A checkpoint is being taken: makes durable what was written so far, but not visible, and writes what
    /// is needed to make it so. The first phase of the commit.
    fn snapshot(&mut self, _state: &mut StateWriter<'_>) -> Result<()> {
        Ok(())
    }

    /// Told once, before everything else: to which instance a row belongs that is held.
    fn hold_where(&mut self, _belongs: &Belongs) {}

    /// Takes up what instances of it wrote at a checkpoint that was sealed: what had been written by then is
    /// made visible, if it was not yet; what was written later is dropped.
    fn restore(&mut self, _state: &StateReader<'_>) -> Result<()> {
        Ok(())
    }

    /// Whether [`Self::commit`] does anything, so that it has to be called before the job is over.
    fn commits(&self) -> bool {
        false
    }

    /// The checkpoint of this epoch has been sealed: what was written up to it is made visible. May be called
    /// again. The second phase. [`Epoch::END`] covers what [`Self::finish`] completed.
    fn commit(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    /// Completes what was written; nothing follows. In a job with checkpoints it becomes visible with the
    /// last commit, else at once. A sink that is dropped before leaves nothing behind that looks complete.
    fn finish(&mut self) -> Result<()>;
}

/// Opens one subtask's share of a source.
pub fn open_source(
    node: &SourceNode,
    env: &TaskEnv,
    stats: Arc<OperatorStats>,
    subtask: u32,
    parallelism: u32,
) -> Result<Box<dyn Source>> {
    match node.connector.as_str() {
        "files" => files::open_source(node, env, stats, subtask, parallelism),
        "datagen" => datagen::open_source(node, env, Share { subtask, parallelism }),
        "nexmark" => nexmark::open_source(node, env, Share { subtask, parallelism }),
        PUSH_CONNECTOR | TABLE_CONNECTOR => pushed::open_source(node, env, Share { subtask, parallelism }),
        VALUES_CONNECTOR => values::open_source(node, env),
        MODEL_CONNECTOR => served_model::open_source(node, env),
        VIEW_CONNECTOR => view::open_source(node, env, subtask),
        other => Err(unknown(other)),
    }
}

/// The columns of the files that these options of a source name, if they name any.
pub(crate) fn columns_of(options: &[(String, String)]) -> Result<SchemaRef> {
    match option(options, "connector") {
        Some("files") => files::columns::columns_of(options),
        other => Err(unknown(other.unwrap_or_default())),
    }
}

/// The files of a table that has some.
pub(crate) fn groups_of(table: &BoundedTable, buckets: &Buckets) -> Result<Vec<FileGroup>> {
    match table.source.connector.as_str() {
        "files" => files::groups_of(table, buckets),
        other => Err(unknown(other)),
    }
}

/// Opens a part of a table.
pub(crate) fn open_part(
    table: &BoundedTable,
    node: &SourceNode,
    env: &TaskEnv,
    stats: Arc<OperatorStats>,
    part: Part,
    buckets: &Buckets,
) -> Result<Box<dyn Source>> {
    let share = Share { subtask: part.number, parallelism: part.of };
    match &table.files {
        Some(files) => files::open_files(node, env, stats, files, share, buckets),
        None => open_source(node, env, stats, part.number, part.of),
    }
}

/// Opens one subtask's share of a sink for rows of `schema`.
pub fn open_sink(
    node: &SinkNode,
    operator: OperatorId,
    subtask: u32,
    parallelism: u32,
    env: &TaskEnv,
    schema: SchemaRef,
) -> Result<Box<dyn Sink>> {
    match node.connector.as_str() {
        "files" => files::open_sink(node, operator, subtask, env, schema),
        "blackhole" => Ok(Box::new(blackhole::Blackhole::new(&node.options))),
        "postgres" => postgres::open_sink(node, operator, Share { subtask, parallelism }, env, schema),
        "print" => Ok(Box::new(print::Print::new(schema))),
        VIEW_CONNECTOR => Ok(Box::new(view::ViewSink::new(node, operator, subtask, env, schema))),
        RESULT_CONNECTOR if let Some(result) = option(&node.options, RESULT_OPTION) => {
            Ok(Box::new(handed_out::HandedOut::new(result, subtask, env, &schema)?))
        }
        RESULT_CONNECTOR => Ok(Box::new(result::ResultSink::new(node, operator, env, schema))),
        other => Err(unknown(other)),
    }
}

fn unknown(connector: &str) -> EngineError {
    PlanError::InvalidGraph(format!("this worker has no connector '{connector}' for that use")).into()
}

/// The value of an option that is a whole number, which the planner has checked.
fn number(options: &[(String, String)], name: &str) -> Option<u64> {
    option(options, name).and_then(|value| value.parse().ok())
}
