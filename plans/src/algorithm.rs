//! Learning algorithms as the planner knows them: their names and options.
//!
//! The algorithms declare both themselves, in `tidemill-ml`; this is the planner's way to them.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Schema};
use tidemill_ml::{FeatureSchema, MlError};

use crate::error::{PlanError, Result};

/// Names that other systems have for our algorithms: BigQuery ML's, so far.
const ALIASES: &[(&str, &str)] = &[("logistic_reg", "logistic_regression"), ("logistic_regression", "logistic_reg")];

/// How a model comes to know its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Training {
    /// One after the other, in event time.
    Continuous,
    /// All at once.
    Whole,
}

/// The algorithm's own name for a `model_type` that is trained so; the error lists the valid ones.
pub fn resolve_model_type(name: &str, training: Training) -> Result<&'static str> {
    let valid = match training {
        Training::Continuous => tidemill_ml::valid_model_types(),
        Training::Whole => tidemill_ml::valid_batch_model_types(),
    };
    let known = |name: &str| valid.iter().copied().find(|valid| *valid == name);
    let alias = || ALIASES.iter().find(|(alias, _)| *alias == name).and_then(|(_, own)| known(own));
    known(name).or_else(alias).ok_or_else(|| {
        let message = format!("unknown model_type '{name}'; valid are: {}", valid.join(", "));
        PlanError::given_option("model_type", message)
    })
}

/// The type of the labels that an algorithm predicts which learns those of this column.
pub fn predicted_type(model_type: &str, training: Training, column: &str, label: &DataType) -> Result<DataType> {
    let predicted = match training {
        Training::Continuous => tidemill_ml::check_label_type(column, label).map(|()| DataType::Boolean),
        Training::Whole => tidemill_ml::predicted_label_type(model_type, column, label),
    };
    predicted.map_err(|error| PlanError::given_option("label", error.to_string()))
}

/// Checks the algorithm's own options and the features' types by making the model once.
pub fn check_model(
    model_type: &str,
    training: Training,
    options: &[(String, String)],
    features: &Schema,
    label: &DataType,
) -> Result<()> {
    let invalid = |error: MlError| match &error {
        MlError::UnknownOption { option, .. } => PlanError::given_option(option, error.to_string()),
        MlError::InvalidOption { option, .. } => PlanError::given_option(*option, error.to_string()),
        _ => PlanError::InvalidOption(error.to_string()),
    };
    let features = FeatureSchema::from_arrow(features).map_err(invalid)?;
    let options: BTreeMap<String, String> = options.iter().cloned().collect();
    let model_type = resolve_model_type(model_type, training)?;
    match training {
        Training::Continuous => drop(tidemill_ml::create(model_type, &options, &features).map_err(invalid)?),
        Training::Whole => drop(tidemill_ml::create_batch(model_type, &options, &features, label).map_err(invalid)?),
    }
    Ok(())
}
