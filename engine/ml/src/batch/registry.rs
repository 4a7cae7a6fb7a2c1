//! Makes a batch model from what SQL gives, as [`crate::registry`] does online ones.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;

use super::BatchModel;
use crate::boosted_trees;
use crate::boosted_trees::batch::BatchBoostedTrees;
use crate::boosted_trees::config::TreeConfig;
use crate::classes::LabelKind;
use crate::error::{MlError, Result};
use crate::forest::ForestType;
use crate::forest::batch::BatchForest;
use crate::forest::config::ForestConfig;
use crate::linear::linear_regression::LinearRegression;
use crate::linear::linear_regression::batch::{BatchLinearConfig, BatchLinearRegression, check_numeric_label};
use crate::linear::logistic_regression::LogisticRegression;
use crate::linear::logistic_regression::batch::{BatchLogisticConfig, BatchLogisticRegression};
use crate::linear::multinomial_regression::batch::BatchMultinomialRegression;
use crate::model::FeatureSchema;
use crate::naive_bayes::NaiveBayes;
use crate::naive_bayes::batch::BatchNaiveBayes;
use crate::naive_bayes::config::NaiveBayesConfig;
use crate::registry::OptionDoc;

type CreateBatch = fn(&BTreeMap<String, String>, &FeatureSchema, &DataType) -> Result<Box<dyn BatchModel>>;

/// What the crate must know of an algorithm to fit it.
struct BatchModelType {
    name: &'static str,
    create: CreateBatch,
    /// The type of predicted labels, given the label column's.
    label_type: fn(&str, &DataType) -> Result<DataType>,
    option_docs: fn() -> Vec<OptionDoc>,
}

const MODEL_TYPES: [BatchModelType; 9] = [
    BatchModelType {
        name: LogisticRegression::MODEL_TYPE,
        create: |options, schema, label| {
            let config = BatchLogisticConfig::from_options(options)?;
            // Only a BOOLEAN label makes a model that can go on learning online.
            if label == &DataType::Boolean {
                return Ok(Box::new(BatchLogisticRegression::new(config, schema.clone())?));
            }
            Ok(Box::new(BatchMultinomialRegression::new(config, schema.clone(), label)?))
        },
        label_type: |column, data_type| Ok(LabelKind::of(column, data_type)?.data_type()),
        option_docs: BatchLogisticConfig::option_docs,
    },
    BatchModelType {
        name: LinearRegression::MODEL_TYPE,
        create: |options, schema, _| {
            let config = BatchLinearConfig::from_options(options)?;
            Ok(Box::new(BatchLinearRegression::new(config, schema.clone())?))
        },
        label_type: |column, data_type| {
            check_numeric_label(column, data_type)?;
            Ok(DataType::Float64)
        },
        option_docs: BatchLinearConfig::option_docs,
    },
    BatchModelType {
        name: NaiveBayes::MODEL_TYPE,
        create: |options, schema, label| {
            let config = NaiveBayesConfig::from_options(options)?;
            Ok(Box::new(BatchNaiveBayes::new(config, schema.clone(), label)?))
        },
        label_type: |column, data_type| Ok(LabelKind::of(column, data_type)?.data_type()),
        option_docs: NaiveBayesConfig::option_docs,
    },
    BatchModelType {
        name: boosted_trees::CLASSIFIER,
        create: |options, schema, label| {
            let config = TreeConfig::from_options(boosted_trees::CLASSIFIER, options)?;
            Ok(Box::new(BatchBoostedTrees::classifier(config, schema.clone(), label)?))
        },
        label_type: boosted_trees::class_label_type,
        option_docs: TreeConfig::option_docs,
    },
    BatchModelType {
        name: boosted_trees::REGRESSOR,
        create: |options, schema, _| {
            let config = TreeConfig::from_options(boosted_trees::REGRESSOR, options)?;
            Ok(Box::new(BatchBoostedTrees::regressor(config, schema.clone())?))
        },
        label_type: |column, data_type| {
            check_numeric_label(column, data_type)?;
            Ok(DataType::Float64)
        },
        option_docs: TreeConfig::option_docs,
    },
    BatchModelType {
        name: ForestType::TreeClassifier.name(),
        create: |options, schema, label| create_forest(ForestType::TreeClassifier, options, schema, label),
        label_type: boosted_trees::class_label_type,
        option_docs: || ForestConfig::option_docs(ForestType::TreeClassifier),
    },
    BatchModelType {
        name: ForestType::TreeRegressor.name(),
        create: |options, schema, label| create_forest(ForestType::TreeRegressor, options, schema, label),
        label_type: |column, data_type| {
            check_numeric_label(column, data_type)?;
            Ok(DataType::Float64)
        },
        option_docs: || ForestConfig::option_docs(ForestType::TreeRegressor),
    },
    BatchModelType {
        name: ForestType::ForestClassifier.name(),
        create: |options, schema, label| create_forest(ForestType::ForestClassifier, options, schema, label),
        label_type: boosted_trees::class_label_type,
        option_docs: || ForestConfig::option_docs(ForestType::ForestClassifier),
    },
    BatchModelType {
        name: ForestType::ForestRegressor.name(),
        create: |options, schema, label| create_forest(ForestType::ForestRegressor, options, schema, label),
        label_type: |column, data_type| {
            check_numeric_label(column, data_type)?;
            Ok(DataType::Float64)
        },
        option_docs: || ForestConfig::option_docs(ForestType::ForestRegressor),
    },
];

fn create_forest(
    model: ForestType,
    options: &BTreeMap<String, String>,
    schema: &FeatureSchema,
    label: &DataType,
) -> Result<Box<dyn BatchModel>> {
    let config = ForestConfig::from_options(model, options)?;
    Ok(Box::new(BatchForest::new(model, config, schema.clone(), label)?))
}

/// Makes a model that has no rows, for labels of the type `label`.
///
/// # Errors
/// `UnknownModelType`, `UnsupportedLabel`, `UnknownOption` or `InvalidOption`; each says what would work.
pub fn create_batch(
    model_type: &str,
    options: &BTreeMap<String, String>,
    schema: &FeatureSchema,
    label: &DataType,
) -> Result<Box<dyn BatchModel>> {
    let model_type = find(model_type)?;
    (model_type.label_type)("label", label)?;
    (model_type.create)(options, schema, label)
}

/// Checks, before any row exists, that a column of this type can be the label.
///
/// # Errors
/// `UnknownModelType` or `UnsupportedLabel`, which says what would work.
pub fn check_batch_label_type(model_type: &str, column: &str, data_type: &DataType) -> Result<()> {
    predicted_label_type(model_type, column, data_type).map(|_| ())
}

/// The type of the labels that a model predicts which is fitted to a label column of this type.
///
/// # Errors
/// `UnknownModelType` or `UnsupportedLabel`, which says what would work.
pub fn predicted_label_type(model_type: &str, column: &str, data_type: &DataType) -> Result<DataType> {
    (find(model_type)?.label_type)(column, data_type)
}

/// The options of a model type that is fitted to a training set, in the order to show them.
///
/// # Errors
/// `UnknownModelType`.
pub fn batch_option_docs(model_type: &str) -> Result<Vec<OptionDoc>> {
    Ok((find(model_type)?.option_docs)())
}

/// The model types that [`create_batch`] knows, in the order to show them.
#[must_use]
pub fn valid_batch_model_types() -> Vec<&'static str> {
    MODEL_TYPES.iter().map(|model_type| model_type.name).collect()
}

fn find(name: &str) -> Result<&'static BatchModelType> {
    const { &MODEL_TYPES }.iter().find(|model_type| model_type.name == name).ok_or_else(|| MlError::UnknownModelType {
        model_type: name.to_owned(),
        valid: valid_batch_model_types().join(", "),
    })
}
