//! k-means along a stream: each row moves the centroid that is nearest to it.
//!
//! A centroid moves by `1/w` of the way to the row, where `w` is how much its rows weigh with this one. Without
//! forgetting that is MacQueen's k-means (1967), and a centroid is the mean of its rows. With `half_life_rows` all weights
//! shrink with each row, so that a row of so many rows ago counts half of the newest: Spark MLlib's `StreamingKMeans` by
//! its rule of points, one row a batch, and as there a cluster that has come to weigh nothing becomes half of the heaviest.
//!
//! The centroids begin as rows that k-means++ chooses among the first ones, which then are learnt one by one, too; before
//! that there are none, and what is said is NULL. Where these rows are fewer different points than there are to be
//! clusters, later rows that lie on none are the others.
//!
//! Numbers are compared in their standard deviations by then and kept as they are, so a centroid does not drift with its
//! unit. Categories and missing numbers are as in [`super`].

mod clusters;
mod config;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Field;
use bincode::Decode;

use self::clusters::{StreamClusters, StreamClustersState};
use self::config::OnlineKMeansConfig;
use super::{KMeans, RANKED};
use crate::clusters::{CentroidFeature, CentroidValue, RankedClusters, centroids_table, ranked_shares};
use crate::error::{MlError, Result};
use crate::feature::rows::Rows;
use crate::feature::stream::{FeaturesState, StreamFeatures};
use crate::inspect::ModelTable;
use crate::model::{FeatureKind, FeatureSchema, LearnReport, OnlineModel};
use crate::options::check_slots;
use crate::predictor::Predictor;
use crate::registry::OptionDoc;
use crate::snapshot;

/// Centroids that rows move one by one; see the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct OnlineKMeans {
    features: StreamFeatures,
    clusters: StreamClusters,
}

impl OnlineKMeans {
    /// The name in `CREATE MODEL`.
    pub(crate) const MODEL_TYPE: &'static str = KMeans::MODEL_TYPE;

    pub(crate) const SNAPSHOT_TAG: u8 = 66;

    /// A model that has learnt nothing.
    ///
    /// # Errors
    /// `UnknownOption` or `InvalidOption`.
    pub(crate) fn new(options: &BTreeMap<String, String>, schema: FeatureSchema) -> Result<Self> {
        let config = OnlineKMeansConfig::from_options(options)?;
        check_slots(config.max_categories, &schema)?;
        let features = StreamFeatures::new(schema, config.max_categories);
        Ok(Self { clusters: StreamClusters::new(config, features.counts()), features })
    }

    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        OnlineKMeansConfig::option_docs()
    }

    /// Reads what [`OnlineModel::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`; `InvalidOption` and the schema's errors for bytes that
    /// decode to an impossible model.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of k-means along a stream"));
        }
        let State { features, clusters } = snapshot::decode(payload)?;
        let features = features.into_features(clusters.config()?.max_categories)?;
        let clusters = clusters.into_clusters(features.counts().0, &features.categories())?;
        Ok(Self { features, clusters })
    }

    /// Where the centre of each cluster lies, feature by feature.
    fn centroids(&self) -> Vec<CentroidFeature> {
        let names = self.features.category_names();
        let mut rows = Vec::new();
        for (centroid_id, centroid) in (1..).zip(self.clusters.centroids()) {
            let mut numbers = centroid.numbers().iter();
            let mut categories = names.iter().zip(centroid.shares());
            for field in self.features.schema().fields() {
                let value = match field.kind {
                    FeatureKind::Categorical => categories.next().map(|(names, shares)| {
                        let share = |number: u32| shares.get(number as usize).copied().unwrap_or(0.0);
                        let names = names.iter().map(|(name, number)| (name.clone(), share(*number)));
                        CentroidValue::Categories(ranked_shares(names))
                    }),
                    FeatureKind::Numeric | FeatureKind::Time => numbers.next().copied().map(CentroidValue::Number),
                };
                rows.extend(value.map(|value| CentroidFeature { centroid_id, feature: field.name.clone(), value }));
            }
        }
        rows
    }
}

impl Predictor for OnlineKMeans {
    fn model_type(&self) -> &'static str {
        Self::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.features.schema()
    }

    fn rows_learnt(&self) -> u64 {
        self.clusters.rows()
    }

    fn outputs(&self, _label: &str) -> Vec<Field> {
        KMeans::fields()
    }

    fn answers(&self, features: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let count = self.clusters.centroids().len();
        let room = features.num_rows() * count;
        let (mut nearest, mut lists) = (vec![0; features.num_rows()], RankedClusters::new(RANKED, room));
        let (units, mut ranked) = (self.clusters.units(), Vec::new());
        let rows = self.features.visit(features, |row, of_row| {
            self.clusters.rank(of_row, &units, &mut ranked);
            nearest[row] = ranked.first().map_or(0, |(centroid, _)| *centroid as i64 + 1);
            lists.push(&ranked);
        })?;
        let usable = if count == 0 { Some(NullBuffer::new_null(features.num_rows())) } else { rows.usable() };
        let lists = lists.finish(features.num_rows(), count, usable.as_ref());
        Ok(vec![Arc::new(Int64Array::new(nearest.into(), usable)), lists])
    }

    fn table(&self, which: ModelTable) -> Result<Option<RecordBatch>> {
        match which {
            ModelTable::Centroids => centroids_table(&self.centroids()).map(Some),
            _ => Ok(None),
        }
    }
}

impl OnlineModel for OnlineKMeans {
    fn learn(&mut self, features: &RecordBatch, _labels: &dyn Array) -> Result<LearnReport> {
        let said = self.answers(features)?;
        let mut rows = Rows::new(features.num_rows());
        self.features.read(features, &mut rows, |_, _| {})?;
        for row in (0..features.num_rows()).filter(|row| rows.is_accepted(*row)) {
            self.clusters.learn(self.features.row(row));
        }
        let (rows, rejected) = rows.into_rejected();
        Ok(LearnReport { rows, rejected, said })
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        snapshot::seal(Self::SNAPSHOT_TAG, &(self.features.state(), self.clusters.state()))
    }
}

/// A model as a snapshot holds it.
#[derive(Decode)]
struct State {
    features: FeaturesState,
    clusters: StreamClustersState,
}
