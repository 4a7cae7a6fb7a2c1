//! Half-space trees: along a stream, rows are anomalies that lie where few rows lay before (Tan, Ting and Liu 2011, "Fast
//! Anomaly Detection for Streaming Data").
//!
//! The trees cut the space of the features by chance before any row comes, and count rows: a row's score says how few rows
//! of the window of `window_rows` rows before lay in the same parts of it. When a window is full, its counts take the place
//! of those before. A score is near 1 where there was nothing, and 0 where all rows of a window lay in the same smallest
//! part of each tree. As River's `HalfSpaceTrees` behind its `MinMaxScaler`, up to the random choices; see `tree`.
//!
//! Each number is seen between the smallest and the largest one so far, or between limits that are given. A row that misses
//! the number of a cut goes where more rows of the newest window went. Which scores are those of anomalies follows from a
//! share of the rows: in the window before, that many had a larger one. So a score is known after the first window, and
//! what an anomaly is after the second; before, both are NULL.

pub(crate) mod config;
#[cfg(test)]
mod tests;
mod tree;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, RecordBatch};
use arrow::datatypes::Field;
use bincode::{Decode, Encode};

use self::config::HalfSpaceConfig;
use self::tree::Tree;
use self::window::{Range, Window};
use crate::error::{MlError, Result};
use crate::feature::rows::Rows;
use crate::feature::stream::{FeaturesState, StreamFeatures};
use crate::isolation_forest::output_fields;
use crate::model::{FeatureKind, FeatureSchema, LearnReport, OnlineModel};
use crate::predictor::Predictor;
use crate::random::Random;
use crate::registry::OptionDoc;
use crate::snapshot;

/// Trees that learn row by row; see the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct HalfSpaceTrees {
    features: StreamFeatures,
    forest: Forest,
}

/// The trees, and what they see of rows.
#[derive(Debug, Clone, Encode, Decode)]
struct Forest {
    config: HalfSpaceConfig,
    /// One for each feature.
    ranges: Vec<Range>,
    trees: Vec<Tree>,
    window: Window,
    rows: u64,
}

impl HalfSpaceTrees {
    /// The name in `CREATE MODEL`.
    pub(crate) const MODEL_TYPE: &'static str = "half_space_trees";

    pub(crate) const SNAPSHOT_TAG: u8 = 65;

    /// A model that has learnt nothing.
    ///
    /// # Errors
    /// `UnknownOption` or `InvalidOption`; `CategoricalFeature`: a category has no half.
    pub(crate) fn new(options: &BTreeMap<String, String>, schema: FeatureSchema) -> Result<Self> {
        if let Some(field) = schema.fields().iter().find(|field| field.kind != FeatureKind::Numeric) {
            let column = field.name.clone();
            return Err(MlError::CategoricalFeature { column, model_type: Self::MODEL_TYPE });
        }
        let (config, limits) = HalfSpaceConfig::from_options(options)?;
        let ranges = limits.of_features(&schema)?;
        let width = ranges.len();
        let trees = (0..u64::from(config.num_trees))
            .map(|number| Tree::grow(width, config.tree_depth, &mut Random::new(config.seed, number)))
            .collect();
        let forest = Forest { config, ranges, trees, window: Window::new(config.threshold), rows: 0 };
        // There are no categories.
        Ok(Self { features: StreamFeatures::new(schema, 1), forest })
    }

    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        HalfSpaceConfig::option_docs()
    }

    /// Reads what [`OnlineModel::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`; `InvalidOption` and the schema's errors for bytes that
    /// decode to an impossible model.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of half-space trees"));
        }
        let State { features, forest } = snapshot::decode(payload)?;
        let features = features.into_features(1)?;
        forest.config.validate()?;
        if features.counts() != (forest.ranges.len(), 0) || !forest.is_plausible() {
            return Err(MlError::corrupt("the trees do not fit the features"));
        }
        Ok(Self { features, forest })
    }
}

impl Forest {
    /// Where a row lies between the ends of each feature's range.
    fn see(&self, numbers: &[f64], seen: &mut Vec<f64>) {
        seen.clear();
        seen.extend(numbers.iter().zip(&self.ranges).map(|(number, range)| range.place(*number)));
    }

    /// The score of a row as it is seen.
    fn score(&self, seen: &[f64]) -> f64 {
        let window = self.config.window_rows;
        let mass: u64 = self.trees.iter().map(|tree| tree.mass(seen, window)).sum();
        // All rows of the window at each node on the way down count 1 + 2 + 4 + … times.
        let most = u64::from(window) * ((2 << self.config.tree_depth) - 1) * self.trees.len() as u64;
        1.0 - mass as f64 / most as f64
    }

    fn learn(&mut self, numbers: &[f64], seen: &mut Vec<f64>) {
        if self.window.keeps_scores(self.config.threshold) {
            self.see(numbers, seen);
            self.window.keep(self.score(seen));
        }
        for (range, number) in self.ranges.iter_mut().zip(numbers) {
            range.learn(*number);
        }
        self.see(numbers, seen);
        self.trees.iter_mut().for_each(|tree| tree.count(seen));
        self.rows = self.rows.saturating_add(1);
        if self.window.count(self.config.window_rows) {
            self.trees.iter_mut().for_each(Tree::turn_window);
            self.window.turn(self.config.threshold);
        }
    }

    /// Whether learning could have led here, given options in range.
    fn is_plausible(&self) -> bool {
        let (width, window) = (self.ranges.len(), self.config.window_rows);
        self.ranges.iter().all(Range::is_plausible)
            && self.trees.len() == self.config.num_trees as usize
            && self.trees.iter().all(|tree| tree.is_plausible(width, self.config.tree_depth, window))
            && self.window.is_plausible(window)
    }
}

impl Predictor for HalfSpaceTrees {
    fn model_type(&self) -> &'static str {
        Self::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.features.schema()
    }

    fn rows_learnt(&self) -> u64 {
        self.forest.rows
    }

    fn outputs(&self, _label: &str) -> Vec<Field> {
        output_fields()
    }

    fn answers(&self, features: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let (forest, window) = (&self.forest, &self.forest.window);
        let (mut scores, mut seen) = (vec![0.0; features.num_rows()], Vec::new());
        let rows = self.features.visit(features, |row, of_row| {
            if window.is_one_full() {
                forest.see(of_row.numbers, &mut seen);
                scores[row] = forest.score(&seen);
            }
        })?;
        let scores = match window.is_one_full() {
            true => Float64Array::new(scores.into(), rows.usable()),
            false => Float64Array::new_null(features.num_rows()),
        };
        let is_anomaly: BooleanArray = scores.iter().map(|score| window.is_anomaly(score?)).collect();
        Ok(vec![Arc::new(is_anomaly), Arc::new(scores)])
    }
}

impl OnlineModel for HalfSpaceTrees {
    fn learn(&mut self, features: &RecordBatch, _labels: &dyn Array) -> Result<LearnReport> {
        let said = self.answers(features)?;
        let mut rows = Rows::new(features.num_rows());
        self.features.read(features, &mut rows, |_, _| {})?;
        let mut seen = Vec::new();
        for row in (0..features.num_rows()).filter(|row| rows.is_accepted(*row)) {
            self.forest.learn(self.features.row(row).numbers, &mut seen);
        }
        let (rows, rejected) = rows.into_rejected();
        Ok(LearnReport { rows, rejected, said })
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        snapshot::seal(Self::SNAPSHOT_TAG, &(self.features.state(), &self.forest))
    }
}

/// A model as a snapshot holds it.
#[derive(Decode)]
struct State {
    features: FeaturesState,
    forest: Forest,
}
