//! Fits a model to a training set: rows without event time, of which there is a last one.

use crate::transform::Transform;

/// So many instances may fit one model together at most: its rows are summed up in so many stretches.
pub const FIT_WORKERS_MAX: u32 = 16;

/// Training as a whole. All rows are held until the last has come, then the model is fitted to them and emitted as one
/// version ([`model_version_schema`](super::model_version_schema)), whose `learnt_to` is
/// [`UNTIMED`](crate::catalog::UNTIMED). Rows are fitted in the order in which they come.
///
/// Several instances fit one model together: the first has the rows ([`Partitioning::First`](crate::graph::Partitioning)),
/// tells them the others, each does its part of the sums over them, and the first emits the version, which is that of one
/// instance to the last bit.
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
