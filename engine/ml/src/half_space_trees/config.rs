//! What a user can set about half-space trees; the defaults are River's.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use super::HalfSpaceTrees;
use super::window::Range;
use crate::error::{MlError, Result};
use crate::model::{FeatureSchema, NUMERIC_MAGNITUDE_MAX};
use crate::options::{in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// Nodes of all trees at most: a snapshot holds each, in up to 20 bytes.
const NODES_MAX: u64 = 4 << 20;

/// The settings of the trees. [`Default`] is where the defaults live.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(super) struct HalfSpaceConfig {
    pub(super) num_trees: u32,
    /// Cuts above each leaf.
    pub(super) tree_depth: u32,
    /// Rows after which counts are those of the window before.
    pub(super) window_rows: u32,
    pub(super) threshold: Threshold,
    pub(super) seed: u64,
}

/// From which score on a row is an anomaly.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(super) enum Threshold {
    /// Those that this part of the window before exceeded.
    Share(f64),
    /// Those above this one.
    Score(f64),
}

impl Default for HalfSpaceConfig {
    fn default() -> Self {
        Self { num_trees: 10, tree_depth: 8, window_rows: 250, threshold: Threshold::Share(0.01), seed: 0 }
    }
}

impl HalfSpaceConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read or is out of range.
    pub(super) fn from_options(options: &BTreeMap<String, String>) -> Result<(Self, FeatureLimits)> {
        const WHOLE: &str = "a whole number";
        let (mut config, mut limits) = (Self::default(), FeatureLimits::default());
        for (option, value) in options {
            match option.as_str() {
                "num_trees" => config.num_trees = parse("num_trees", value, WHOLE)?,
                "tree_depth" => config.tree_depth = parse("tree_depth", value, WHOLE)?,
                "window_rows" => config.window_rows = parse("window_rows", value, WHOLE)?,
                "feature_limits" => limits = FeatureLimits::parse(value)?,
                "seed" => config.seed = parse("seed", value, WHOLE)?,
                // Read together, by themselves.
                CONTAMINATION | SCORE_THRESHOLD => {}
                _ => return Err(unknown(HalfSpaceTrees::MODEL_TYPE, option, &Self::option_docs())),
            }
        }
        config.threshold = Threshold::from_options(options, config.threshold)?;
        config.validate()?;
        Ok((config, limits))
    }

    /// # Errors
    /// `InvalidOption`.
    pub(super) fn validate(&self) -> Result<()> {
        in_range("num_trees", f64::from(self.num_trees), 1.0, 1e4)?;
        in_range("tree_depth", f64::from(self.tree_depth), 1.0, 20.0)?;
        in_range("window_rows", f64::from(self.window_rows), 1.0, 1e6)?;
        match self.threshold {
            Threshold::Share(share) => in_range(CONTAMINATION, share, 0.0, 0.5)?,
            Threshold::Score(score) => in_range(SCORE_THRESHOLD, score, 0.0, 1.0)?,
        }
        let trees_max = NODES_MAX >> (self.tree_depth + 1);
        if u64::from(self.num_trees) > trees_max {
            let expected = format!("a number up to {trees_max} for trees of the depth {}", self.tree_depth);
            return Err(invalid("num_trees", &self.num_trees.to_string(), &expected));
        }
        Ok(())
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(super) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let (Threshold::Share(share) | Threshold::Score(share)) = config.threshold;
        let entry = OptionDoc::new;
        vec![
            entry("num_trees", "integer", &config.num_trees, "trees"),
            entry("tree_depth", "integer", &config.tree_depth, "cuts above each leaf"),
            entry("window_rows", "integer", &config.window_rows, "rows after which those counted decide the scores"),
            entry(
                "feature_limits",
                "feature:low:high, ...",
                &"",
                "between what numbers a feature lies; of those left out, between the smallest and the largest so far",
            ),
            entry(
                CONTAMINATION,
                "number",
                &share,
                "part of the rows that are anomalies: by the scores of the window before",
            ),
            entry(
                SCORE_THRESHOLD,
                "number",
                &"",
                "in place of contamination: the score above which rows are anomalies",
            ),
            entry("seed", "integer", &config.seed, "what the cuts follow from"),
        ]
    }
}

const CONTAMINATION: &str = "contamination";
const SCORE_THRESHOLD: &str = "score_threshold";

impl Threshold {
    /// # Errors
    /// `InvalidOption` for what is no number, and for a score beside a share.
    fn from_options(options: &BTreeMap<String, String>, default: Self) -> Result<Self> {
        let share = options.get(CONTAMINATION);
        let score = options.get(SCORE_THRESHOLD).filter(|score| !score.trim().is_empty());
        match (share, score) {
            (Some(_), Some(score)) => Err(invalid(SCORE_THRESHOLD, score, "no contamination beside it")),
            (None, Some(score)) => Ok(Self::Score(parse(SCORE_THRESHOLD, score, "a number")?)),
            (Some(share), None) => Ok(Self::Share(parse(CONTAMINATION, share, "a number")?)),
            (None, None) => Ok(default),
        }
    }
}

/// The limits of some features, by their names.
#[derive(Debug, Default)]
pub(super) struct FeatureLimits {
    limits: Vec<(String, Range)>,
}

impl FeatureLimits {
    const OPTION: &str = "feature_limits";

    /// Reads `feature:low:high, feature:low:high`; a feature's name may have colons in it, but no commas.
    ///
    /// # Errors
    /// `InvalidOption`.
    fn parse(value: &str) -> Result<Self> {
        let wrong = |expected: &str| invalid(Self::OPTION, value, expected);
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|end| end.abs() <= NUMERIC_MAGNITUDE_MAX);
        let mut limits: Vec<(String, Range)> = Vec::new();
        for part in value.split(',').filter(|_| !value.trim().is_empty()) {
            let mut ends = part.rsplitn(3, ':');
            let (high, low, feature) = (ends.next().and_then(number), ends.next().and_then(number), ends.next());
            let (Some(low), Some(high), Some(feature)) = (low, high, feature) else {
                return Err(wrong(
                    "features with their smallest and largest numbers, such as 'price:0:100, age:18:99'",
                ));
            };
            if low >= high {
                return Err(wrong("a smaller number before a larger one for each feature"));
            }
            if limits.iter().any(|(known, _)| known == feature.trim()) {
                return Err(wrong("each feature once"));
            }
            limits.push((feature.trim().to_owned(), Range::fixed(low, high)));
        }
        Ok(Self { limits })
    }

    /// The range of each feature to begin with.
    ///
    /// # Errors
    /// `InvalidOption` for what is no feature.
    pub(super) fn of_features(&self, schema: &FeatureSchema) -> Result<Vec<Range>> {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name.as_str()).collect();
        if let Some((unknown, _)) = self.limits.iter().find(|(feature, _)| !names.contains(&feature.as_str())) {
            return Err(MlError::InvalidOption {
                option: Self::OPTION,
                value: unknown.clone(),
                expected: format!("some of the features {}", names.join(", ")),
            });
        }
        let limits = |name: &str| self.limits.iter().find(|(feature, _)| feature == name).map(|(_, range)| *range);
        Ok(names.into_iter().map(|name| limits(name).unwrap_or(Range::RUNNING)).collect())
    }
}
