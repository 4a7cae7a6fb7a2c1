//! Adds a model's prediction to each row.

use arrow::datatypes::{DataType, Field};

use crate::time::event_time_type;

/// Prediction. Port 0 is the rows, port 1 the model's versions. Output: the input's columns, then
/// `predicted_<label>`, `predicted_<label>_prob`, `model_version` and `model_event_time`; all four are
/// NULL as long as the model has learnt nothing, and the last is where the model was fitted to a training set.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct PredictNode {
    /// The model's name.
    pub model: String,
    /// The model's label column: it names the output columns.
    pub label: String,
    /// Indexes of the feature columns in the input, in the order that the model was trained with.
    pub features: Vec<usize>,
    /// Index of the event-time column in the input. Rows without one are answered by the newest version: if they wait, the
    /// last that there is.
    pub time: Option<usize>,
    /// Which version answers.
    pub freshness: ModelFreshness,
}

/// Which version of a model answers for a row at event time t.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum ModelFreshness {
    /// The newest with `learnt_to <= t`; the row waits until it is certain which one that is.
    Consistent,
    /// The newest that has arrived and has `learnt_to <= t`; the row does not wait.
    Latest,
}

impl ModelFreshness {
    /// Whether rows wait.
    #[must_use]
    pub fn waits(self) -> bool {
        self == Self::Consistent
    }
}

/// The columns that a prediction adds.
#[must_use]
pub fn predicted_fields(label: &str) -> [Field; 4] {
    [
        Field::new(format!("predicted_{label}"), DataType::Boolean, true),
        Field::new(format!("predicted_{label}_prob"), DataType::Float64, true),
        Field::new("model_version", DataType::Int64, true),
        Field::new("model_event_time", event_time_type(), true),
    ]
}
