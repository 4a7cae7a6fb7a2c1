//! Learning algorithms as the planner knows them: their names and options.
//!
//! The algorithms declare both themselves, in `tidemill-ml`; this is the planner's way to them.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, Schema};
use tidemill_ml::preprocessing::assumed_features;
pub use tidemill_ml::preprocessing::is_feature_list;
use tidemill_ml::{FeatureSchema, MlError, feature_schema, fitted_outputs, learnt_outputs};
pub use tidemill_ml::{class_probability_outputs, explained_outputs, label_outputs};

use crate::error::{PlanError, Result};

/// Names that other systems have for our algorithms: BigQuery ML's, so far.
const ALIASES: &[(&str, &str)] = &[("logistic_reg", "logistic_regression"), ("logistic_regression", "logistic_reg")];

/// The option that names the column by which a training set is split. Models read it in the rows that they are fitted to; it
/// is no feature.
pub const SPLIT_COLUMN: &str = "data_split_col";

/// The option that names the column which says what rows a ranker puts in order together.
const GROUP_COLUMN: &str = "group_column";

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

/// Whether an algorithm, by its own name, learns a label if there is one.
pub fn takes_label(model_type: &str, training: Training) -> Result<bool> {
    match training {
        Training::Continuous => tidemill_ml::learns_label(model_type),
        Training::Whole => tidemill_ml::takes_label(model_type),
    }
    .map_err(invalid)
}

/// Whether there has to be a label.
pub fn needs_label(model_type: &str, training: Training) -> Result<bool> {
    match training {
        Training::Continuous => takes_label(model_type, training),
        Training::Whole => tidemill_ml::needs_label(model_type).map_err(invalid),
    }
}

/// Whether features may be times, as those of models of series are.
#[must_use]
pub fn reads_times(model_type: &str) -> bool {
    tidemill_ml::reads_times(model_type)
}

/// Those of a training query's columns, beside the label, that only learning reads: rows that are asked about need not have
/// them. The options have been checked.
pub fn learning_columns(
    model_type: &str,
    training: Training,
    options: &[(String, String)],
    columns: &[&str],
) -> Result<Vec<String>> {
    let options: BTreeMap<String, String> = options.iter().cloned().collect();
    match training {
        Training::Continuous => tidemill_ml::learning_columns(model_type, &options, columns).map_err(invalid),
        // Only rankers have that option.
        Training::Whole => Ok(options.get(GROUP_COLUMN).cloned().into_iter().collect()),
    }
}

/// The columns that a model adds to rows, by the algorithm's own name. Checks its options, the features' types and the
/// label's by making the model once; where features are lists twice, for how many of them there are is known from rows.
pub fn outputs(
    model_type: &str,
    training: Training,
    options: &[(String, String)],
    features: &Schema,
    label: Option<&Field>,
) -> Result<Vec<Field>> {
    let options: BTreeMap<String, String> = options.iter().cloned().collect();
    let (column, data_type) = label.map_or(("", &DataType::Null), |label| (label.name().as_str(), label.data_type()));
    let label = (column, data_type);
    match training {
        Training::Continuous => FeatureSchema::from_arrow(features)
            .and_then(|features| learnt_outputs(model_type, &options, &features, label))
            .map_err(invalid),
        Training::Whole => {
            let outputs = |of_a_list| {
                let features = feature_schema(model_type, &assumed_features(features, of_a_list)).map_err(invalid)?;
                fitted_outputs(model_type, &options, &features, label).map_err(invalid)
            };
            let (of_one, of_two) = (outputs(1)?, outputs(2)?);
            if of_one.len() == of_two.len() { Ok(of_one) } else { Err(unknown_columns(model_type)) }
        }
    }
}

fn unknown_columns(model_type: &str) -> PlanError {
    PlanError::InvalidOption(format!(
        "what a model of type {model_type} says has as many columns as there are features, and those of lists are known from \
         the rows alone: the option num_principal_components says how many columns there are to be"
    ))
}

/// The same error, at the option that is wrong.
fn invalid(error: MlError) -> PlanError {
    match &error {
        MlError::UnknownOption { option, .. } => PlanError::given_option(option, error.to_string()),
        MlError::InvalidOption { option, .. } => PlanError::given_option(*option, error.to_string()),
        MlError::UnsupportedLabel { .. } => PlanError::given_option("label", error.to_string()),
        _ => PlanError::InvalidOption(error.to_string()),
    }
}
