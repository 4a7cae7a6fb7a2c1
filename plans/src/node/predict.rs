//! Adds a model's prediction to each row.

use arrow::datatypes::{DataType, Field};

use crate::prediction::Question;
use crate::time::event_time_type;

/// Prediction. Port 0 is the rows, port 1 the model's versions. Output: the input's columns, then
/// those of [`predicted_fields`]; all of them are
/// NULL as long as the model has learnt nothing, and the last is where the model was fitted to a training set. Asked for
/// [`Question::Features`], these are all of the output.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct PredictNode {
    /// The model's name.
    pub model: String,
    /// The model's label column, which names the output columns; empty if it has none.
    pub label: String,
    /// Indexes of the feature columns in the input, in the order that the model was trained with.
    pub features: Vec<usize>,
    /// Index of the event-time column in the input. Rows without one are answered by the newest version: if they wait, the
    /// last that there is.
    pub time: Option<usize>,
    /// Which version answers.
    pub freshness: ModelFreshness,
    /// What it is asked about each row.
    pub question: Question,
}

/// Which version of a model answers for a row at event time t. Without a time it is the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum ModelFreshness {
    /// The newest with `learnt_to <= t`; the row waits until it is certain which one that is.
    Consistent,
    /// The newest that has arrived and has `learnt_to <= t`; the row does not wait.
    Latest,
    /// Of versions that come while the stream runs, whatever they have learnt, the newest that has come while event time was
    /// before t. Rows wait for the first.
    Live,
}

impl ModelFreshness {
    /// Whether rows may wait.
    #[must_use]
    pub fn waits(self) -> bool {
        self != Self::Latest
    }
}

/// The columns that a prediction adds: what the model says, and which version of it.
#[must_use]
pub fn predicted_fields(outputs: Vec<Field>) -> Vec<Field> {
    let version = Field::new("model_version", DataType::Int64, true);
    let time = Field::new("model_event_time", event_time_type(), true);
    outputs.into_iter().chain([version, time]).collect()
}
