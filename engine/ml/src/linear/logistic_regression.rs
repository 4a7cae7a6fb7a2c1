//! Logistic regression that learns online: one pass, one row at a time, no row kept.
//!
//! The log-odds of a row are the intercept, plus a weight times each number, plus the weight of each
//! feature's category. Categories get a weight when they are first learnt (one-hot, but the list
//! grows), and numbers are standardised by the mean and variance of the rows learnt so far, with the
//! current row included. So a stream needs no statistics in advance, and there is no first pass.
//!
//! Learning is strictly row by row in the order given. Batches only decide how many rows are read
//! at once; they never change a result.

pub(crate) mod batch;
mod config;
#[cfg(test)]
mod kept_snapshots;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod throughput;

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, Float64Array, RecordBatch};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use bincode::{Decode, Encode};
use tidemill_compute::kernel::logistic::sigmoid;
use tidemill_compute::kernel::sparse::sparse_dot;

pub use self::config::LogisticRegressionConfig;
use super::optimizer::{Parameters, WeightedAverage};
use super::weights::{Inputs, weights_table};
use crate::error::{MlError, Result};
use crate::explain::{Explainer, Explanations, Means, check_category_rows};
use crate::feature::columns::{Columns, SparseRows};
use crate::feature::dictionary::{CategoryDictionary, DictionaryState, NO_SLOT};
use crate::feature::moments::{Moments, Scale};
use crate::model::{ClassCounts, FeatureKind, FeatureSchema, LearnReport, OnlineModel, RejectReason, RejectedRow};
use crate::snapshot;

/// A binary classifier, linear in its features; see the [module](self).
#[derive(Debug, Clone)]
pub struct LogisticRegression {
    config: LogisticRegressionConfig,
    /// Shared, so that a batch's columns can name it while the model changes.
    schema: Arc<FeatureSchema>,
    /// One for each numeric feature.
    moments: Vec<Moments>,
    /// One for each categorical feature.
    dictionaries: Vec<CategoryDictionary>,
    /// Slot 0 is the intercept, then the numeric features, then categories as they appear.
    parameters: Parameters,
    classes: ClassCounts,
    /// Rows with each category, slot by slot, of a model that was fitted to all of its rows; otherwise empty.
    category_rows: Vec<u64>,
    /// The rows of the batch being learnt. Kept to spare allocations; holds no state.
    scratch: SparseRows,
}

impl LogisticRegression {
    /// The name in `CREATE MODEL`.
    pub const MODEL_TYPE: &'static str = "logistic_reg";

    pub(crate) const SNAPSHOT_TAG: u8 = 1;

    /// A model that has learnt nothing.
    ///
    /// # Errors
    /// `InvalidOption` when `config` is out of range, or allows more categories than there are
    /// slots.
    pub fn new(config: LogisticRegressionConfig, schema: FeatureSchema) -> Result<Self> {
        config.validate()?;
        config.check_slots(&schema)?;
        let numbers = schema.count(FeatureKind::Numeric);
        let dictionary = CategoryDictionary::new(config.max_categories as usize);
        Ok(Self {
            moments: vec![Moments::default(); numbers],
            dictionaries: vec![dictionary; schema.count(FeatureKind::Categorical)],
            parameters: Parameters::new(&config.optimizer, 1 + numbers),
            classes: ClassCounts::default(),
            category_rows: Vec::new(),
            scratch: SparseRows::new(&schema),
            config,
            schema: Arc::new(schema),
        })
    }

    /// Reads what [`OnlineModel::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`; `InvalidOption` and the schema's errors
    /// for bytes that decode to an impossible model.
    pub fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of a logistic regression"));
        }
        let (state, rest) = snapshot::decode_first::<State>(payload)?;
        let mut model = state.into_model()?;
        if !rest.is_empty() {
            model.category_rows = snapshot::decode(rest)?;
            let categories = model.dictionaries.iter().map(|dictionary| dictionary.slots().count()).sum();
            if model.category_rows.is_empty() {
                return Err(MlError::corrupt("bytes are left over at its end"));
            }
            check_category_rows(&model.category_rows, categories, OnlineModel::rows_learnt(&model))?;
        }
        Ok(model)
    }

    /// Reads the whole batch into `scratch`, growing the dictionaries by the accepted rows, and
    /// scores those rows by the weights as they are before any of them is learnt.
    fn encode_and_score(&mut self, columns: &Columns<'_>, rows: &mut Rows) {
        self.scratch.grow(columns.rows());
        let scales = self.scales();
        let mut standardized = vec![1.0; 1 + self.schema.fields().len()];
        for block in columns.blocks() {
            columns
                .write_numbers(block.clone(), &mut self.scratch, block.start, |row, reason| rows.reject(row, reason));
            let (parameters, config) = (&mut self.parameters, &self.config.optimizer);
            let slot_of = |feature: usize, category: Option<&str>| {
                self.dictionaries[feature].slot_or_insert(category, || parameters.add_slot(config))
            };
            columns.write_categories(block.clone(), &mut self.scratch, block.start, &rows.accepted, slot_of);
            for row in block.filter(|row| rows.accepted[*row]) {
                standardized[1..=scales.len()].copy_from_slice(self.scratch.numbers(row));
                self.standardize(&scales, &mut standardized[1..=scales.len()]);
                let logit = sparse_dot(self.scratch.row(row).0, &standardized, self.parameters.weights());
                rows.scores[row] = sigmoid(logit);
            }
        }
    }

    /// Moves the weights by one row of `scratch`.
    fn learn_row(&mut self, row: usize, label: bool) {
        let clip = self.config.clip;
        for (value, moments) in self.scratch.numbers_mut(row).iter_mut().zip(&mut self.moments) {
            if value.is_nan() {
                *value = 0.0;
            } else if self.config.standardize {
                moments.add(*value);
                *value = moments.scale().apply(*value, clip);
            }
        }
        let (indices, values) = self.scratch.row(row);
        let probability = sigmoid(sparse_dot(indices, values, self.parameters.weights()));
        let error = probability - f64::from(u8::from(label));
        self.parameters.step(&self.config.optimizer, indices, values, error);
        self.classes.count(label);
    }

    /// The weights by now, in the units of the features.
    pub(crate) fn weights_table(&self) -> Result<RecordBatch> {
        weights_table(&self.inputs(), &[(None, self.parameters.weights())])
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            schema: &self.schema,
            moments: &self.moments,
            dictionaries: &self.dictionaries,
            is_standardized: self.config.standardize,
        }
    }

    /// What the log-odds of these labels are made of: those of a row that is predicted to be false are negated.
    pub(crate) fn explained(&self, features: &RecordBatch, labels: &BooleanArray) -> Result<Explanations> {
        let means = Means::new(&self.inputs(), self.classes.rows(), &self.category_rows);
        let explainer = Explainer::new(&means, self.parameters.weights());
        let mut explanations = Explanations::new(&self.schema, features.num_rows());
        let rows = self.visit(features, |row, slots, values| {
            let is_true = labels.value(row);
            explainer.explain((row, slots, values), (usize::from(is_true), is_true), &mut explanations);
        })?;
        let usable = rows.into_report().scores.nulls().cloned();
        Ok(explanations.of_usable(usable))
    }

    /// Calls `visit` with each usable row's number, slots and values, and returns what becomes of the rows.
    fn visit(&self, features: &RecordBatch, mut visit: impl FnMut(usize, &[u32], &[f64])) -> Result<Rows> {
        let columns = Columns::resolve(&self.schema, features)?;
        let mut rows = Rows::new(columns.rows());
        let scales = self.scales();
        let mut scratch = SparseRows::new(&self.schema);
        for block in columns.blocks() {
            scratch.grow(block.len());
            columns.write_numbers(block.clone(), &mut scratch, 0, |row, reason| rows.reject(row, reason));
            let slot_of = |feature: usize, category: Option<&str>| self.dictionaries[feature].slot(category);
            columns.write_categories(block.clone(), &mut scratch, 0, &rows.accepted, slot_of);
            for (place, row) in block.enumerate() {
                if rows.accepted[row] {
                    self.standardize(&scales, scratch.numbers_mut(place));
                    let (indices, values) = scratch.row(place);
                    visit(row, indices, values);
                }
            }
        }
        Ok(rows)
    }

    fn scales(&self) -> Vec<Scale> {
        self.moments.iter().map(Moments::scale).collect()
    }

    /// Turns one row's raw numbers into what the weights multiply.
    fn standardize(&self, scales: &[Scale], numbers: &mut [f64]) {
        for (number, scale) in numbers.iter_mut().zip(scales) {
            if self.config.standardize {
                *number = scale.apply(*number, self.config.clip);
            } else if number.is_nan() {
                *number = 0.0;
            }
        }
    }

    /// Every slot, in the order that a snapshot stores them: independent of the batches in which
    /// the categories came.
    fn slots(&self) -> Vec<u32> {
        let fixed = 0..=self.moments.len() as u32;
        fixed.chain(self.dictionaries.iter().flat_map(CategoryDictionary::slots)).collect()
    }

    fn check_same_kind(&self, other: &Self) -> Result<()> {
        if self.config != other.config {
            return Err(MlError::MergeMismatch { what: "options" });
        }
        if self.schema != other.schema {
            return Err(MlError::MergeMismatch { what: "features" });
        }
        Ok(())
    }

    /// Adds `other`'s categories and statistics; returns its slots, each after the slot it has here.
    fn adopt(&mut self, other: &Self) -> Vec<(u32, u32)> {
        let mut pairs: Vec<(u32, u32)> = (0..=self.moments.len() as u32).map(|slot| (slot, slot)).collect();
        for (own, others) in self.dictionaries.iter_mut().zip(&other.dictionaries) {
            let (parameters, config) = (&mut self.parameters, &self.config.optimizer);
            own.merge(others, || parameters.add_slot(config), |to, from| pairs.push((to, from)));
        }
        for (own, others) in self.moments.iter_mut().zip(&other.moments) {
            own.merge(others);
        }
        self.classes.add(other.classes);
        pairs
    }
}

impl OnlineModel for LogisticRegression {
    fn model_type(&self) -> &'static str {
        Self::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    fn learn(&mut self, features: &RecordBatch, labels: &BooleanArray) -> Result<LearnReport> {
        if labels.len() != features.num_rows() {
            return Err(MlError::LabelCount { rows: features.num_rows(), labels: labels.len() });
        }
        let schema = Arc::clone(&self.schema);
        let columns = Columns::resolve(&schema, features)?;
        let mut rows = Rows::new(columns.rows());
        for row in (0..labels.len()).filter(|row| labels.is_null(*row)) {
            rows.reject(row, RejectReason::NullLabel);
        }
        self.category_rows.clear();
        self.encode_and_score(&columns, &mut rows);
        for row in (0..labels.len()).filter(|row| rows.accepted[*row]) {
            self.learn_row(row, labels.value(row));
        }
        Ok(rows.into_report())
    }

    fn predict(&self, features: &RecordBatch) -> Result<Float64Array> {
        let mut scores = vec![0.0; features.num_rows()];
        let rows = self.visit(features, |row, indices, values| {
            scores[row] = sigmoid(sparse_dot(indices, values, self.parameters.weights()));
        })?;
        Ok(Rows { scores, ..rows }.into_report().scores)
    }

    /// A numeric feature's weight belongs to the mean and deviation it was learnt with, which differ
    /// a little between copies; the average ignores that, so it is good for parts that were split
    /// at random and poor for parts whose numbers are on different scales.
    fn merge(&mut self, snapshots: &[&[u8]]) -> Result<()> {
        let mut others = Vec::with_capacity(snapshots.len());
        for bytes in snapshots {
            if snapshot::open(bytes)?.0 != Self::SNAPSHOT_TAG {
                return Err(MlError::MergeMismatch { what: "model type" });
            }
            let other = Self::restore(bytes)?;
            self.check_same_kind(&other)?;
            others.push(other);
        }
        // Own slots are listed before the others' categories join: for those this model abstains.
        let (own_rows, own_slots) = (self.classes.rows(), self.slots());
        let pairs: Vec<_> = others.iter().map(|other| self.adopt(other)).collect();

        let mut average = WeightedAverage::new(&self.config.optimizer, self.parameters.weights().len());
        average.add(own_rows, &self.parameters, own_slots.into_iter().map(|slot| (slot, slot)));
        for (other, pairs) in others.iter().zip(pairs) {
            average.add(other.classes.rows(), &other.parameters, pairs);
        }
        self.parameters = average.finish();
        self.category_rows.clear();
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let state = State {
            config: self.config,
            schema: FeatureSchema::clone(&self.schema),
            classes: self.classes,
            moments: self.moments.clone(),
            dictionaries: self.dictionaries.iter().map(CategoryDictionary::state).collect(),
            parameters: self.parameters.gather(&self.slots()),
        };
        // Left out where it is empty, as in all snapshots of online models.
        match self.category_rows.is_empty() {
            true => snapshot::seal(Self::SNAPSHOT_TAG, &state),
            false => snapshot::seal(Self::SNAPSHOT_TAG, &(state, &self.category_rows)),
        }
    }

    fn classes(&self) -> ClassCounts {
        self.classes
    }
}

/// A model as a snapshot holds it. Category slots follow from the order of the dictionaries.
#[derive(Encode, Decode)]
struct State {
    config: LogisticRegressionConfig,
    schema: FeatureSchema,
    classes: ClassCounts,
    moments: Vec<Moments>,
    dictionaries: Vec<DictionaryState>,
    parameters: Parameters,
}

impl State {
    fn into_model(self) -> Result<LogisticRegression> {
        // The checked constructor again: decoding alone would let in a duplicate or no feature.
        let schema = FeatureSchema::new(self.schema.fields().to_vec())?;
        let mut model = LogisticRegression::new(self.config, schema)?;
        let ClassCounts { negative, positive } = self.classes;
        let rows = negative.checked_add(positive).ok_or(MlError::corrupt("its row count overflows"))?;
        if self.moments.len() != model.moments.len() || !self.moments.iter().all(|moments| moments.is_plausible(rows)) {
            return Err(MlError::corrupt("the statistics do not fit the numeric features"));
        }
        if self.dictionaries.len() != model.dictionaries.len() {
            return Err(MlError::corrupt("the dictionaries do not fit the categorical features"));
        }
        let mut next_slot = 1 + model.moments.len() as u32;
        for (dictionary, state) in model.dictionaries.iter_mut().zip(&self.dictionaries) {
            *dictionary = CategoryDictionary::restore(state, self.config.max_categories as usize, &mut next_slot)?;
        }
        if !self.parameters.is_plausible(&self.config.optimizer, next_slot as usize) {
            return Err(MlError::corrupt("the weights do not fit the features and their categories"));
        }
        model.moments = self.moments;
        model.parameters = self.parameters;
        model.classes = self.classes;
        debug_assert!(!model.slots().contains(&NO_SLOT));
        Ok(model)
    }
}

/// What becomes of each row of a batch.
struct Rows {
    accepted: Vec<bool>,
    /// Meaningful where `accepted`.
    scores: Vec<f64>,
    rejected: Vec<RejectedRow>,
}

impl Rows {
    fn new(rows: usize) -> Self {
        Self { accepted: vec![true; rows], scores: vec![0.0; rows], rejected: Vec::new() }
    }

    /// Only a row's first reason counts.
    fn reject(&mut self, row: usize, reason: RejectReason) {
        if std::mem::replace(&mut self.accepted[row], false) {
            self.rejected.push(RejectedRow { row, reason });
        }
    }

    fn into_report(mut self) -> LearnReport {
        self.rejected.sort_unstable_by_key(|rejected| rejected.row);
        let rows = (self.accepted.len() - self.rejected.len()) as u64;
        let nulls = (!self.rejected.is_empty()).then(|| NullBuffer::new(BooleanBuffer::from(self.accepted)));
        LearnReport { rows, rejected: self.rejected, scores: Float64Array::new(self.scores.into(), nulls) }
    }
}
