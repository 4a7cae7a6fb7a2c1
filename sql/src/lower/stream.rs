//! Streams: outputs of operators in the graph; and relations: streams as a plan's node sees them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use tidemill_plans::ids::OperatorId;
use tidemill_plans::node::WindowSpec;
use tidemill_plans::time::event_time_type;

use crate::catalog::StreamInfo;

/// The columns that a window function adds.
pub(crate) const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// The output of an operator.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    /// The operator.
    pub(crate) node: OperatorId,
    /// How many instances of it run.
    pub(crate) parallelism: u32,
    /// What it delivers.
    pub(crate) info: StreamInfo,
}

impl Stream {
    /// Its columns, without the changelog column.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.info.schema
    }

    /// How many columns it has, without the changelog column.
    pub(crate) fn width(&self) -> usize {
        self.info.schema.fields().len()
    }
}

/// What a node of the logical plan stands for: field i of the node is column `columns[i]` of the
/// stream. So dropping, reordering and renaming columns needs no operator.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    pub(crate) stream: Stream,
    pub(crate) columns: Vec<usize>,
    /// Windows that the rows are to be put in, and have not been yet.
    pub(crate) windows: Option<Windows>,
}

/// A window function that waits to be fused with the aggregation above it. Until then its columns
/// have the indexes behind the stream's own: `width`, `width + 1` and `width + 2`.
#[derive(Debug, Clone)]
pub(crate) struct Windows {
    pub(crate) kind: WindowKind,
    /// Index of the event-time column in the stream.
    pub(crate) time: usize,
    /// Conditions on the window columns, to be checked once there are windows.
    pub(crate) filters: Vec<Expr>,
    /// The columns of the window function's input.
    pub(crate) input: SchemaRef,
}

/// What makes the windows.
#[derive(Debug, Clone)]
pub(crate) enum WindowKind {
    /// The clock.
    Fixed(WindowSpec),
    /// The rows of each key; the keys are columns of the stream.
    Session { gap: i64, keys: Vec<usize> },
}

impl WindowKind {
    /// The columns that the windows depend on, besides event time.
    pub(crate) fn keys(&self) -> &[usize] {
        match self {
            Self::Fixed(_) => &[],
            Self::Session { keys, .. } => keys,
        }
    }

    /// Whether grouping by these of the window columns groups by windows: start, end and time.
    pub(crate) fn are_told_by(&self, start: bool, end: bool) -> bool {
        match self {
            Self::Fixed(WindowSpec::Tumble { .. } | WindowSpec::Hop { .. }) => start || end,
            // Several windows begin together.
            Self::Fixed(WindowSpec::Cumulate { .. }) => end,
            Self::Session { .. } => start && end,
        }
    }

    /// The same windows over a stream in which the columns have other places; `None` if one is gone.
    pub(crate) fn moved(&self, place: impl Fn(usize) -> Option<usize>) -> Option<Self> {
        Some(match self {
            Self::Fixed(spec) => Self::Fixed(*spec),
            Self::Session { gap, keys } => {
                Self::Session { gap: *gap, keys: keys.iter().map(|key| place(*key)).collect::<Option<_>>()? }
            }
        })
    }
}

impl Relation {
    /// All columns of a stream.
    pub(crate) fn all(stream: Stream) -> Self {
        let columns = (0..stream.width()).collect();
        Self { stream, columns, windows: None }
    }

    /// Whether a column of the relation is one of those that a waiting window function adds.
    pub(crate) fn is_window_column(&self, column: usize) -> bool {
        column >= self.stream.width()
    }

    /// The name of a column, by its index in the stream.
    pub(crate) fn name(&self, column: usize) -> String {
        match column.checked_sub(self.stream.width()) {
            None => self.stream.schema().field(column).name().clone(),
            Some(window) => WINDOW_COLUMNS.get(window).copied().unwrap_or_default().to_owned(),
        }
    }
}

/// The three columns of a window function.
pub(crate) fn window_fields() -> impl Iterator<Item = Field> {
    WINDOW_COLUMNS.into_iter().map(|name| Field::new(name, event_time_type(), false))
}

/// A schema with the window columns behind it.
pub(crate) fn with_windows(schema: &Schema) -> SchemaRef {
    let own = schema.fields().iter().map(|field| field.as_ref().clone());
    Arc::new(Schema::new(own.chain(window_fields()).collect::<Vec<_>>()))
}

/// A schema with fields behind it, under names that differ from those that are there.
pub(crate) fn with_fields(schema: &Schema, fields: impl IntoIterator<Item = Field>) -> SchemaRef {
    let taken: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let fields: Vec<Field> = fields.into_iter().collect();
    let names = make_unique_beside(&taken, fields.iter().map(|field| field.name().clone()));
    let named = fields.into_iter().zip(names).map(|(field, name)| Arc::new(field.with_name(name)));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(named).collect::<Vec<_>>()))
}

/// A name for each field of a plan's schema, unique among them: the plain name where it is, else
/// `qualifier.name`.
pub(crate) fn unique_names(schema: &DFSchema) -> Vec<String> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for field in schema.fields() {
        *counts.entry(field.name().as_str()).or_default() += 1;
    }
    let candidates = schema.iter().map(|(qualifier, field)| match qualifier {
        Some(qualifier) if counts.get(field.name().as_str()).is_some_and(|count| *count > 1) => {
            format!("{}.{}", qualifier.table(), field.name())
        }
        _ => field.name().clone(),
    });
    make_unique(candidates)
}

/// Numbers the names that are there already.
pub(crate) fn make_unique(names: impl IntoIterator<Item = String>) -> Vec<String> {
    make_unique_beside(&[], names)
}

/// Numbers the names that are there already or that are `taken`.
pub(crate) fn make_unique_beside(taken: &[&str], names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut known: HashSet<String> = taken.iter().map(|name| (*name).to_owned()).collect();
    // The last number that each name has got: those below are taken, too.
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut unique: Vec<String> = Vec::new();
    for name in names {
        let mut candidate = name.clone();
        while known.contains(&candidate) {
            let number = numbers.entry(name.clone()).or_insert(1);
            *number += 1;
            candidate = format!("{name}_{number}");
        }
        known.insert(candidate.clone());
        unique.push(candidate);
    }
    unique
}
