//! Learning algorithms and metrics on Arrow arrays; knows nothing of streams.
//!
//! An algorithm is an [`OnlineModel`], by an [`OnlineSupervised`] if it learns a label: it learns from one batch at a time,
//! predicts at any moment, and turns into bytes and back. Or it is a [`BatchModel`], which is fitted to a training set as a whole
//! and becomes a [`Predictor`]. Everything is a plain function call on the caller's thread, with a few more
//! threads for a fit where they are allowed, so a test needs no runtime and a replay of the same rows in the
//! same order gives the same bits.
//!
//! Reading order: [`model`] and [`batch`] are the contracts, [`registry`] makes a model from SQL options,
//! [`linear`], `naive_bayes`, `nearest_neighbors`, `boosted_trees`, `forest`, `hoeffding_tree`, `pca`, `isolation_forest`,
//! `half_space_trees`, `one_class_svm`, `robust_zscore`, `contextual_bandit`, `q_learning`, `matrix_factorization`, `kmeans`,
//! `gaussian_mixture`, `dbscan` and `forecast` hold the
//! algorithms, `tuning` splits training sets and searches options, [`preprocessing`] what features are made with, `drift`
//! finds changes, [`metrics`] says how good models are, and [`explain`](mod@explain) what their predictions are made of.
//! [`import`] and [`export`] bring boosted trees here from other libraries, and back; [`onnx_file`] has models for whatever runs ONNX.

mod actions;
pub mod batch;
mod boosted_trees;
mod class_probabilities;
mod class_weights;
mod classes;
mod clusters;
mod contextual_bandit;
mod dbscan;
#[cfg(test)]
mod documentation;
mod drift;
pub mod error;
pub mod explain;
mod feature;
mod forecast;
mod forest;
mod gaussian_mixture;
#[cfg(test)]
mod goldens;
mod half_space_trees;
mod hoeffding_tree;
pub mod inspect;
mod isolation_forest;
mod kmeans;
pub mod linear;
mod matrix_factorization;
pub mod metrics;
pub mod model;
mod naive_bayes;
mod nearest_neighbors;
mod one_class_svm;
mod onnx;
mod options;
mod origin;
mod pca;
pub mod predictor;
pub mod preprocessing;
mod q_learning;
mod random;
pub mod registry;
mod robust_zscore;
mod rules;
mod snapshot;
mod tuning;

pub use batch::{
    BatchModel, BesideGuess, FitControl, FitReport, Iteration, Team, batch_option_docs, create_batch, feature_schema,
    fitted_outputs, needs_label, predicted_label_type, reads_times, takes_label, tuning_option_docs,
    valid_batch_model_types,
};
pub use boosted_trees::{export, import};
pub use class_probabilities::{class_probabilities_of, class_probability_outputs};
pub use error::{MlError, Result};
pub use explain::{Background, Explanations, explain, explain_locally, explained_outputs};
pub use inspect::{ModelTable, anomalies_of, forecast_of, table_of};
pub use model::{
    ClassCounts, Feature, FeatureKind, FeatureSchema, LearnReport, OnlineModel, OnlineSupervised, RejectReason,
    RejectedRow, boolean_labels, check_label_type, predicted_labels,
};
pub use onnx::onnx_file;
pub use origin::{Origin, training_table};
pub use predictor::{Labelled, Predictions, Predictor, Supervised, label_outputs};
pub use registry::{
    OptionDoc, create, learning_columns, learns_label, learnt_outputs, option_docs, restore, restore_predictor,
    restore_supervised, valid_model_types,
};
pub use tuning::{Trial, TrialStatus, trial_table};
