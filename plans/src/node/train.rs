//! Learns a model from rows, labelled or not, in event-time order and emits its versions.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::time::event_time_type;

/// Continuous training. Rows are held until the watermark closes their interval, learnt in a
/// canonical order (event time, then all columns), and a version is emitted at the interval's end.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct TrainNode {
    /// The model's name.
    pub model: String,
    /// The algorithm, such as `logistic_reg`.
    pub model_type: String,
    /// The algorithm's options, already checked.
    pub options: Vec<(String, String)>,
    /// Index of the label column in the input, if the algorithm learns one.
    pub label: Option<usize>,
    /// Index of the event-time column in the input: when the label, or else the row, became known.
    pub time: usize,
    /// Indexes of the feature columns in the input.
    pub features: Vec<usize>,
    /// Length of a publishing interval in microseconds.
    pub publish_every: i64,
}

/// The stream of a model's versions: `model_version` counts from 1, `learnt_to` is the event time up
/// to which (exclusive) rows have been learnt, `state` restores the model.
#[must_use]
pub fn model_version_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("model_version", DataType::Int64, false),
        Field::new("learnt_to", event_time_type(), false),
        Field::new("rows_learnt", DataType::Int64, false),
        Field::new("state", DataType::Binary, false),
    ]))
}
