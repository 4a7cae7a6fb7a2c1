//! Reads rows from a connector, computes generated columns, and says how far event time has come.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, ExprSchemable};

use crate::bucket::is_url;
use crate::change::{change_column_index, with_absent_values};
use crate::connector::{self, option};
use crate::error::{PlanError, Result};
use crate::expr::{StreamExpr, StreamSchema};
use crate::node::Projection;
use crate::settings::parse_duration_ms;
use crate::time::event_time_type;

/// The column in which a source's rows bring the time at which they were read, before the projection. No
/// declared column has this name.
pub const PROCTIME_COLUMN: &str = "PROCTIME()";

/// How long a source may be without rows before it counts as idle, in milliseconds, unless it says so itself.
const IDLE_TIMEOUT_MS: u64 = 30_000;

/// A source of a job's graph.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct SourceNode {
    /// The name it was created under.
    pub table: String,
    /// The connector's name, such as `files`.
    pub connector: String,
    /// The connector's options as the user wrote them, already checked.
    pub options: Vec<(String, String)>,
    /// The names of all columns that it declares but does not generate, in the order in which they stand
    /// in data without names.
    pub declared: Vec<String>,
    /// The columns that the connector must deliver, by name: those of them that somebody reads.
    pub columns: StreamSchema,
    /// The columns of the stream, over `columns`: those themselves and generated ones.
    pub projection: Vec<Projection>,
    /// Event time, if the source has a WATERMARK clause.
    pub event_time: Option<EventTimeSpec>,
    /// The declared columns of its key, if its rows replace each other by key: then they are changes, and one
    /// that takes a row away has values in these columns alone.
    pub upsert_key: Vec<String>,
}

/// How a source's time keeps pace with that of others: the options that all sources share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTiming {
    /// Milliseconds without rows after which it is idle; `None` for never.
    pub idle_timeout_ms: Option<u64>,
    /// The sources that it keeps pace with.
    pub watermark_group: Option<String>,
    /// Milliseconds of event time by which it may be ahead of them.
    pub max_drift_ms: Option<u64>,
}

impl SourceNode {
    /// Whether its files are in a bucket.
    #[must_use]
    pub fn is_in_bucket(&self) -> bool {
        option(&self.options, "path").is_some_and(is_url)
    }

    /// Whether its rows are columns that it reads, as they are, and none is computed.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let is_read = |column: &Projection| matches!(&column.expr.0, Expr::Column(read) if read.name == column.name);
        self.projection.iter().all(is_read)
    }

    /// What the options say about time.
    pub fn timing(&self) -> Result<SourceTiming> {
        let text = |name: &str| connector::option(&self.options, name);
        let duration = |name: &str| {
            let wrong = |text| PlanError::InvalidOption(format!("option '{name}' is '{text}', which is no duration"));
            text(name).map(|text| parse_duration_ms(text).ok_or_else(|| wrong(text))).transpose()
        };
        Ok(SourceTiming {
            idle_timeout_ms: Some(duration("idle_timeout")?.unwrap_or(IDLE_TIMEOUT_MS)).filter(|ms| *ms > 0),
            watermark_group: text("watermark_group").map(String::from),
            max_drift_ms: duration("max_drift")?,
        })
    }

    /// Whether its rows bring the time at which they were read.
    #[must_use]
    pub fn has_proctime(&self) -> bool {
        self.projection.iter().any(|column| column.is_proctime())
    }

    /// Whether its watermark follows the clock: its event time is the time at which rows were read.
    #[must_use]
    pub fn follows_clock(&self) -> bool {
        let column = self.event_time.as_ref().and_then(|time| self.projection.get(time.column));
        column.is_some_and(Projection::is_proctime)
    }

    /// What the connector reads.
    #[must_use]
    pub fn connector_schema(&self) -> SchemaRef {
        if self.upsert_key.is_empty() { Arc::clone(&self.columns.0) } else { with_absent_values(&self.columns.0) }
    }

    /// What the projection reads: the connector's columns, and the time of reading if any column wants it.
    #[must_use]
    pub fn read_schema(&self) -> SchemaRef {
        if !self.upsert_key.is_empty() || !self.has_proctime() {
            return self.connector_schema();
        }
        let own = self.columns.0.fields().iter().cloned();
        let read_at = Arc::new(Field::new(PROCTIME_COLUMN, event_time_type(), false));
        Arc::new(Schema::new(own.chain([read_at]).collect::<Vec<_>>()))
    }

    /// Adds to the wanted columns of its stream, whose schema this is, those that it cannot do without itself.
    pub fn add_needed(&self, schema: &Schema, wanted: &mut [bool]) -> Result<()> {
        if let Some(change) = change_column_index(schema) {
            wanted[change] = true;
        }
        if let Some(time) = &self.event_time {
            wanted[time.column] = true;
            add_columns(&time.watermark.0, schema, wanted);
        }
        let physical = DFSchema::try_from(self.read_schema())?;
        for (index, computed) in self.projection.iter().enumerate() {
            // A generated column that is declared NOT NULL.
            let is_checked = !schema.field(index).is_nullable() && computed.expr.0.nullable(&physical)?;
            wanted[index] |= is_checked;
        }
        // A batch without columns does not travel well, nor is one read of which only the time of reading counts.
        let reads = |column: &Projection| column.expr.0.column_refs().iter().any(|name| name.name != PROCTIME_COLUMN);
        let read = self.projection.iter().zip(wanted.iter()).any(|(column, wanted)| *wanted && reads(column));
        if !read && let Some(first) = self.projection.iter().position(reads) {
            wanted[first] = true;
        }
        if let (false, Some(first)) = (wanted.contains(&true), wanted.first_mut()) {
            *first = true;
        }
        Ok(())
    }

    /// Leaves out of its stream what is not wanted, and of what the connector reads what only that needs.
    pub fn narrow(&mut self, wanted: &[bool]) {
        let mut places = wanted.iter();
        self.projection.retain(|_| places.next() == Some(&true));
        if let Some(time) = &mut self.event_time {
            time.column = wanted[..time.column].iter().filter(|wanted| **wanted).count();
        }
        // What a connector makes itself needs no check.
        let checks = !connector::makes_rows(&self.connector);
        let read = |name: &str| {
            let columns = self.projection.iter().map(|computed| computed.expr.0.column_refs());
            columns.into_iter().any(|columns| columns.iter().any(|column| column.name == name))
        };
        let fields = self.columns.0.fields().iter();
        let fields = fields.filter(|field| (checks && !field.is_nullable()) || read(field.name())).cloned();
        self.columns = StreamSchema(Arc::new(Schema::new(fields.collect::<Vec<_>>())));
    }
}

/// Adds the columns that an expression reads to the wanted ones.
pub fn add_columns(expr: &Expr, schema: &Schema, wanted: &mut [bool]) {
    for column in expr.column_refs() {
        if let Ok(index) = schema.index_of(&column.name) {
            wanted[index] = true;
        }
    }
}

/// The event time of a source and how its watermark follows.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct EventTimeSpec {
    /// Index of the event-time column in the source's output.
    pub column: usize,
    /// The watermark after a row, an expression over the output's columns; its maximum so far counts.
    pub watermark: StreamExpr,
    /// What happens to rows whose event time is NULL.
    pub on_null: NullEventTime,
}

/// What happens to rows whose event time is NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum NullEventTime {
    /// They go to the dead letters.
    DeadLetter,
    /// They are counted and left out: the source says that they are expected.
    Skip,
}
