//! Fitted models for whatever runs ONNX: <https://github.com/onnx/onnx/blob/main/docs/IR.md>, operators of version 17, and
//! of its machine learning's version 3.
//!
//! A graph has an input for each feature, of the feature's name and a row each: numbers as doubles, of which NaN is missing,
//! and categories (texts; booleans as `false` and `true`) as strings, of which the empty one is NULL unless it is a category.
//! What is said of a row are the columns that ML.PREDICT adds: `predicted_<label>`, and of a classifier
//! `predicted_<label>_probs`, a probability for each class in the order of the graph's property `classes`.
//!
//! Everything is computed in doubles but what trees say, for which ONNX has floats. A number of which ML.PREDICT says NULL,
//! for it is infinite or beyond 1e50, has an answer here.

mod graph;
mod inputs;
mod linear;
mod outputs;
mod proto;
#[cfg(test)]
mod tests;
mod trees;

pub(crate) use self::graph::Graph;
pub(crate) use self::inputs::Inputs;
pub(crate) use self::linear::scores;
pub(crate) use self::outputs::{Outputs, both};
pub(crate) use self::trees::{Ensemble, Leaf, Next, Split};
use crate::boosted_trees::{self, BoostedTrees};
use crate::error::{MlError, Result};
use crate::forest::{self, Forest};
use crate::linear::linear_regression::LinearRegression;
use crate::linear::linear_svr;
use crate::linear::logistic_regression::LogisticRegression;
use crate::linear::multinomial_regression::MultinomialRegression;
use crate::registry::restore_predictor;
use crate::snapshot;

/// A fitted model, given its snapshot and the name of its label, as an ONNX file.
///
/// # Errors
/// `NotExported` for a model of a type that has no graph here; `StateVersion`, `StateTooLarge` or `CorruptState`.
pub fn onnx_file(model: &[u8], label: &str) -> Result<Vec<u8>> {
    let mut graph = Graph::default();
    match snapshot::open(model)?.0 {
        LogisticRegression::SNAPSHOT_TAG => LogisticRegression::restore(model)?.onnx(&mut graph, label),
        MultinomialRegression::SNAPSHOT_TAG => MultinomialRegression::restore(model)?.onnx(&mut graph, label),
        LinearRegression::SNAPSHOT_TAG | linear_svr::SNAPSHOT_TAG => {
            LinearRegression::restore(model)?.onnx(&mut graph, label);
        }
        boosted_trees::SNAPSHOT_TAG | boosted_trees::RANKER_SNAPSHOT_TAG => {
            BoostedTrees::restore(model)?.onnx(&mut graph, label);
        }
        forest::SNAPSHOT_TAG => Forest::restore(model)?.onnx(&mut graph, label),
        _ => {
            let model_type = restore_predictor(model)?.model_type();
            let exported = "linear models, logistic regression, trees, forests and boosted trees";
            return Err(MlError::NotExported { model_type, exported });
        }
    }
    Ok(graph.into_file())
}
