//! Models with a label as those that they are, for their tests: what they say is more than the columns of any model.

use super::{Learner, MODEL_TYPES, Options, create, find, restore};
use crate::model::{FeatureSchema, OnlineSupervised};
use crate::{Result, snapshot};
use arrow::datatypes::DataType;

/// As [`create`].
pub(crate) fn create_supervised(
    model_type: &str,
    options: &Options,
    schema: &FeatureSchema,
    label: &DataType,
) -> Result<Box<dyn OnlineSupervised>> {
    create(model_type, options, schema, label)?;
    match find(model_type)?.learner {
        Learner::Labelled { create, .. } => create(options, schema, label),
        Learner::Rewarded { .. } | Learner::Unlabelled { .. } => panic!("{model_type} predicts no label"),
    }
}

/// As [`restore`].
pub(crate) fn restore_learning(bytes: &[u8]) -> Result<Box<dyn OnlineSupervised>> {
    restore(bytes)?;
    let tag = snapshot::open(bytes)?.0;
    match MODEL_TYPES.iter().find(|model_type| model_type.tag == tag).map(|model_type| &model_type.learner) {
        Some(Learner::Labelled { restore, .. }) => restore(bytes),
        _ => panic!("a model without a label"),
    }
}
