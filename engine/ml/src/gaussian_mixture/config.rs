//! What a user can set about a Gaussian mixture: the names of k-means where it has one, and scikit-learn's defaults.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use super::GaussianMixture;
use crate::error::Result;
use crate::kmeans::config::{CLUSTERS_MAX, KMeansConfig, NUM_CLUSTERS, parse_clusters};
use crate::options::{in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

pub(super) const REG_COVAR: &str = "reg_covar";
pub(super) const COVARIANCE_TYPE: &str = "covariance_type";
const FULL: &str = "full";

/// The settings of a fit. [`Default`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MixtureConfig {
    /// Clusters; if it is not set, the number of rows decides, as for k-means.
    pub(crate) num_clusters: Option<u32>,
    pub(crate) covariance: CovarianceType,
    /// Whether numbers are centred and scaled by the mean and deviation of the training set.
    pub(crate) standardize: bool,
    /// What is added to each variance, in the squared unit that numbers have then: no cluster becomes a single point.
    pub(crate) reg_covar: f64,
    /// Steps of the search at most, a start.
    pub(crate) max_iterations: u64,
    /// How much a step has to raise the mean logarithm of the rows' density for there to be another one.
    pub(crate) tolerance: f64,
    /// Searches from different starts, of which the best counts.
    pub(crate) num_init: u64,
    /// What the random starts of k-means follow from.
    pub(crate) seed: u64,
}

/// What the covariance of a cluster may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum CovarianceType {
    /// Any: an ellipsoid of any direction.
    Full,
    /// A variance for each number, as if numbers did not depend on each other within a cluster.
    Diagonal,
}

impl Default for MixtureConfig {
    fn default() -> Self {
        Self {
            num_clusters: None,
            covariance: CovarianceType::Full,
            standardize: true,
            reg_covar: 1e-6,
            max_iterations: 100,
            tolerance: 1e-3,
            num_init: 1,
            seed: 0,
        }
    }
}

impl MixtureConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read or is out of range.
    pub(crate) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        for (option, value) in options {
            config.set(option, value)?;
        }
        config.validate()?;
        Ok(config)
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        vec![
            entry(NUM_CLUSTERS, "integer", &"auto", "clusters; auto is log10 of the rows, from 2 to 10"),
            entry(COVARIANCE_TYPE, "full or diag", &FULL, "whether the numbers of a cluster depend on each other"),
            entry("standardize_features", "boolean", &config.standardize, "centre and scale numbers by all rows"),
            entry(REG_COVAR, "number", &config.reg_covar, "what is added to each variance"),
            entry("max_iterations", "integer", &config.max_iterations, "steps at most, a start"),
            entry("tolerance", "number", &config.tolerance, "gain of log_likelihood below which steps end"),
            entry("num_init", "integer", &config.num_init, "random starts, of which the best counts"),
            entry("seed", "integer", &config.seed, "what the random starts follow from"),
        ]
    }

    /// The k-means that the start with this number, from 0, begins with.
    pub(super) fn kmeans(&self, start: u64) -> KMeansConfig {
        KMeansConfig { num_clusters: self.num_clusters, seed: self.seed.wrapping_add(start), ..KMeansConfig::default() }
    }

    fn set(&mut self, option: &str, value: &str) -> Result<()> {
        const WHOLE: &str = "a whole number";
        const NUMBER: &str = "a number";
        match option {
            NUM_CLUSTERS => self.num_clusters = parse_clusters(value)?,
            COVARIANCE_TYPE => self.covariance = parse_covariance(value)?,
            "standardize_features" => self.standardize = parse("standardize_features", value, "true or false")?,
            REG_COVAR => self.reg_covar = parse(REG_COVAR, value, NUMBER)?,
            "max_iterations" => self.max_iterations = parse("max_iterations", value, WHOLE)?,
            "tolerance" => self.tolerance = parse("tolerance", value, NUMBER)?,
            "num_init" => self.num_init = parse("num_init", value, WHOLE)?,
            "seed" => self.seed = parse("seed", value, WHOLE)?,
            _ => return Err(unknown(GaussianMixture::MODEL_TYPE, option, &Self::option_docs())),
        }
        Ok(())
    }

    fn validate(&self) -> Result<()> {
        in_range(NUM_CLUSTERS, f64::from(self.num_clusters.unwrap_or(1)), 1.0, f64::from(CLUSTERS_MAX))?;
        in_range(REG_COVAR, self.reg_covar, 0.0, 1e50)?;
        in_range("max_iterations", self.max_iterations as f64, 1.0, 1e6)?;
        in_range("tolerance", self.tolerance, 0.0, 1.0)?;
        in_range("num_init", self.num_init as f64, 1.0, 1000.0)
    }
}

fn parse_covariance(value: &str) -> Result<CovarianceType> {
    match value.trim().to_ascii_lowercase().as_str() {
        FULL => Ok(CovarianceType::Full),
        "diag" => Ok(CovarianceType::Diagonal),
        _ => Err(invalid(COVARIANCE_TYPE, value, "full or diag")),
    }
}
