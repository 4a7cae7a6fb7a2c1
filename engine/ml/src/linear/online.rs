//! What online linear models have in common: a score that is linear in the features, learnt in one pass, one row at
//! a time, with no row kept.
//!
//! The score of a row is the intercept, plus a weight times each number, plus the weight of each
//! feature's category. Categories get a weight when they are first learnt (one-hot, but the list
//! grows), and numbers are standardised by the mean and variance of the rows learnt so far, with the
//! current row included. So a stream needs no statistics in advance, and there is no first pass.
//!
//! Learning is strictly row by row in the order given. Batches only decide how many rows are read
//! at once; they never change a result.

mod config;

use std::sync::Arc;

use arrow::array::RecordBatch;
use bincode::{Decode, Encode};
use tidemill_compute::kernel::sparse::sparse_dot;

pub(crate) use self::config::{OnlineLinearConfig, SharedOptions};
use super::optimizer::{Parameters, WeightedAverage};
use super::weights::Inputs;
use crate::error::{MlError, Result};
use crate::explain::{Explainer, Explanations, Means};
use crate::feature::columns::{Columns, SparseRows};
use crate::feature::dictionary::{CategoryDictionary, DictionaryState, NO_SLOT};
use crate::feature::encoder::{Encoder, Numbers};
use crate::feature::moments::{Moments, Scale};
use crate::feature::rows::Rows;
use crate::model::{FeatureKind, FeatureSchema};
use crate::snapshot;

/// A linear score and how it learns; what the score means, and its loss, is for the model to say.
#[derive(Debug, Clone)]
pub(crate) struct OnlineLinear {
    config: OnlineLinearConfig,
    /// Shared, so that a batch's columns can name it while the model changes.
    schema: Arc<FeatureSchema>,
    /// One for each numeric feature.
    moments: Vec<Moments>,
    /// One for each categorical feature.
    dictionaries: Vec<CategoryDictionary>,
    /// Slot 0 is the intercept, then the numeric features, then categories as they appear.
    parameters: Parameters,
    /// The rows of the batch being learnt. Kept to spare allocations; holds no state.
    scratch: SparseRows,
}

impl OnlineLinear {
    /// A score that is 0 for every row.
    ///
    /// # Errors
    /// `InvalidOption` when `config` is out of range, or allows more categories than there are slots.
    pub(crate) fn new(config: OnlineLinearConfig, schema: FeatureSchema) -> Result<Self> {
        config.validate()?;
        config.check_slots(&schema)?;
        let numbers = schema.count(FeatureKind::Numeric);
        let dictionary = CategoryDictionary::new(config.max_categories as usize);
        Ok(Self {
            moments: vec![Moments::default(); numbers],
            dictionaries: vec![dictionary; schema.count(FeatureKind::Categorical)],
            parameters: Parameters::new(&config.optimizer, 1 + numbers),
            scratch: SparseRows::new(&schema),
            config,
            schema: Arc::new(schema),
        })
    }

    /// A score that was fitted to a training set as a whole, for AdaGrad to go on with: see [`Parameters::fitted`].
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn fitted(
        config: OnlineLinearConfig,
        schema: FeatureSchema,
        moments: Vec<Moments>,
        dictionaries: Vec<CategoryDictionary>,
        parameters: Parameters,
    ) -> Result<Self> {
        Ok(Self { moments, dictionaries, parameters, ..Self::new(config, schema)? })
    }

    pub(crate) fn config(&self) -> &OnlineLinearConfig {
        &self.config
    }

    pub(crate) fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    /// How many categories have a slot, of all features.
    pub(crate) fn categories(&self) -> usize {
        self.dictionaries.iter().map(|dictionary| dictionary.slots().count()).sum()
    }

    /// How it reads its features, if its slots are in the order of a snapshot: after it was restored from one.
    pub(crate) fn encoder(&self) -> Encoder {
        Encoder::new(Arc::clone(&self.schema), self.moments.clone(), self.dictionaries.clone(), self.numbers())
    }

    /// By slot.
    pub(crate) fn weights(&self) -> &[f64] {
        self.parameters.weights()
    }

    /// Learns the rows of a batch that can be used, of those that `rows` has not rejected yet; returns their scores
    /// as they were before any of them was learnt.
    ///
    /// `error_of` gets a row's number, its score by now and its entries, and returns the derivative of the row's loss
    /// by the score.
    ///
    /// # Errors
    /// `MissingColumn` or `ChangedColumn`; nothing is learnt then.
    pub(crate) fn learn(
        &mut self,
        features: &RecordBatch,
        mut rows: Rows,
        mut error_of: impl FnMut(usize, f64, &[f64]) -> f64,
    ) -> Result<Rows> {
        let schema = Arc::clone(&self.schema);
        let columns = Columns::resolve(&schema, features)?;
        self.encode_and_score(&columns, &mut rows);
        for row in 0..columns.rows() {
            if rows.is_accepted(row) {
                self.learn_row(row, |score, values| error_of(row, score, values));
            }
        }
        Ok(rows)
    }

    /// The scores of the rows of a batch that can be used.
    ///
    /// # Errors
    /// `MissingColumn` or `ChangedColumn`.
    pub(crate) fn scores(&self, features: &RecordBatch) -> Result<Rows> {
        let mut scores = vec![0.0; features.num_rows()];
        let rows = self.visit(features, |row, slots, values| {
            scores[row] = sparse_dot(slots, values, self.parameters.weights());
        })?;
        Ok(rows.scored(scores))
    }

    /// What the scores by these weights, which are this score's own but for their unit, are made of. The score was made
    /// of so many rows, and so many with each category, slot by slot, if that is known; `class` says of a row the place
    /// of its predicted class, and whether the score speaks for it.
    ///
    /// # Errors
    /// `MissingColumn` or `ChangedColumn`.
    pub(crate) fn explained(
        &self,
        features: &RecordBatch,
        weights: &[f64],
        (rows, category_rows): (u64, &[u64]),
        class: impl Fn(usize) -> (usize, bool),
    ) -> Result<Explanations> {
        let means = Means::new(&self.inputs(), rows, category_rows);
        let explainer = Explainer::new(&means, weights);
        let mut explanations = Explanations::new(&self.schema, features.num_rows());
        let rows = self.visit(features, |row, slots, values| {
            explainer.explain((row, slots, values), class(row), &mut explanations);
        })?;
        Ok(explanations.of_usable(rows.usable()))
    }

    /// Calls `visit` with the number, the slots and the values of each row that can be used; returns what becomes of the
    /// rows, without scores.
    fn visit(&self, features: &RecordBatch, mut visit: impl FnMut(usize, &[u32], &[f64])) -> Result<Rows> {
        let columns = Columns::resolve(&self.schema, features)?;
        let mut rows = Rows::new(columns.rows());
        let scales = self.scales();
        let mut scratch = SparseRows::new(&self.schema);
        for block in columns.blocks() {
            scratch.grow(block.len());
            columns.write_numbers(block.clone(), &mut scratch, 0, |row, reason| rows.reject(row, reason));
            let slot_of = |feature: usize, category: Option<&str>| self.dictionaries[feature].slot(category);
            columns.write_categories(block.clone(), &mut scratch, 0, rows.accepted(), slot_of);
            for (place, row) in block.enumerate() {
                if rows.is_accepted(row) {
                    self.numbers().encode(&scales, scratch.numbers_mut(place));
                    let (indices, values) = scratch.row(place);
                    visit(row, indices, values);
                }
            }
        }
        Ok(rows)
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
            columns.write_categories(block.clone(), &mut self.scratch, block.start, rows.accepted(), slot_of);
            for row in block {
                if rows.is_accepted(row) {
                    standardized[1..=scales.len()].copy_from_slice(self.scratch.numbers(row));
                    self.numbers().encode(&scales, &mut standardized[1..=scales.len()]);
                    let slots = self.scratch.row(row).0;
                    rows.set_score(row, sparse_dot(slots, &standardized, self.parameters.weights()));
                }
            }
        }
    }

    /// Moves the weights by one row of `scratch`.
    fn learn_row(&mut self, row: usize, error_of: impl FnOnce(f64, &[f64]) -> f64) {
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
        let error = error_of(sparse_dot(indices, values, self.parameters.weights()), values);
        self.parameters.step(&self.config.optimizer, indices, values, error);
    }

    /// How the features are read, for whoever shows the weights.
    pub(crate) fn inputs(&self) -> Inputs<'_> {
        Inputs {
            schema: &self.schema,
            moments: &self.moments,
            dictionaries: &self.dictionaries,
            is_standardized: self.config.standardize,
        }
    }

    fn scales(&self) -> Vec<Scale> {
        self.moments.iter().map(Moments::scale).collect()
    }

    /// What the weights multiply of a row's raw numbers.
    fn numbers(&self) -> Numbers {
        match self.config.standardize {
            true => Numbers::Standardized { clip: self.config.clip },
            false => Numbers::Plain,
        }
    }

    /// Every slot, in the order that a snapshot stores them: independent of the batches in which
    /// the categories came.
    fn slots(&self) -> Vec<u32> {
        let fixed = 0..=self.moments.len() as u32;
        fixed.chain(self.dictionaries.iter().flat_map(CategoryDictionary::slots)).collect()
    }

    /// # Errors
    /// `MergeMismatch`.
    fn check_same_kind(&self, other: &Self) -> Result<()> {
        if self.config != other.config {
            return Err(MlError::MergeMismatch { what: "options" });
        }
        if self.schema != other.schema {
            return Err(MlError::MergeMismatch { what: "features" });
        }
        Ok(())
    }

    /// Restores the models to merge with this score's own, whose snapshots have this tag; `score_of` says the score of
    /// one of them, or nothing if what it has beside a score is not that of this score's model.
    ///
    /// # Errors
    /// `MergeMismatch`, or what `restore` returns for a bad snapshot.
    pub(crate) fn restore_copies<M>(
        &self,
        (tag, snapshots): (u8, &[&[u8]]),
        restore: impl Fn(&[u8]) -> Result<M>,
        score_of: impl Fn(&M) -> Option<&Self>,
    ) -> Result<Vec<M>> {
        let mut copies = Vec::with_capacity(snapshots.len());
        for bytes in snapshots {
            if snapshot::open(bytes)?.0 != tag {
                return Err(MlError::MergeMismatch { what: "model type" });
            }
            let copy = restore(bytes)?;
            let score = score_of(&copy).ok_or(MlError::MergeMismatch { what: "options" })?;
            self.check_same_kind(score)?;
            copies.push(copy);
        }
        Ok(copies)
    }

    /// Averages this score, learnt from so many rows, with others of its kind, each with its rows.
    ///
    /// A numeric feature's weight belongs to the mean and deviation it was learnt with, which differ
    /// a little between copies; the average ignores that, so it is good for parts that were split
    /// at random and poor for parts whose numbers are on different scales.
    pub(crate) fn merge(&mut self, rows: u64, others: &[(u64, &Self)]) {
        // Own slots are listed before the others' categories join: for those this model abstains.
        let own_slots = self.slots();
        let pairs: Vec<_> = others.iter().map(|(_, other)| self.adopt(other)).collect();
        let mut average = WeightedAverage::new(&self.config.optimizer, self.parameters.weights().len());
        average.add(rows, &self.parameters, own_slots.into_iter().map(|slot| (slot, slot)));
        for ((rows, other), pairs) in others.iter().zip(pairs) {
            average.add(*rows, &other.parameters, pairs);
        }
        self.parameters = average.finish();
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
        pairs
    }

    /// What a snapshot holds of a score that was learnt from such rows.
    pub(crate) fn state<Learnt>(&self, learnt: Learnt) -> OnlineLinearState<Learnt> {
        OnlineLinearState {
            config: self.config,
            schema: FeatureSchema::clone(&self.schema),
            learnt,
            moments: self.moments.clone(),
            dictionaries: self.dictionaries.iter().map(CategoryDictionary::state).collect(),
            parameters: self.parameters.gather(&self.config.optimizer, &self.slots()),
        }
    }
}

/// A score as a snapshot holds it. Category slots follow from the order of the dictionaries.
#[derive(Encode, Decode)]
pub(crate) struct OnlineLinearState<Learnt> {
    config: OnlineLinearConfig,
    schema: FeatureSchema,
    /// What the model counts of the rows that it has learnt. Among the rest, because savepoints have it here.
    pub(crate) learnt: Learnt,
    moments: Vec<Moments>,
    dictionaries: Vec<DictionaryState>,
    parameters: Parameters,
}

impl<Learnt> OnlineLinearState<Learnt> {
    /// The score that wrote this, having learnt so many rows.
    ///
    /// # Errors
    /// `CorruptState`; `InvalidOption` and the schema's errors for what decodes to an impossible model.
    pub(crate) fn into_score(self, rows: u64) -> Result<OnlineLinear> {
        let schema = self.schema.restored()?;
        let mut score = OnlineLinear::new(self.config, schema)?;
        if self.moments.len() != score.moments.len() || !self.moments.iter().all(|moments| moments.is_plausible(rows)) {
            return Err(MlError::corrupt("the statistics do not fit the numeric features"));
        }
        if self.dictionaries.len() != score.dictionaries.len() {
            return Err(MlError::corrupt("the dictionaries do not fit the categorical features"));
        }
        let mut next_slot = 1 + score.moments.len() as u32;
        for (dictionary, state) in score.dictionaries.iter_mut().zip(&self.dictionaries) {
            *dictionary = CategoryDictionary::restore(state, self.config.max_categories as usize, &mut next_slot)?;
        }
        if !self.parameters.is_plausible(&self.config.optimizer, next_slot as usize) {
            return Err(MlError::corrupt("the weights do not fit the features and their categories"));
        }
        score.moments = self.moments;
        score.parameters = self.parameters;
        debug_assert!(!score.slots().contains(&NO_SLOT));
        Ok(score)
    }
}
