//! What a user can set about k-means: BigQuery's names where it has one, and scikit-learn's defaults of the search.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use super::KMeans;
use crate::error::{MlError, Result};
use crate::model::FeatureSchema;
use crate::options::{check_slots, in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// The clusters that a model may have. BigQuery allows 100.
pub(crate) const CLUSTERS_MAX: u32 = 1000;

/// The settings of a fit. [`Default`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KMeansConfig {
    /// Clusters; if it is not set, [`Self::clusters`] goes by the number of rows.
    pub(crate) num_clusters: Option<u32>,
    pub(crate) init: InitMethod,
    pub(crate) algorithm: Algorithm,
    /// Rows that a step of mini-batches draws.
    pub(crate) batch_size: u64,
    pub(crate) distance: DistanceType,
    /// Whether numbers are centred and scaled by the mean and deviation of the training set.
    pub(crate) standardize: bool,
    /// Passes over the rows at most; BigQuery makes 20 of Lloyd's, scikit-learn 300.
    pub(crate) max_iterations: u64,
    /// The passes end where the sum of the centroids' squared movements is at most this part of the mean variance
    /// of the features; of mini-batches, where the mean over the rows of their centroids' is at most this part of the
    /// sum of these variances.
    pub(crate) tolerance: f64,
    /// Searches from different starts, of which the best counts.
    pub(crate) num_init: u64,
    /// What the random starts follow from.
    pub(crate) seed: u64,
    /// Categories of one feature that are told apart; later ones count as one.
    pub(crate) max_categories: u32,
}

/// Where a search starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum InitMethod {
    /// Rows far from each other.
    PlusPlus,
    /// Different rows by chance.
    Random,
}

/// How centroids are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// To the means of all rows that are nearest to them, again and again.
    Lloyd,
    /// A little, by some rows at a time.
    MiniBatch,
}

/// How far a row is from a centroid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum DistanceType {
    /// The length of the straight line.
    Euclidean,
    /// One minus the cosine of the angle seen from the origin.
    Cosine,
}

impl Default for KMeansConfig {
    fn default() -> Self {
        Self {
            num_clusters: None,
            init: InitMethod::PlusPlus,
            algorithm: Algorithm::Lloyd,
            batch_size: 1024,
            distance: DistanceType::Euclidean,
            standardize: true,
            max_iterations: 300,
            tolerance: 1e-4,
            num_init: 1,
            seed: 0,
            max_categories: 100_000,
        }
    }
}

impl KMeansConfig {
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
            entry("num_clusters", "integer", &AUTO, "clusters; auto is log10 of the rows, from 2 to 10"),
            entry("kmeans_init_method", "kmeans++ or random", &KMEANS_PLUS_PLUS, "how the first centroids are chosen"),
            entry(
                "kmeans_algorithm",
                "lloyd or mini_batch",
                &LLOYD,
                "all rows move centroids at once, or some at a time",
            ),
            entry("batch_size", "integer", &config.batch_size, "rows that a step of mini_batch draws by chance"),
            entry("distance_type", "euclidean or cosine", &EUCLIDEAN, "how far a row is from a centroid"),
            entry("standardize_features", "boolean", &config.standardize, "centre and scale numbers by all rows"),
            entry("max_iterations", "integer", &config.max_iterations, "passes over the rows at most, a start"),
            entry("tolerance", "number", &config.tolerance, "movement of centroids, a variance, at which passes end"),
            entry("num_init", "integer", &config.num_init, "random starts, of which the best counts"),
            entry("seed", "integer", &config.seed, "what the random starts follow from"),
            entry("max_categories", "integer", &config.max_categories, "categories told apart, a feature"),
        ]
    }

    /// Checks that each value of a centroid has a slot number.
    ///
    /// # Errors
    /// `InvalidOption` for `max_categories`.
    pub(crate) fn check_slots(&self, schema: &FeatureSchema) -> Result<()> {
        check_slots(self.max_categories, schema)
    }

    /// The clusters to look for among so many rows.
    ///
    /// # Errors
    /// `NoRows`, or `InvalidOption` where more clusters than rows are asked for.
    pub(crate) fn clusters(&self, rows: u64) -> Result<usize> {
        match self.num_clusters {
            _ if rows == 0 => Err(MlError::NoRows),
            None => Ok(default_clusters(rows).min(rows as usize)),
            Some(clusters) if u64::from(clusters) <= rows => Ok(clusters as usize),
            Some(clusters) => {
                let expected = format!("a whole number up to {rows}, since there are so many rows");
                Err(invalid(NUM_CLUSTERS, &clusters.to_string(), &expected))
            }
        }
    }

    fn set(&mut self, option: &str, value: &str) -> Result<()> {
        const WHOLE: &str = "a whole number";
        match option {
            NUM_CLUSTERS => self.num_clusters = parse_clusters(value)?,
            "kmeans_init_method" => self.init = parse_init(value)?,
            "kmeans_algorithm" => self.algorithm = parse_algorithm(value)?,
            "batch_size" => self.batch_size = parse("batch_size", value, WHOLE)?,
            "distance_type" => self.distance = parse_distance(value)?,
            "standardize_features" => self.standardize = parse("standardize_features", value, "true or false")?,
            "max_iterations" => self.max_iterations = parse("max_iterations", value, WHOLE)?,
            "tolerance" => self.tolerance = parse("tolerance", value, "a number")?,
            "num_init" => self.num_init = parse("num_init", value, WHOLE)?,
            "seed" => self.seed = parse("seed", value, WHOLE)?,
            "max_categories" => self.max_categories = parse("max_categories", value, WHOLE)?,
            _ => return Err(unknown(KMeans::MODEL_TYPE, option, &Self::option_docs())),
        }
        Ok(())
    }

    fn validate(&self) -> Result<()> {
        in_range(NUM_CLUSTERS, f64::from(self.num_clusters.unwrap_or(1)), 1.0, f64::from(CLUSTERS_MAX))?;
        in_range("batch_size", self.batch_size as f64, 1.0, 1e9)?;
        in_range("max_iterations", self.max_iterations as f64, 1.0, 1e6)?;
        in_range("tolerance", self.tolerance, 0.0, 1.0)?;
        in_range("num_init", self.num_init as f64, 1.0, 1000.0)?;
        in_range("max_categories", f64::from(self.max_categories), 1.0, 1e7)
    }
}

pub(crate) const NUM_CLUSTERS: &str = "num_clusters";
const AUTO: &str = "auto";
const KMEANS_PLUS_PLUS: &str = "kmeans++";
const LLOYD: &str = "lloyd";
const EUCLIDEAN: &str = "euclidean";

/// A number of clusters, or none for `auto`.
///
/// # Errors
/// `InvalidOption`.
pub(crate) fn parse_clusters(value: &str) -> Result<Option<u32>> {
    if value.trim().eq_ignore_ascii_case(AUTO) {
        return Ok(None);
    }
    parse(NUM_CLUSTERS, value, "a whole number, or auto").map(Some)
}

pub(super) fn parse_init(value: &str) -> Result<InitMethod> {
    match value.trim().to_ascii_lowercase().as_str() {
        KMEANS_PLUS_PLUS => Ok(InitMethod::PlusPlus),
        "random" => Ok(InitMethod::Random),
        _ => Err(invalid("kmeans_init_method", value, "kmeans++ or random")),
    }
}

fn parse_algorithm(value: &str) -> Result<Algorithm> {
    match value.trim().to_ascii_lowercase().as_str() {
        LLOYD => Ok(Algorithm::Lloyd),
        "mini_batch" => Ok(Algorithm::MiniBatch),
        _ => Err(invalid("kmeans_algorithm", value, "lloyd or mini_batch")),
    }
}

fn parse_distance(value: &str) -> Result<DistanceType> {
    match value.trim().to_ascii_lowercase().as_str() {
        EUCLIDEAN => Ok(DistanceType::Euclidean),
        "cosine" => Ok(DistanceType::Cosine),
        _ => Err(invalid("distance_type", value, "euclidean or cosine")),
    }
}

/// The logarithm of the rows to the base 10, rounded, from 2 to 10: BigQuery, too, goes by the number of rows.
pub(crate) fn default_clusters(rows: u64) -> usize {
    // log10 n >= k + ½ is n² >= 10^(2k + 1), which no rounding can change.
    let square = u128::from(rows) * u128::from(rows);
    2 + (2..10).filter(|clusters| square >= 10_u128.pow(2 * clusters + 1)).count()
}

#[cfg(test)]
mod tests {
    use super::default_clusters;

    #[test]
    fn the_default_is_the_rounded_logarithm() {
        // √10 is 3.1623: half a power of ten.
        for (rows, clusters) in [(1, 2), (316, 2), (317, 3), (3162, 3), (3163, 4), (1_000_000, 6), (u64::MAX, 10)] {
            assert_eq!(default_clusters(rows), clusters, "{rows} rows");
        }
    }
}
