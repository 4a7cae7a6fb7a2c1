//! What has been created: sources, sinks, views, models, functions.
//!
//! The catalog keeps each object's own SQL text: it is what SHOW CREATE prints, and replaying the
//! texts in order rebuilds the catalog, whatever the planner's types look like by then.

use std::fmt;

pub use tidemill_ml::BesideGuess;

/// The kinds of objects; all share one namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, bincode::Encode, bincode::Decode)]
pub enum ObjectKind {
    /// CREATE SOURCE, or CREATE TABLE with a connector.
    Source,
    /// CREATE SINK without a query: something to INSERT INTO.
    Sink,
    /// CREATE VIEW.
    View,
    /// CREATE MATERIALIZED VIEW.
    MaterializedView,
    /// CREATE MODEL.
    Model,
    /// CREATE FUNCTION.
    Function,
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Sink => "sink",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
            Self::Model => "model",
            Self::Function => "function",
        })
    }
}

/// One created object.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct CatalogEntry {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: ObjectKind,
    /// The statement that created it.
    pub definition: String,
}

/// The largest model that is told to the coordinator, which answers clients with it.
pub const SERVED_BYTES_MAX: usize = 16 << 20;

/// The `learnt_to` of a model that was fitted to a training set: it has learnt nothing from any row's future.
pub const UNTIMED: i64 = i64::MIN;

/// A version of a model that predictions can be made with.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct ModelWeights {
    /// The model's name.
    pub model: String,
    /// Counts from 1.
    pub version: i64,
    /// The event time up to which (exclusive) labels have been learnt, in microseconds, or [`UNTIMED`].
    pub learnt_to: i64,
    /// The label's column, which names what is predicted; empty if there is none.
    pub label: String,
    /// The model's bytes; none if they are more than [`SERVED_BYTES_MAX`].
    pub state: Vec<u8>,
}

/// A model version as the registry keeps it.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct ModelVersion {
    /// The model's name.
    pub model: String,
    /// Counts from 1.
    pub version: i64,
    /// The event time up to which (exclusive) labels have been learnt, in microseconds, or [`UNTIMED`].
    pub learnt_to: i64,
    /// Rows learnt since the beginning.
    pub rows_learnt: i64,
    /// Quality measures by name, such as the prequential `auc`; NaN where undefined.
    pub metrics: Vec<(String, f64)>,
}

impl ModelVersion {
    /// How it does beside a guess that looks at no feature, by the rows that it was measured by; none if that is not known.
    #[must_use]
    pub fn beside_guess(&self) -> Option<BesideGuess> {
        BesideGuess::of(&self.metrics)
    }
}
