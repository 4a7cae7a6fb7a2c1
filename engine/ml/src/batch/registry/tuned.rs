//! What searches must know of a model type.

use arrow::datatypes::DataType;

use super::{BatchModelType, find};
use crate::boosted_trees;
use crate::error::Result;
use crate::gaussian_mixture::GaussianMixture;
use crate::kmeans::KMeans;
use crate::registry::OptionDoc;
use crate::rules;
use crate::tuning::{self, Target, Tunable, auto};

impl BatchModelType {
    /// What a search over its options must know, if they can be searched: a model with a label can be judged by it, and
    /// clusters by a measure of their own.
    pub(super) fn tunable(&self) -> Option<Tunable> {
        let target = match (self.label_type, self.name) {
            // A relevance is good or bad beside others of its group alone.
            (_, boosted_trees::RANKER) => return None,
            // Nothing is learnt of it that rows held out could judge.
            (_, rules::MODEL_TYPE) => return None,
            // It is a search by itself.
            (_, auto::CLASSIFIER | auto::REGRESSOR) => return None,
            // A BOOLEAN has classes, and is no number.
            (Some(label_type), _) if label_type("label", &DataType::Boolean).is_ok() => Target::Classes,
            (Some(_), _) => Target::Numbers,
            (None, KMeans::MODEL_TYPE) => Target::Own("davies_bouldin_index"),
            (None, GaussianMixture::MODEL_TYPE) => Target::Own("bic"),
            (None, _) => return None,
        };
        Some(Tunable { model_type: self.name, docs: (self.option_docs)(), target })
    }
}

/// The options that a model type has beside its own: how its training set is split, and how its options are searched. None
/// of one that cannot be judged.
///
/// # Errors
/// `UnknownModelType`.
pub fn tuning_option_docs(model_type: &str) -> Result<Vec<OptionDoc>> {
    let tunable = find(model_type)?.tunable();
    Ok(tunable.map(|tunable| tuning::option_docs(tunable.target, &tunable.docs)).unwrap_or_default())
}
