//! A search over model types, each with the options that matter most to it: BigQuery's AutoML models, by the models of this
//! crate.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;

use super::config::{self, SEED, SearchConfig, TuningConfig};
use super::space::Branch;
use super::{Target, Tunable, TunedModel, check_grid, check_values, default_dimensions, without_split_column};
use crate::batch::{BatchModel, batch_option_docs};
use crate::boosted_trees;
use crate::error::Result;
use crate::forest::ForestType;
use crate::linear::linear_regression::LinearRegression;
use crate::linear::logistic_regression::LogisticRegression;
use crate::model::FeatureSchema;
use crate::naive_bayes::NaiveBayes;
use crate::nearest_neighbors;
use crate::options::unknown;
use crate::registry::OptionDoc;

/// A search over classifiers.
pub(crate) const CLASSIFIER: &str = "auto_classifier";

/// A search over models of numbers.
pub(crate) const REGRESSOR: &str = "auto_regressor";

/// The model types that are tried, in turn until something is known of them.
fn model_types(target: Target) -> Vec<&'static str> {
    match target {
        Target::Classes => vec![
            boosted_trees::CLASSIFIER,
            LogisticRegression::MODEL_TYPE,
            ForestType::ForestClassifier.name(),
            nearest_neighbors::CLASSIFIER,
            NaiveBayes::MODEL_TYPE,
        ],
        Target::Numbers | Target::Own(_) => vec![
            boosted_trees::REGRESSOR,
            LinearRegression::MODEL_TYPE,
            ForestType::ForestRegressor.name(),
            nearest_neighbors::REGRESSOR,
        ],
    }
}

/// The options of such a search, in the order to show them.
pub(crate) fn option_docs(target: Target) -> Vec<OptionDoc> {
    config::option_docs(target, &SearchConfig::default().trials.to_string(), &[])
}

/// Makes a model that has no rows, for labels of the type `label`.
///
/// # Errors
/// As [`create_batch`](crate::create_batch).
pub(crate) fn create(
    target: Target,
    options: &BTreeMap<String, String>,
    schema: &FeatureSchema,
    label: &DataType,
) -> Result<Box<dyn BatchModel>> {
    let name = if target == Target::Classes { CLASSIFIER } else { REGRESSOR };
    let docs = option_docs(target);
    if let Some(option) = options.keys().find(|option| docs.iter().all(|doc| doc.name != option.as_str())) {
        return Err(unknown(name, option, &docs));
    }
    let config = TuningConfig::from_options(target, options, Some(SearchConfig::default()))?;
    let schema = without_split_column(schema, &config)?;
    let mut space = Vec::new();
    for model_type in model_types(target) {
        let tunable = Tunable { model_type, docs: batch_option_docs(model_type)?, target };
        let seed = options.get_key_value(SEED).filter(|_| tunable.docs.iter().any(|doc| doc.name == SEED));
        let fixed: BTreeMap<_, _> = seed.map(|(name, value)| (name.clone(), value.clone())).into_iter().collect();
        let dimensions = default_dimensions(&tunable, &fixed)?;
        let branch = Branch { model_type, options: fixed, dimensions };
        check_values(&branch, &config, &schema, label)?;
        space.push(branch);
    }
    check_grid(&space, &config)?;
    Ok(Box::new(TunedModel::new(name, space, config, target, schema, label)?))
}
