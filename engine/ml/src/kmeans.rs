//! k-means: centroids that leave the smallest sum of squared distances of rows from the nearest of them.
//!
//! MacQueen (1967) named it; the search is Lloyd's (1982) from the start of k-means++ (Arthur and Vassilvitskii 2007),
//! as in scikit-learn, or Sculley's by mini-batches (2010), which needs fewer passes over many rows to come about as far.
//!
//! A category is a number of its own, 1 or 0, and is never standardised, as in the linear models:
//! two rows of different categories are √2 apart, and a centroid has the share of each. A missing number
//! counts as the mean; a category that was not seen is none. With the distance `cosine` rows and centroids are
//! directions (Dhillon and Modha 2001), seen from the mean if numbers are standardised and from zero if not. A row that
//! lies there has no direction: it is not learnt, and all centroids are as far from it.

pub(crate) mod batch;
mod centroids;
pub(crate) mod config;
mod evaluation;
mod lloyd;
mod mini_batch;
mod on_device;
pub(crate) mod online;
pub(crate) mod search;
mod seeding;
mod space;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field};
use bincode::{Decode, Encode};

use self::centroids::{Centroids, Point};
use self::config::{CLUSTERS_MAX, DistanceType};
use crate::clusters::{CentroidFeature, Order, RankedClusters, centroids_table, describe};
use crate::error::{MlError, Result};
use crate::feature::encoder::{Encoder, EncoderState};
use crate::inspect::ModelTable;
use crate::model::{FeatureSchema, NUMERIC_MAGNITUDE_MAX};
use crate::predictor::Predictor;
use crate::snapshot;

/// The fields of what is said of each centroid.
const RANKED: [&str; 2] = ["centroid_id", "distance"];

/// Fitted centroids; they only answer.
#[derive(Debug, Clone)]
pub(crate) struct KMeans {
    encoder: Encoder,
    state: Clusters,
    /// What follows from them.
    centroids: Centroids,
}

/// What is known of the clusters, one after another in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
struct Clusters {
    distance: DistanceType,
    /// Rows that the model was fitted to.
    rows: u64,
    count: u32,
    /// For each centroid its numbers as they are encoded, and the share of each category. Of directions the length
    /// is 1.
    values: Vec<f64>,
    /// Where centroids are directions, the means of their rows.
    means: Option<Vec<f64>>,
}

impl KMeans {
    /// The name in `CREATE MODEL`.
    pub(crate) const MODEL_TYPE: &'static str = "kmeans";

    pub(crate) const SNAPSHOT_TAG: u8 = 40;

    fn new(encoder: Encoder, state: Clusters) -> Self {
        let centroids = Centroids::new(state.distance, &state.values, encoder.numeric(), encoder.slots() - 1);
        Self { encoder, state, centroids }
    }

    /// Reads what [`Self::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`, or the schema's errors.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of k-means"));
        }
        let State { encoder, clusters } = snapshot::decode(payload)?;
        let encoder = encoder.into_encoder(clusters.rows)?;
        if !clusters.is_plausible(encoder.slots() - 1) {
            return Err(MlError::corrupt("the centroids do not fit the features and their categories"));
        }
        Ok(Self::new(encoder, clusters))
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        snapshot::seal(Self::SNAPSHOT_TAG, &State { encoder: self.encoder.state(), clusters: self.state.clone() })
    }

    /// The columns that the model adds to rows: the number of the nearest centroid, from 1, and all centroids by
    /// ascending distance.
    fn fields() -> Vec<Field> {
        let ranked = RankedClusters::data_type(RANKED);
        vec![Field::new("centroid_id", DataType::Int64, true), Field::new("nearest_centroids_distance", ranked, true)]
    }
}

impl Predictor for KMeans {
    fn model_type(&self) -> &'static str {
        Self::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.encoder.schema()
    }

    fn rows_learnt(&self) -> u64 {
        self.state.rows
    }

    fn outputs(&self, _label: &str) -> Vec<Field> {
        Self::fields()
    }

    fn answers(&self, features: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let numeric = self.encoder.numeric();
        let mut nearest = vec![0; features.num_rows()];
        let mut lists = RankedClusters::new(RANKED, features.num_rows() * self.centroids.count());
        let mut distances = Vec::new();
        let usable = self.encoder.visit(features, |row, slots, values| {
            let point = Point::new(self.state.distance, &values[1..=numeric], &slots[1 + numeric..]);
            self.centroids.squared_distances(&point, &mut distances);
            for distance in &mut distances {
                *distance = Centroids::distance(self.state.distance, &point, *distance);
            }
            nearest[row] = lists.rank(&distances, Order::Ascending);
        })?;
        let lists = lists.finish(features.num_rows(), self.centroids.count(), usable.as_ref());
        Ok(vec![Arc::new(Int64Array::new(nearest.into(), usable)), lists])
    }

    fn table(&self, which: ModelTable) -> Result<Option<RecordBatch>> {
        match which {
            ModelTable::Centroids => centroids_table(&self.centroids()).map(Some),
            _ => Ok(None),
        }
    }
}

impl KMeans {
    /// Where the centre of each cluster lies, feature by feature.
    fn centroids(&self) -> Vec<CentroidFeature> {
        describe(&self.encoder, self.state.means.as_ref().unwrap_or(&self.state.values))
    }
}

impl Clusters {
    /// Whether rows of so many values could have led here.
    fn is_plausible(&self, width: usize) -> bool {
        let is_plausible = |values: &[f64]| {
            // A difference from the mean is at most twice the largest number.
            let is_plausible = |value: &f64| value.abs() <= 2.0 * NUMERIC_MAGNITUDE_MAX;
            Some(values.len()) == width.checked_mul(self.count as usize) && values.iter().all(is_plausible)
        };
        (1..=CLUSTERS_MAX).contains(&self.count)
            && is_plausible(&self.values)
            && self.means.as_deref().is_none_or(is_plausible)
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State {
    encoder: EncoderState,
    clusters: Clusters,
}
