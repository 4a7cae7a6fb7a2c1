//! INSERTs that somebody waits for. Into what is pushed, the rows of a query that ends go into the log, once all of them are
//! known: a query that fails halfway has inserted nothing. The price is that they are held until then. What runs as a whole
//! writes its rows itself.

use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use tidemill_plans::PlanError;
use tidemill_plans::batch::progress::BatchProgress;
use tidemill_sql::PushTarget;
use tokio::sync::{Mutex, watch};

use super::Query;
use crate::error::{CoordinatorError, Result};
use crate::follow::{Taker, follow};
use crate::pushed::{Batch, Fit, PushedLog};

/// Bytes of rows that are held.
const BYTES_MAX: usize = 256 << 20;

/// Rows that are to be inserted. Whoever gets it waits until they are on disk.
pub struct Appending {
    pub(super) work: Work,
    pub(super) message: String,
}

/// What is to be done.
pub(super) enum Work {
    /// Rows go into a log.
    Appends(Box<Append>),
    /// A query writes its rows, and comes to their number.
    Writes(Box<Query>),
}

/// Rows that go into a log.
pub(super) struct Append {
    pub(super) rows: Rows,
    pub(super) target: PushTarget,
    /// The names of the target's columns that the rows have, in their order.
    pub(super) columns: Vec<String>,
    pub(super) log: PushedLog,
}

/// Where the rows come from.
pub(super) enum Rows {
    Known(RecordBatch),
    Of(Box<Query>),
}

/// Rows that are on disk.
#[derive(Debug)]
pub struct Appended {
    /// How many.
    pub rows: u64,
    /// A message such as `INSERT INTO t`.
    pub message: String,
}

impl Appending {
    /// How far the query is whose rows they are, if it runs as a whole.
    #[must_use]
    pub fn progress(&self) -> Option<watch::Receiver<BatchProgress>> {
        match &self.work {
            Work::Writes(query) => query.job.progress.clone(),
            Work::Appends(append) => match &append.rows {
                Rows::Of(query) => query.job.progress.clone(),
                Rows::Known(_) => None,
            },
        }
    }

    /// Has them appended, all or none.
    ///
    /// # Errors
    /// Why the query has failed, or which value does not fit the table.
    pub async fn wait(self) -> Result<Appended> {
        let rows = match self.work {
            Work::Appends(append) => append.complete().await?,
            Work::Writes(mut query) => {
                let counts = Holder::of("an INSERT");
                follow(&mut query, &counts).await?;
                counts.into_batches().iter().map(count).sum()
            }
        };
        Ok(Appended { rows, message: self.message })
    }
}

/// How many rows have been written.
fn count(rows: &RecordBatch) -> u64 {
    let count = rows.column(0).as_primitive_opt::<Int64Type>();
    count.map_or(0, |count| count.values().iter().map(|count| count.unsigned_abs()).sum())
}

impl Append {
    /// Appends the rows; returns how many they are.
    async fn complete(self) -> Result<u64> {
        let Self { rows, target, columns, log } = self;
        let held = match rows {
            Rows::Known(rows) => vec![rows],
            Rows::Of(mut query) => {
                let holder = Holder::of("an INSERT of a query");
                follow(&mut query, &holder).await?;
                holder.into_batches()
            }
        };
        let batches = fitted(&held, &target, &columns)?;
        let rows = held.iter().map(|rows| rows.num_rows() as u64).sum();
        log.append(batches, target.kept).await?;
        Ok(rows)
    }
}

impl fmt::Debug for Appending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appending").field("message", &self.message).finish_non_exhaustive()
    }
}

/// Rows as the table has them.
fn fitted(held: &[RecordBatch], target: &PushTarget, columns: &[String]) -> Result<Vec<Batch>> {
    let Some(first) = held.first() else { return Ok(Vec::new()) };
    let given = called(first.schema_ref(), columns);
    let fit = Fit::new(&given, Arc::clone(&target.columns))?;
    let batches = held.iter().map(|rows| {
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&given), rows.columns().to_vec(), &options);
        Ok(Batch { rows: fit.apply(&rows.map_err(PlanError::from)?)?, mark: None })
    });
    batches.collect()
}

/// The same columns under these names.
fn called(schema: &Schema, names: &[String]) -> SchemaRef {
    let fields = schema.fields().iter().zip(names);
    Arc::new(Schema::new(fields.map(|(field, name)| field.as_ref().clone().with_name(name)).collect::<Vec<_>>()))
}

/// Holds the rows of a query.
pub(super) struct Holder {
    held: Mutex<Held>,
    /// Who wants them, for messages.
    whose: &'static str,
}

impl Holder {
    /// Nothing yet, for whom this says.
    pub(super) fn of(whose: &'static str) -> Self {
        Self { held: Mutex::default(), whose }
    }

    /// What it holds.
    pub(super) fn into_batches(self) -> Vec<RecordBatch> {
        self.held.into_inner().batches
    }
}

#[derive(Default)]
struct Held {
    batches: Vec<RecordBatch>,
    bytes: usize,
}

impl Taker for Holder {
    async fn take(&self, rows: RecordBatch) -> Result<()> {
        let mut held = self.held.lock().await;
        held.bytes += rows.get_array_memory_size();
        if held.bytes > BYTES_MAX {
            let message = format!(
                "{} holds {} MiB of rows at most, which are there together: take them in parts, or write them to files \
                 with a sink",
                self.whose,
                BYTES_MAX >> 20
            );
            return Err(CoordinatorError::Statement { message });
        }
        held.batches.push(rows);
        Ok(())
    }

    /// Who has asked is not waited for: what was begun is done.
    fn gone(&self) -> impl Future<Output = CoordinatorError> + Send {
        std::future::pending()
    }
}
