//! Splits of a training set, and searches for the options with which a model does best: BigQuery's `data_split_method`,
//! `num_trials`, `HPARAM_RANGE` and `HPARAM_CANDIDATES`, for all model types that can be judged.
//!
//! A [`TunedModel`](batch::TunedModel) stands around models of the registry: it keeps the rows that it is given ([`rows`]),
//! splits them ([`data_split`](crate::batch::data_split)), and fits one model to what is learnt, or one for each trial. A
//! model is judged ([`objective`]) by rows that it does not learn. What is tried next, a [`search`] says, over the values
//! that options may have ([`space`]); [`tpe`] and [`halving`] are the two that learn from trials before.
//!
//! The best trial's model is the model, as fitted to the part that is learnt; with folds, to all of them. All trials go
//! with it where it is kept ([`Origin`](crate::Origin)), and are no part of it.
//!
//! Before a fit, the classes that it learns can be made alike in number ([`sampling`]). [`auto`] searches over model types,
//! too.
//!
//! What comes out depends on the seed, and not on the threads. Trials of a round (`max_parallel_trials`) run at the same
//! time, and so do not know of each other: with `tpe` another number of them is another search.

pub(crate) mod auto;
mod batch;
mod config;
mod defaults;
mod fits;
mod halving;
mod objective;
mod rows;
mod sampling;
mod search;
mod smote;
mod space;
mod table;
#[cfg(test)]
mod tests;
mod tpe;
mod trial;
mod trials;

use std::collections::BTreeMap;

use arrow::datatypes::DataType;

use self::batch::TunedModel;
use self::config::{NUM_TRIALS, SEED, TuningConfig};
use self::fits::{looks_at_held_out, with_held_out};
pub(crate) use self::objective::Target;
use self::search::Algorithm;
use self::space::{Branch, Dimension, Values};
pub use self::table::trial_table;
pub use self::trial::{Trial, TrialStatus};
use crate::batch::{BatchModel, create_batch};
use crate::error::{MlError, Result};
use crate::model::FeatureSchema;
use crate::options::{invalid, unknown};
use crate::registry::OptionDoc;

/// A model type, as far as a search must know it.
#[derive(Debug, Clone)]
pub(crate) struct Tunable {
    pub(crate) model_type: &'static str,
    /// Its own options.
    pub(crate) docs: Vec<OptionDoc>,
    pub(crate) target: Target,
}

/// Whether options ask for more than a model does by itself. Boosted trees split their rows themselves, by their numbers.
pub(crate) fn is_asked_for(model_type: &str, options: &BTreeMap<String, String>) -> bool {
    let is_native = |option: &str, value: &str| match option {
        "data_split_eval_fraction" => true,
        "data_split_method" => ["no_split", "random", "seq"].contains(&value.trim().to_ascii_lowercase().as_str()),
        _ => false,
    };
    let is_ours = |option: &str, value: &str| {
        let is_known = config::is_own(option) && !(looks_at_held_out(model_type) && is_native(option, value));
        is_known || space::is_searched(value)
    };
    options.iter().any(|(option, value)| is_ours(option, value))
}

/// The options that a model type has by way of this module.
pub(crate) fn option_docs(target: Target, known: &[OptionDoc]) -> Vec<OptionDoc> {
    config::option_docs(target, "", known)
}

/// Makes a model around those of a type, for labels of the type `label`.
///
/// # Errors
/// As [`create_batch`].
pub(crate) fn create(
    tunable: &Tunable,
    options: &BTreeMap<String, String>,
    schema: &FeatureSchema,
    label: &DataType,
) -> Result<Box<dyn BatchModel>> {
    let config = TuningConfig::from_options(tunable.target, options, None)?;
    let schema = without_split_column(schema, &config)?;
    let branch = branch_of(tunable, &config, options)?;
    if config.is_idle() {
        return create_batch(branch.model_type, &branch.options, &schema, label);
    }
    check_values(&branch, &config, &schema, label)?;
    let space = vec![branch];
    check_grid(&space, &config)?;
    Ok(Box::new(TunedModel::new(tunable.model_type, space, config, tunable.target, schema, label)?))
}

/// What rows are split by is no feature, as in BigQuery.
fn without_split_column(schema: &FeatureSchema, config: &TuningConfig) -> Result<FeatureSchema> {
    let is_feature = |name: &str| config.split.column.as_deref() != Some(name);
    FeatureSchema::new(schema.fields().iter().filter(|field| is_feature(&field.name)).cloned().collect())
}

/// What is set about a model type, and what is searched.
fn branch_of(tunable: &Tunable, config: &TuningConfig, options: &BTreeMap<String, String>) -> Result<Branch> {
    let Tunable { model_type, docs, .. } = tunable;
    let doc = |option: &str| docs.iter().find(|doc| doc.name == option);
    let (mut fixed, mut dimensions) = (BTreeMap::new(), Vec::new());
    let is_theirs = |option: &str| !config::is_own(option) && (option != SEED || doc(SEED).is_some());
    for (option, value) in options.iter().filter(|(option, _)| is_theirs(option)) {
        if !space::is_searched(value) {
            fixed.insert(option.clone(), value.clone());
            continue;
        }
        let doc = doc(option).ok_or_else(|| unknown(model_type, option, docs))?;
        if config.search.is_none() {
            return Err(invalid(doc.name, value, "num_trials beside it, which says how many values are tried"));
        }
        dimensions.push(Dimension::parse(doc, value)?);
    }
    if config.search.is_some() && dimensions.is_empty() {
        dimensions = default_dimensions(tunable, &fixed)?;
    }
    Ok(Branch { model_type, options: fixed, dimensions })
}

/// What is searched where nothing is said of it: what is set is not.
fn default_dimensions(tunable: &Tunable, fixed: &BTreeMap<String, String>) -> Result<Vec<Dimension>> {
    let searched = defaults::searched(tunable.model_type).iter().filter(|(option, _)| !fixed.contains_key(*option));
    let parse = |(option, value): &(&str, &str)| {
        let doc = tunable.docs.iter().find(|doc| doc.name == *option);
        doc.map(|doc| Dimension::parse(doc, value))
    };
    let dimensions = searched.filter_map(parse).collect::<Result<Vec<_>>>()?;
    if dimensions.is_empty() {
        let expected =
            "HPARAM_RANGE(low, high) or HPARAM_CANDIDATES([a, b]) as the value of an option that is searched";
        return Err(invalid(NUM_TRIALS, "", expected));
    }
    Ok(dimensions)
}

/// Checks each candidate and the ends of each range by themselves, so that what can never work is an error at once. What
/// only contradicts another value is the trial's.
fn check_values(branch: &Branch, config: &TuningConfig, schema: &FeatureSchema, label: &DataType) -> Result<()> {
    let has_folds = config.search.as_ref().is_some_and(|search| search.folds.is_some());
    let part = if config.split.holds_out() && !has_folds { 0.5 } else { 0.0 };
    let options = with_held_out(branch.model_type, &branch.options, part);
    create_batch(branch.model_type, &options, schema, label)?;
    for dimension in &branch.dimensions {
        let numbers: Vec<f64> = match &dimension.values {
            Values::Candidates(candidates) => (0..candidates.len()).map(|number| number as f64).collect(),
            Values::Whole { .. } | Values::Number { .. } => vec![0.0, 1.0],
        };
        for number in numbers {
            let mut options = options.clone();
            options.insert(dimension.option.to_owned(), dimension.text(number));
            match create_batch(branch.model_type, &options, schema, label) {
                Err(MlError::InvalidOption { option, value, expected }) if option == dimension.option => {
                    return Err(MlError::InvalidOption { option, value, expected });
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// # Errors
/// `InvalidOption` for a grid that has no end, or more points than there are trials.
fn check_grid(space: &[Branch], config: &TuningConfig) -> Result<()> {
    let Some(search) = config.search.as_ref().filter(|search| search.algorithm == Algorithm::GridSearch) else {
        return Ok(());
    };
    let mut dimensions = space.iter().flat_map(|branch| &branch.dimensions);
    if let Some(endless) = dimensions.find(|dimension| dimension.values.count().is_none()) {
        let expected = format!(
            "HPARAM_CANDIDATES([a, b]) for {}, whose range has numbers without end, or another algorithm",
            endless.option
        );
        return Err(invalid("hparam_tuning_algorithm", "grid_search", &expected));
    }
    match search::count(space) {
        Some(count) if count > search.trials => {
            let expected = format!("at least {count}, the points of the grid, or fewer candidates");
            Err(invalid(NUM_TRIALS, &search.trials.to_string(), &expected))
        }
        _ => Ok(()),
    }
}
