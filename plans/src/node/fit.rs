//! Fits a model to a training set: rows without event time, of which there is a last one.

use crate::transform::Transform;

/// Training as a whole. All rows are held until the last has come, then the model is fitted to them and emitted as one
/// version ([`model_version_schema`](super::model_version_schema)), whose `learnt_to` is
/// [`UNTIMED`](crate::catalog::UNTIMED). Rows are fitted in the order in which they come.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct FitNode {
    /// The model's name.
    pub model: String,
    /// The number that its version gets.
    pub version: i64,
    /// The algorithm, such as `logistic_reg`.
    pub model_type: String,
    /// The algorithm's options, already checked.
    pub options: Vec<(String, String)>,
    /// Index of the label column in the input, if the algorithm learns one.
    pub label: Option<usize>,
    /// Indexes of the feature columns in the input, or of those that features are made of.
    pub features: Vec<usize>,
    /// How features are made of these columns, if they are not the features themselves.
    pub transform: Option<Transform>,
}
