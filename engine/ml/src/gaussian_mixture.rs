//! A Gaussian mixture: clusters that are normal distributions, each with a share of the rows.
//!
//! The shares, means and covariances are those that make the rows likeliest, as far as EM (Dempster, Laird and Rubin
//! 1977) comes from the clusters of k-means. A row has a probability for each cluster, and a density, whose
//! logarithm is low where rows are rare. As scikit-learn's `GaussianMixture`, but for two things: a number that is the
//! same in all rows is left out, since it has no density; and a missing number counts as the mean.

pub(crate) mod batch;
mod block;
pub(crate) mod config;
mod density;
mod mixture;
mod sums;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field};
use bincode::{Decode, Encode};
use tidemill_compute::kernel::softmax::ln;

use self::block::{Block, ROWS_A_BLOCK};
use self::density::covariance_len;
use self::mixture::{Clusters, Mixture};
use crate::clusters::{CentroidFeature, Order, RankedClusters, centroids_table, describe};
use crate::error::{MlError, Result};
use crate::feature::encoder::{Encoder, EncoderState, Numbers};
use crate::feature::moments::Scale;
use crate::inspect::ModelTable;
use crate::kmeans::config::CLUSTERS_MAX;
use crate::model::{FeatureSchema, NUMERIC_MAGNITUDE_MAX};
use crate::predictor::Predictor;
use crate::snapshot::{self, STATE_MAGNITUDE_MAX};

/// The fields of what is said of each cluster.
const RANKED: [&str; 2] = ["cluster_id", "probability"];

/// A fitted mixture; it only answers.
#[derive(Debug, Clone)]
pub(crate) struct GaussianMixture {
    encoder: Encoder,
    rows: u64,
    clusters: Clusters,
    /// What follows from them.
    mixture: Mixture,
    /// The numbers that are not left out.
    used: Vec<usize>,
    /// What is added to a logarithm, since the density is of numbers as they were before they were standardised.
    ln_unit: f64,
}

impl GaussianMixture {
    /// The name in `CREATE MODEL`.
    pub(crate) const MODEL_TYPE: &'static str = "gaussian_mixture";

    pub(crate) const SNAPSHOT_TAG: u8 = 41;

    /// None where a covariance is singular.
    fn new(encoder: Encoder, rows: u64, clusters: Clusters) -> Option<Self> {
        let mixture = clusters.mixture()?;
        let used = used_numbers(&encoder.scales());
        let ln_unit = if is_standardized(&encoder) { ln_unit(&encoder.scales()) } else { 0.0 };
        Some(Self { encoder, rows, clusters, mixture, used, ln_unit })
    }

    /// Reads what [`Self::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`, or the schema's errors.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of a Gaussian mixture"));
        }
        let State { encoder, rows, clusters } = snapshot::decode(payload)?;
        let encoder = encoder.into_encoder(rows)?;
        let is_plausible =
            encoder.categories().is_empty() && is_plausible(&clusters, used_numbers(&encoder.scales()).len());
        let model = if is_plausible { Self::new(encoder, rows, clusters) } else { None };
        model.ok_or(MlError::corrupt("the clusters do not fit the features"))
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let state = State { encoder: self.encoder.state(), rows: self.rows, clusters: self.clusters.clone() };
        snapshot::seal(Self::SNAPSHOT_TAG, &state)
    }

    /// The columns that the model adds to rows: the likeliest cluster, from 1; all clusters by descending
    /// probability; and the logarithm of the row's density, in the units of the features.
    fn fields() -> Vec<Field> {
        vec![
            Field::new("cluster_id", DataType::Int64, true),
            Field::new("cluster_probabilities", RankedClusters::data_type(RANKED), true),
            Field::new("log_density", DataType::Float64, true),
        ]
    }
}

fn is_standardized(encoder: &Encoder) -> bool {
    matches!(encoder.numbers(), Numbers::Standardized { .. })
}

/// The numbers that are not the same in all rows.
fn used_numbers(scales: &[Scale]) -> Vec<usize> {
    (0..scales.len()).filter(|number| scales[*number].per_deviation() > 0.0).collect()
}

/// The logarithm of what a density of standardised numbers is multiplied with.
fn ln_unit(scales: &[Scale]) -> f64 {
    scales.iter().map(Scale::per_deviation).filter(|inverse| *inverse > 0.0).map(ln).sum()
}

/// Whether rows of `width` numbers that differ could have led to these clusters.
fn is_plausible(clusters: &Clusters, width: usize) -> bool {
    let count = clusters.shares.len();
    let all_within = |values: &[f64], max: f64| values.iter().all(|value| value.abs() <= max);
    (1..=CLUSTERS_MAX as usize).contains(&count)
        && clusters.means.len() == count * width
        && clusters.covariances.len() == count * covariance_len(clusters.covariance, width)
        && clusters.shares.iter().all(|share| (f64::MIN_POSITIVE..=1.0).contains(share))
        && all_within(&clusters.means, 4.0 * NUMERIC_MAGNITUDE_MAX)
        && all_within(&clusters.covariances, STATE_MAGNITUDE_MAX)
}

impl Predictor for GaussianMixture {
    fn model_type(&self) -> &'static str {
        Self::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.encoder.schema()
    }

    fn rows_learnt(&self) -> u64 {
        self.rows
    }

    fn outputs(&self, _label: &str) -> Vec<Field> {
        Self::fields()
    }

    fn answers(&self, features: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let rows = features.num_rows();
        let (mut likeliest, mut densities) = (vec![0; rows], vec![0.0; rows]);
        let mut lists = RankedClusters::new(RANKED, rows * self.mixture.count());
        let (mut block, mut places) = (self.mixture.block(), Vec::with_capacity(ROWS_A_BLOCK));
        let mut answer = |block: &mut Block, places: &mut Vec<usize>| {
            self.mixture.weigh(block);
            for (of_block, row) in places.drain(..).enumerate() {
                densities[row] = block.ln_densities[of_block] + self.ln_unit;
                likeliest[row] = lists.rank(block.probabilities(of_block), Order::Descending);
            }
            block.clear();
        };
        let usable = self.encoder.visit(features, |row, _, values| {
            block.push(self.used.iter().map(|number| values[1 + number]));
            places.push(row);
            if places.len() == ROWS_A_BLOCK {
                answer(&mut block, &mut places);
            }
        })?;
        answer(&mut block, &mut places);
        let lists = lists.finish(rows, self.mixture.count(), usable.as_ref());
        let likeliest = Int64Array::new(likeliest.into(), usable.clone());
        Ok(vec![Arc::new(likeliest), lists, Arc::new(Float64Array::new(densities.into(), usable))])
    }

    fn table(&self, which: ModelTable) -> Result<Option<RecordBatch>> {
        match which {
            ModelTable::Centroids => centroids_table(&self.centroids()).map(Some),
            _ => Ok(None),
        }
    }
}

impl GaussianMixture {
    /// The means; a number that was left out is the same everywhere.
    fn centroids(&self) -> Vec<CentroidFeature> {
        let (count, numeric) = (self.mixture.count(), self.encoder.numeric());
        let mut centres = vec![0.0; count * numeric];
        for (cluster, centre) in centres.chunks_exact_mut(numeric.max(1)).enumerate() {
            let means = &self.clusters.means[cluster * self.used.len()..];
            self.used.iter().zip(means).for_each(|(number, mean)| centre[*number] = *mean);
        }
        describe(&self.encoder, &centres)
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State {
    encoder: EncoderState,
    rows: u64,
    clusters: Clusters,
}
