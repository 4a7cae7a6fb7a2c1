//! What a user can set about splits and searches, of any model type: BigQuery's names where it has one.

use std::collections::BTreeMap;

use super::objective::{self, Measure, Target};
use super::sampling::Sampling;
use super::search::Algorithm;
use crate::batch::data_split::{DataSplit, Method};
use crate::error::Result;
use crate::options::{in_range, invalid, parse};
use crate::registry::OptionDoc;

pub(super) const NUM_TRIALS: &str = "num_trials";
const PARALLEL: &str = "max_parallel_trials";
const ALGORITHM: &str = "hparam_tuning_algorithm";
const FOLDS: &str = "cv_folds";
pub(super) const SEED: &str = "seed";

/// The options that only a search reads.
const OF_SEARCH: [&str; 5] = [NUM_TRIALS, PARALLEL, ALGORITHM, objective::OPTION, FOLDS];

/// How a training set is split, and what is searched by it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TuningConfig {
    pub(super) split: DataSplit,
    /// None where one model is fitted.
    pub(super) search: Option<SearchConfig>,
    /// How classes are made alike in number, if they are.
    pub(super) sampling: Option<Sampling>,
    /// What rows and trials are drawn by.
    pub(super) seed: u64,
}

/// How a search goes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SearchConfig {
    pub(super) algorithm: Algorithm,
    /// Trials at most.
    pub(super) trials: u64,
    /// Trials of a round.
    pub(super) parallel: u64,
    /// None for that of the label.
    pub(super) measure: Option<Measure>,
    /// Fits of each trial, each judged by other rows; none where one part of the rows is held out.
    pub(super) folds: Option<u8>,
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self { algorithm: Algorithm::Tpe, trials: 20, parallel: 1, measure: None, folds: None }
    }
}

/// Whether an option is one of these, and none of a model type's; `seed` is of both.
pub(super) fn is_own(option: &str) -> bool {
    OF_SEARCH.contains(&option) || DataSplit::OPTIONS.contains(&option) || Sampling::OPTIONS.contains(&option)
}

impl TuningConfig {
    /// Reads options as SQL gives them. `search` is what is searched where no option says so.
    ///
    /// # Errors
    /// `InvalidOption` for what cannot be read, is out of range, or contradicts another option.
    pub(super) fn from_options(
        target: Target,
        options: &BTreeMap<String, String>,
        search: Option<SearchConfig>,
    ) -> Result<Self> {
        let search = SearchConfig::from_options(target, options, search)?;
        let has_label = !matches!(target, Target::Own(_));
        let method = if search.is_some() && has_label { Method::Random } else { Method::NoSplit };
        let split = DataSplit::from_options(options, method)?;
        let seed = options.get(SEED).map_or(Ok(0), |value| parse(SEED, value, "a whole number"))?;
        let sampling = Sampling::from_options(options)?;
        let config = Self { split, search, sampling, seed };
        config.check(target, options)?;
        Ok(config)
    }

    fn check(&self, target: Target, options: &BTreeMap<String, String>) -> Result<()> {
        let given = |option: &str| options.get(option).map_or("", String::as_str);
        let method = |expected| Err(invalid("data_split_method", given("data_split_method"), expected));
        if self.split.holds_out() && matches!(target, Target::Own(_)) {
            return method("no_split for a model without a label, which no rows held out could judge");
        }
        if self.split.method == Method::Stratified && target == Target::Numbers {
            return method("random, seq, custom or grouped for a label that is a number");
        }
        if self.sampling.is_some() && target != Target::Classes {
            return Err(invalid("sampling", given("sampling"), "none where no classes are learnt"));
        }
        let Some(search) = &self.search else { return Ok(()) };
        if !self.split.holds_out() && !matches!(target, Target::Own(_)) {
            return method("a method that holds rows out, by which trials are compared");
        }
        let Some(folds) = search.folds else { return Ok(()) };
        if self.split.method == Method::Custom {
            return method("random, stratified, grouped or seq beside cv_folds");
        }
        if options.contains_key("data_split_eval_fraction") {
            let folds = folds.to_string();
            return Err(invalid(FOLDS, &folds, "no data_split_eval_fraction beside it: each fold is held out in turn"));
        }
        Ok(())
    }

    /// Whether there is anything to do that a model does not do by itself.
    pub(super) fn is_idle(&self) -> bool {
        self.search.is_none() && self.sampling.is_none() && !self.split.holds_out()
    }
}

impl SearchConfig {
    fn from_options(target: Target, options: &BTreeMap<String, String>, base: Option<Self>) -> Result<Option<Self>> {
        let given = OF_SEARCH.iter().find_map(|option| options.get(*option).map(|value| (*option, value)));
        if base.is_none() && !options.contains_key(NUM_TRIALS) {
            return match given {
                Some((option, value)) => Err(invalid(option, value, "num_trials beside it")),
                None => Ok(None),
            };
        }
        let mut config = base.unwrap_or_default();
        if let Some(value) = options.get(NUM_TRIALS) {
            config.trials = parse(NUM_TRIALS, value, "a whole number")?;
            in_range(NUM_TRIALS, config.trials as f64, 1.0, 10_000.0)?;
        }
        if let Some(value) = options.get(PARALLEL) {
            config.parallel = parse(PARALLEL, value, "a whole number")?;
            in_range(PARALLEL, config.parallel as f64, 1.0, 100.0)?;
        }
        if let Some(value) = options.get(ALGORITHM) {
            config.algorithm = parse_algorithm(value)?;
        }
        if let Some(value) = options.get(objective::OPTION) {
            config.measure = Some(Measure::parse(target, value)?);
        }
        if let Some(value) = options.get(FOLDS) {
            let folds: u8 = parse(FOLDS, value, "a whole number")?;
            in_range(FOLDS, f64::from(folds), 2.0, 10.0)?;
            if matches!(target, Target::Own(_)) {
                return Err(invalid(FOLDS, value, "no folds for a model without a label"));
            }
            config.folds = Some(folds);
        }
        Ok(Some(config))
    }

    /// The options in the order to show them.
    fn option_docs(&self, has_label: bool) -> Vec<OptionDoc> {
        let entry = OptionDoc::new;
        let algorithms = "tpe, random_search, grid_search or successive_halving";
        let objectives = "roc_auc; log_loss of several classes; r2; davies_bouldin_index; bic";
        let mut docs = vec![
            entry(
                PARALLEL,
                "integer",
                &self.parallel,
                "trials of a round, which run at the same time; those of tpe learn from the rounds before",
            ),
            entry(ALGORITHM, algorithms, &"tpe", "how values are chosen; vizier_default is tpe"),
            entry(
                objective::OPTION,
                "measure",
                &objectives,
                "what trials are compared by, of rows that they do not learn",
            ),
        ];
        if has_label {
            docs.push(entry(FOLDS, "integer", &"", "a search: fits of each trial, each judged by other rows; 2 to 10"));
        }
        docs
    }
}

/// The options that `known` model types have beside their own, which are `known`.
pub(super) fn option_docs(target: Target, trials: &str, known: &[OptionDoc]) -> Vec<OptionDoc> {
    let entry = OptionDoc::new;
    let has_label = !matches!(target, Target::Own(_));
    let mut docs = vec![entry(
        NUM_TRIALS,
        "integer",
        &trials,
        "models to try, with values of the options that are HPARAM_RANGE(low, high) or HPARAM_CANDIDATES([a, b])",
    )];
    docs.extend(SearchConfig::default().option_docs(has_label));
    if has_label {
        docs.extend(DataSplit::option_docs());
    }
    if target == Target::Classes {
        docs.extend(Sampling::option_docs());
    }
    docs.push(entry(SEED, "integer", &0, "what rows and trials are drawn by"));
    docs.retain(|doc| known.iter().all(|known| known.name != doc.name));
    docs
}

fn parse_algorithm(value: &str) -> Result<Algorithm> {
    let wanted = value.trim().to_ascii_lowercase();
    let known = Algorithm::NAMES.iter().find(|(name, _)| *name == wanted);
    known.map(|(_, algorithm)| *algorithm).ok_or_else(|| {
        let names = Algorithm::NAMES.map(|(name, _)| name).join(", ");
        invalid(ALGORITHM, value, &format!("one of {names}"))
    })
}
