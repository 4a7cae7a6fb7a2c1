//! DBSCAN: clusters are where rows are dense, of any shape and any number; the rows elsewhere are noise.
//!
//! As Ester, Kriegel, Sander and Xu (1996) have it, a row with `min_samples` rows within `eps`, itself included, is a
//! core; cores within `eps` of each other are of one cluster, and a row within `eps` of a core is of that core's. Of
//! several clusters that would be the nearest core's (scikit-learn takes the first cluster's), for rows of the
//! training set as for new ones: the model is the cores, and what it says of a row depends on no other.
//!
//! Clusters are numbered from 1, by the first row of the training set that is a core of each; scikit-learn's labels
//! count from 0. Distances are those of nearest neighbours: numbers are standardised unless `standardize_features` is
//! false, a missing one is the mean, and two different categories are the root of 2 apart, an unseen one 1 from any.

pub(crate) mod batch;
mod clustering;
mod components;
pub(crate) mod config;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field};
use bincode::{Decode, Encode};

use self::config::EPS_MAX;
use self::tree::{Point, Tree};
use crate::batch::{CLIP, FitControl, Row};
use crate::error::{MlError, Result};
use crate::feature::encoder::{Encoder, EncoderState, Numbers};
use crate::model::{FeatureSchema, NUMERIC_MAGNITUDE_MAX};
use crate::predictor::Predictor;
use crate::snapshot;

/// Fitted clusters; they only answer.
#[derive(Debug, Clone)]
pub(crate) struct Dbscan {
    encoder: Encoder,
    /// Rows that the model was fitted to.
    rows: u64,
    eps: f64,
    /// The cluster of each core, from 1, in the order of the rows.
    clusters: Vec<u32>,
    /// The cores.
    tree: Tree,
}

impl Dbscan {
    /// The name in `CREATE MODEL`.
    pub(crate) const MODEL_TYPE: &'static str = "dbscan";

    pub(crate) const SNAPSHOT_TAG: u8 = 42;

    /// Reads what [`State::seal`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`, or the schema's errors.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of DBSCAN"));
        }
        let State { encoder, rows, eps, clusters, numbers, categories } = snapshot::decode(payload)?;
        let (encoder, count) = (encoder.into_encoder(rows)?, clusters.len());
        let (numeric, categorical) = (encoder.numeric(), encoder.categories().len());
        if !matches!(encoder.numbers(), Numbers::Standardized { .. } | Numbers::MeanForMissing) {
            return Err(MlError::corrupt("a missing number would be at no distance"));
        }
        let is_number = |number: &f64| number.abs() <= CLIP.max(NUMERIC_MAGNITUDE_MAX);
        let is_slot = |slot: &u32| (1 + numeric..encoder.slots()).contains(&(*slot as usize));
        if !(eps > 0.0 && eps <= EPS_MAX)
            || count as u64 > rows
            || !clusters.iter().all(|cluster| (1..=count).contains(&(*cluster as usize)))
            || numbers.len() != count * numeric
            || categories.len() != count * categorical
            || !numbers.iter().all(is_number)
            || !categories.iter().all(is_slot)
        {
            return Err(MlError::corrupt("the cores do not fit the clusters and the features"));
        }
        let core = |core: usize| Row {
            numbers: &numbers[core * numeric..(core + 1) * numeric],
            categories: &categories[core * categorical..(core + 1) * categorical],
            label: 0.0,
        };
        let cores: Vec<Row<'_>> = (0..count).map(core).collect();
        let tree = Tree::new(&cores, numeric, categorical, &FitControl::default())?;
        Ok(Self { encoder, rows, eps, clusters, tree })
    }

    /// The columns that the model adds to rows: the cluster, from 1, and whether the row is noise.
    ///
    /// Noise is of no cluster, so its number is NULL, as SQL has it elsewhere (`ST_ClusterDBSCAN`): a -1 would be
    /// counted and joined like any cluster. A row that cannot be used has NULL for both.
    fn fields() -> Vec<Field> {
        vec![Field::new("cluster_id", DataType::Int64, true), Field::new("is_noise", DataType::Boolean, true)]
    }
}

impl Predictor for Dbscan {
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
        let (numeric, eps_square) = (self.encoder.numeric(), self.eps * self.eps);
        let mut clusters = vec![None; features.num_rows()];
        let usable = self.encoder.visit(features, |row, slots, values| {
            let point = Point { numbers: &values[1..=numeric], categories: &slots[1 + numeric..] };
            let core = self.tree.nearest(&point, eps_square);
            clusters[row] = core.map(|core| i64::from(self.clusters[core as usize]));
        })?;
        let is_noise = clusters.iter().map(Option::is_none).collect();
        Ok(vec![Arc::new(Int64Array::from(clusters)), Arc::new(BooleanArray::new(is_noise, usable))])
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State {
    encoder: EncoderState,
    rows: u64,
    eps: f64,
    /// The cluster of each core, in the order of the rows.
    clusters: Vec<u32>,
    /// Core by core, encoded and without missing ones.
    numbers: Vec<f64>,
    /// Core by core, the slots of categories.
    categories: Vec<u32>,
}

impl State {
    fn seal(&self) -> Result<Vec<u8>> {
        snapshot::seal(Dbscan::SNAPSHOT_TAG, self)
    }
}
