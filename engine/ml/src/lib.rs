//! Learning algorithms and metrics on Arrow arrays; knows nothing of streams.
//!
//! An algorithm is an [`OnlineModel`]: it learns from one batch at a time, predicts at any moment,
//! and turns into bytes and back. Or it is a [`BatchModel`], which is fitted to a training set as a whole
//! and becomes a [`Predictor`]. Everything is a plain function call on the caller's thread, with a few more
//! threads for a fit where they are allowed, so a test needs no runtime and a replay of the same rows in the
//! same order gives the same bits.
//!
//! Reading order: [`model`] and [`batch`] are the contracts, [`registry`] makes a model from SQL options,
//! [`linear`], `naive_bayes`, `boosted_trees` and `forest` hold the algorithms, and [`metrics`] says how good they are.

pub mod batch;
mod boosted_trees;
mod classes;
pub mod error;
mod feature;
mod forest;
#[cfg(test)]
mod goldens;
pub mod linear;
pub mod metrics;
pub mod model;
mod naive_bayes;
mod options;
pub mod predictor;
pub mod registry;
mod snapshot;

pub use batch::{
    BatchModel, FitControl, FitReport, batch_option_docs, check_batch_label_type, create_batch, predicted_label_type,
    valid_batch_model_types,
};
pub use error::{MlError, Result};
pub use model::{
    ClassCounts, Feature, FeatureKind, FeatureSchema, LearnReport, OnlineModel, RejectReason, RejectedRow,
    boolean_labels, check_label_type, predicted_labels,
};
pub use predictor::{Predictions, Predictor};
pub use registry::{OptionDoc, create, option_docs, restore, restore_predictor, valid_model_types};
