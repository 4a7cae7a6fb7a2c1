//! What a user can set about nearest neighbours; the names are scikit-learn's and BigQuery's where it has them.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use crate::error::Result;
use crate::options::{in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// The most neighbours that may be asked for: each row that is answered has room for so many.
pub(super) const NEIGHBORS_MAX: u32 = 10_000;

/// How far two rows are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Distance {
    /// The root of the sum of squared differences.
    Euclidean,
    /// The sum of the differences' magnitudes.
    Manhattan,
    /// One minus the cosine of the angle between the rows; 1 of a row of zeros from any other.
    Cosine,
}

impl Distance {
    const ALL: [(&'static str, Self); 3] =
        [("euclidean", Self::Euclidean), ("manhattan", Self::Manhattan), ("cosine", Self::Cosine)];
}

/// How much each neighbour counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Weights {
    /// All the same.
    Uniform,
    /// By one over its distance; only those at no distance where there are any.
    Distance,
}

impl Weights {
    const ALL: [(&'static str, Self); 2] = [("uniform", Self::Uniform), ("distance", Self::Distance)];
}

/// The settings of a model. [`Default`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NeighborsConfig {
    pub(crate) num_neighbors: u32,
    pub(crate) distance: Distance,
    pub(crate) weights: Weights,
    /// Whether numbers are centred and scaled by the mean and deviation of the training set. They are unless one
    /// says otherwise: else a number in small units decides alone.
    pub(crate) standardize: bool,
    /// Categories of one feature that are told apart; later ones count as one.
    pub(crate) max_categories: u32,
}

impl Default for NeighborsConfig {
    fn default() -> Self {
        Self {
            num_neighbors: 5,
            distance: Distance::Euclidean,
            weights: Weights::Uniform,
            standardize: true,
            max_categories: 100_000,
        }
    }
}

impl NeighborsConfig {
    /// Reads options as SQL gives them to a model of this type; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read, is out of range, or is given twice.
    pub(crate) fn from_options(model_type: &'static str, options: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        for (option, value) in options {
            match option.as_str() {
                "num_neighbors" => config.num_neighbors = parse("num_neighbors", value, "a whole number")?,
                "k" if options.contains_key("num_neighbors") => {
                    return Err(invalid("k", value, "num_neighbors without k, which is short for it"));
                }
                "k" => config.num_neighbors = parse("k", value, "a whole number")?,
                "distance" => config.distance = one_of("distance", value, &Distance::ALL)?,
                "weights" => config.weights = one_of("weights", value, &Weights::ALL)?,
                "standardize_features" => {
                    config.standardize = parse("standardize_features", value, "true or false")?;
                }
                "max_categories" => config.max_categories = parse("max_categories", value, "a whole number")?,
                _ => return Err(unknown(model_type, option, &Self::option_docs())),
            }
        }
        in_range("num_neighbors", f64::from(config.num_neighbors), 1.0, f64::from(NEIGHBORS_MAX))?;
        in_range("max_categories", f64::from(config.max_categories), 1.0, 1e7)?;
        Ok(config)
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        vec![
            entry("num_neighbors", "integer", &config.num_neighbors, "rows that answer for a row; also called k"),
            entry(
                "distance",
                "euclidean, manhattan or cosine",
                &name(config.distance, &Distance::ALL),
                "how far rows are apart",
            ),
            entry(
                "weights",
                "uniform or distance",
                &name(config.weights, &Weights::ALL),
                "whether nearer neighbours count more, by one over their distance",
            ),
            entry(
                "standardize_features",
                "boolean",
                &config.standardize,
                "centre and scale numbers by all rows, so that no unit decides; for cosine, too",
            ),
            entry("max_categories", "integer", &config.max_categories, "categories told apart, a feature"),
        ]
    }
}

fn one_of<T: Copy>(option: &'static str, value: &str, all: &[(&'static str, T)]) -> Result<T> {
    let names = all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let known = all.iter().find(|(name, _)| *name == value.trim());
    known.map(|(_, known)| *known).ok_or_else(|| invalid(option, value, &format!("one of {names}")))
}

fn name<T: PartialEq>(value: T, all: &[(&'static str, T)]) -> &'static str {
    all.iter().find(|(_, known)| *known == value).map_or("", |(name, _)| name)
}
