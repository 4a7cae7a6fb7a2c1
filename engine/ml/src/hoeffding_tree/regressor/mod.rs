//! A Hoeffding tree of numbers (Ikonomovska, Gama and Džeroski 2011, "Learning model trees from evolving data streams"),
//! without its detection of changes; as River's `HoeffdingTreeRegressor`.
//!
//! A leaf says the mean of its labels, or what a linear model makes of the row's numbers, which begins with the weights of
//! the leaf that was split and goes on row by row, by AdaGrad. Numbers and the label are standardised by the rows of the
//! whole tree so far, so the linear models read the same units everywhere and need no learning rate for each label.

mod bins;
mod config;
mod leaf;
mod split;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, Float64Array, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use bincode::{Decode, Encode};

use self::config::{LeafPrediction, RegressorConfig};
use self::leaf::{Leaf, Target};
use super::explain::Asker;
use super::tree::{Row, Tree, TreeState};
use crate::error::{MlError, Result};
use crate::explain::Explanations;
use crate::feature::moments::{Moments, Scale};
use crate::feature::rows::Rows;
use crate::feature::stream::{FeaturesState, StreamFeatures};
use crate::linear::linear_regression::batch::numeric_labels;
use crate::model::{FeatureSchema, LearnReport, NUMERIC_MAGNITUDE_MAX, OnlineSupervised, RejectReason};
use crate::predictor::{Predictions, Supervised};
use crate::registry::OptionDoc;
use crate::snapshot;

/// Standard deviations past which a number counts as so many for linear models, as in other online linear models.
const CLIP: f64 = 10.0;

/// A regression that learns row by row; see the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct HoeffdingTreeRegressor {
    features: StreamFeatures,
    /// Of each numeric feature, of the rows learnt.
    moments: Vec<Moments>,
    /// Of the labels learnt.
    labels: Moments,
    tree: Tree<Leaf>,
}

impl HoeffdingTreeRegressor {
    /// The name in `CREATE MODEL`.
    pub(crate) const MODEL_TYPE: &'static str = "hoeffding_tree_regressor";

    pub(crate) const SNAPSHOT_TAG: u8 = 62;

    /// A model that has learnt nothing.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read, is out of range, or would have no effect
    /// because of another option.
    pub(crate) fn new(options: &BTreeMap<String, String>, schema: FeatureSchema) -> Result<Self> {
        let config = RegressorConfig::from_options(options)?;
        let features = StreamFeatures::new(schema, config.growth.max_categories);
        let counts = features.counts();
        Ok(Self {
            features,
            moments: vec![Moments::default(); counts.0],
            labels: Moments::default(),
            tree: Tree::new(config, counts),
        })
    }

    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        RegressorConfig::option_docs()
    }

    /// Reads what [`OnlineSupervised::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`; `InvalidOption` and the schema's errors for bytes that
    /// decode to an impossible model.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is that of another model type"));
        }
        snapshot::decode::<State>(payload)?.into_model()
    }

    /// Room for what linear models read of a row; none where there are no linear models.
    fn scaled(&self) -> ScaledRow {
        let has_linear = self.tree.config().leaf_prediction != LeafPrediction::Mean;
        let entries = if has_linear { 1 + self.moments.len() } else { 0 };
        ScaledRow { slots: (0..entries as u32).collect(), values: vec![1.0; entries] }
    }

    /// How numbers are standardised by now.
    fn scales(&self) -> Vec<Scale> {
        self.moments.iter().map(Moments::scale).collect()
    }

    /// Learns a row of the batch that was read last.
    fn learn_row(&mut self, row: usize, label: f64, scales: &mut [Scale], scaled: &mut ScaledRow) {
        let row = self.features.row(row);
        self.labels.add(label);
        for ((moments, scale), value) in self.moments.iter_mut().zip(scales.iter_mut()).zip(row.numbers) {
            if !value.is_nan() {
                moments.add(*value);
                *scale = moments.scale();
            }
        }
        let target = Target { label, units: self.labels.scale() };
        self.tree.learn_row(scaled.of(row, scales), target);
    }
}

/// The intercept and the standardised numbers of a row.
struct ScaledRow {
    slots: Vec<u32>,
    values: Vec<f64>,
}

impl ScaledRow {
    /// A row with what linear models read of it.
    fn of<'a>(&'a mut self, row: impl Into<Row<'a>>, scales: &[Scale]) -> Row<'a> {
        let row = row.into();
        for ((scaled, value), scale) in self.values.iter_mut().skip(1).zip(row.numbers).zip(scales) {
            *scaled = scale.apply(*value, CLIP);
        }
        Row { scaled: (&self.slots, &self.values), ..row }
    }
}

/// What is said of rows: numbers, of those that can be used.
fn predictions(numbers: Vec<f64>, usable: Option<NullBuffer>) -> Predictions {
    Predictions::without_classes(Arc::new(Float64Array::new(numbers.into(), usable)))
}

impl Supervised for HoeffdingTreeRegressor {
    fn model_type(&self) -> &'static str {
        Self::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.features.schema()
    }

    fn label_type(&self) -> DataType {
        DataType::Float64
    }

    fn class_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn rows_learnt(&self) -> u64 {
        self.labels.count()
    }

    fn predictions(&self, features: &RecordBatch) -> Result<Predictions> {
        let (scales, mut scaled, units) = (self.scales(), self.scaled(), self.labels.scale());
        let mut numbers = vec![0.0; features.num_rows()];
        let rows = self.features.visit(features, |row, of_row| {
            let of_row = scaled.of(of_row, &scales);
            numbers[row] = self.tree.leaf(of_row).predict(of_row, units, self.tree.config());
        })?;
        Ok(predictions(numbers, rows.usable()))
    }

    fn explanations(&self, features: &RecordBatch, _said: &Predictions) -> Result<Option<Explanations>> {
        let (scales, mut scaled, units) = (self.scales(), self.scaled(), self.labels.scale());
        let mut explanations = Explanations::new(self.schema(), features.num_rows());
        let mut asker = Asker::new(&self.features)?;
        let rows = self.features.visit(features, |number, row| {
            let predict = |row: Row<'_>| {
                let row = scaled.of(row, &scales);
                self.tree.leaf(row).predict(row, units, self.tree.config())
            };
            asker.explain(row.into(), (number, 0), predict, &mut explanations);
        })?;
        Ok(Some(explanations.of_usable(rows.usable())))
    }
}

impl OnlineSupervised for HoeffdingTreeRegressor {
    fn learn(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<LearnReport<Predictions>> {
        if labels.len() != features.num_rows() {
            return Err(MlError::LabelCount { rows: features.num_rows(), labels: labels.len() });
        }
        let labels = numeric_labels(labels)?;
        let mut rows = Rows::labelled(&labels);
        for (row, label) in labels.iter().enumerate() {
            if label.is_some_and(|label| label.is_nan() || label.abs() > NUMERIC_MAGNITUDE_MAX) {
                rows.reject(row, RejectReason::BadLabel);
            }
        }
        self.features.read(features, &mut rows, |_, _| {})?;
        let accepted = || (0..labels.len()).filter(|row| rows.is_accepted(*row));
        let (mut scales, mut scaled, units) = (self.scales(), self.scaled(), self.labels.scale());
        let mut numbers = vec![0.0; labels.len()];
        for row in accepted() {
            let of_row = scaled.of(self.features.row(row), &scales);
            numbers[row] = self.tree.leaf(of_row).predict(of_row, units, self.tree.config());
        }
        for row in accepted() {
            self.learn_row(row, labels.value(row), &mut scales, &mut scaled);
        }
        let said = predictions(numbers, rows.usable());
        let (rows, rejected) = rows.into_rejected();
        Ok(LearnReport { rows, rejected, said })
    }

    /// Two trees that split differently have no average.
    fn merge(&mut self, snapshots: &[&[u8]]) -> Result<()> {
        if snapshots.is_empty() { Ok(()) } else { Err(MlError::NotMergeable { model_type: Self::MODEL_TYPE }) }
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let state = State {
            features: self.features.state(),
            moments: self.moments.clone(),
            labels: self.labels,
            tree: self.tree.to_state(),
        };
        snapshot::seal(Self::SNAPSHOT_TAG, &state)
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State {
    features: FeaturesState,
    moments: Vec<Moments>,
    labels: Moments,
    tree: TreeState<Leaf, RegressorConfig>,
}

impl State {
    fn into_model(self) -> Result<HoeffdingTreeRegressor> {
        let config = *self.tree.config();
        config.validate()?;
        let features = self.features.into_features(config.growth.max_categories)?;
        let (numbers, categories) = (features.counts().0, features.categories());
        let rows = self.labels.count();
        let are_plausible = self.moments.iter().chain([&self.labels]).all(|moments| moments.is_plausible(rows));
        if self.moments.len() != numbers || !are_plausible {
            return Err(MlError::corrupt("the statistics do not fit the rows and numeric features"));
        }
        let counts = (numbers, categories.as_slice());
        let tree = self.tree.into_tree(counts, |leaf| leaf.is_plausible(&config, counts, rows))?;
        Ok(HoeffdingTreeRegressor { features, moments: self.moments, labels: self.labels, tree })
    }
}
