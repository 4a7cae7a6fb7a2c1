//! What a user can set about k-means along a stream: the names of k-means over tables where they mean the same.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use super::super::config::{CLUSTERS_MAX, InitMethod, NUM_CLUSTERS, parse_init};
use super::OnlineKMeans;
use crate::error::Result;
use crate::options::{in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// The settings of the clusters. [`Default`] is where the defaults live.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(super) struct OnlineKMeansConfig {
    pub(super) num_clusters: u32,
    pub(super) init: InitMethod,
    /// Rows that the first centroids are chosen among.
    pub(super) init_rows: u32,
    /// Rows after which a row counts half; 0 for never.
    pub(super) half_life_rows: f64,
    /// Whether numbers are compared in their standard deviations.
    pub(super) standardize: bool,
    pub(super) seed: u64,
    /// Categories of one feature that are told apart; later ones count as one.
    pub(super) max_categories: u32,
}

impl Default for OnlineKMeansConfig {
    fn default() -> Self {
        Self {
            num_clusters: 5,
            init: InitMethod::PlusPlus,
            init_rows: 100,
            half_life_rows: 0.0,
            standardize: true,
            seed: 0,
            max_categories: 1000,
        }
    }
}

const INIT_METHOD: &str = "kmeans_init_method";
const INIT_ROWS: &str = "init_rows";
const HALF_LIFE_ROWS: &str = "half_life_rows";

impl OnlineKMeansConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read or is out of range.
    pub(super) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        const WHOLE: &str = "a whole number";
        let mut config = Self::default();
        for (option, value) in options {
            match option.as_str() {
                NUM_CLUSTERS => config.num_clusters = parse(NUM_CLUSTERS, value, WHOLE)?,
                INIT_METHOD => config.init = parse_init(value)?,
                INIT_ROWS => config.init_rows = parse(INIT_ROWS, value, WHOLE)?,
                HALF_LIFE_ROWS => config.half_life_rows = parse(HALF_LIFE_ROWS, value, "a number")?,
                "standardize_features" => {
                    config.standardize = parse("standardize_features", value, "true or false")?;
                }
                "seed" => config.seed = parse("seed", value, WHOLE)?,
                "max_categories" => config.max_categories = parse("max_categories", value, WHOLE)?,
                _ => return Err(unknown(OnlineKMeans::MODEL_TYPE, option, &Self::option_docs())),
            }
        }
        if !options.contains_key(INIT_ROWS) {
            config.init_rows = config.init_rows.max(config.num_clusters);
        }
        config.validate()?;
        Ok(config)
    }

    /// # Errors
    /// `InvalidOption`.
    pub(super) fn validate(&self) -> Result<()> {
        in_range(NUM_CLUSTERS, f64::from(self.num_clusters), 1.0, f64::from(CLUSTERS_MAX))?;
        in_range(INIT_ROWS, f64::from(self.init_rows), f64::from(self.num_clusters), 1e5)?;
        in_range("max_categories", f64::from(self.max_categories), 1.0, 1e7)?;
        match self.half_life_rows {
            0.0 => Ok(()),
            rows if (1.0..=1e12).contains(&rows) => Ok(()),
            rows => Err(invalid(HALF_LIFE_ROWS, &rows.to_string(), "0 for never, or a number from 1 to 1e12")),
        }
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(super) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        vec![
            entry(NUM_CLUSTERS, "integer", &config.num_clusters, "clusters"),
            entry(INIT_METHOD, "kmeans++ or random", &"kmeans++", "how the first centroids are chosen"),
            entry(INIT_ROWS, "integer", &config.init_rows, "rows that they are chosen among: nothing is said before"),
            entry(HALF_LIFE_ROWS, "number", &config.half_life_rows, "rows after which a row counts half; 0 for never"),
            entry(
                "standardize_features",
                "boolean",
                &config.standardize,
                "compare numbers in their standard deviations",
            ),
            entry("seed", "integer", &config.seed, "what the first centroids follow from"),
            entry("max_categories", "integer", &config.max_categories, "categories told apart, a feature"),
        ]
    }
}
