//! Boosted trees fitted to a training set.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;

use super::bins::BinnedRows;
use super::config::TreeConfig;
use super::grow::Grower;
use super::loss::Loss;
use super::measures::measures;
use super::split::Search;
use super::tree::Tree;
use super::{BoostedTrees, CLASSIFIER, REGRESSOR, Target};
use crate::batch::{BatchModel, Chunk, FitControl, FitReport, TrainingSet};
use crate::classes::{ClassReader, LabelKind};
use crate::error::{MlError, Result};
use crate::feature::encoder::Numbers;
use crate::linear::linear_regression::batch::numeric_labels;
use crate::model::{FeatureSchema, RejectedRow};
use crate::options::check_slots;

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchBoostedTrees {
    config: TreeConfig,
    labels: Labels,
    set: TrainingSet,
    control: FitControl,
}

#[derive(Debug)]
enum Labels {
    Classes(ClassReader),
    Numbers,
}

/// Trees that are being grown.
struct Fit {
    loss: Loss,
    first: Vec<f64>,
    trees: Vec<Vec<Tree>>,
    /// Of each row, one after the other.
    scores: Vec<Vec<f64>>,
    rounds: u64,
}

impl BatchBoostedTrees {
    /// A classifier that has no rows, for labels of this type.
    ///
    /// # Errors
    /// `UnsupportedLabel`, or `InvalidOption` where `max_categories` allows more than there are slots.
    pub(crate) fn classifier(config: TreeConfig, schema: FeatureSchema, label: &DataType) -> Result<Self> {
        Self::new(config, schema, Labels::Classes(ClassReader::new(LabelKind::of("label", label)?)))
    }

    /// A model of numbers that has no rows.
    ///
    /// # Errors
    /// `InvalidOption` where `max_categories` allows more than there are slots.
    pub(crate) fn regressor(config: TreeConfig, schema: FeatureSchema) -> Result<Self> {
        Self::new(config, schema, Labels::Numbers)
    }

    fn new(config: TreeConfig, schema: FeatureSchema, labels: Labels) -> Result<Self> {
        check_slots(config.max_categories, &schema)?;
        let set = TrainingSet::new(schema, config.max_categories);
        Ok(Self { config, labels, set, control: FitControl::default() })
    }

    /// What is predicted, and what is to be lowered for it.
    fn target(&self) -> Result<(Target, Loss)> {
        let labels = self.set.chunks().iter().flat_map(Chunk::labels);
        let (target, labels, class_weights) = match &self.labels {
            Labels::Numbers if self.set.rows() == 0 => return Err(MlError::NoRows),
            Labels::Numbers => (Target::Numbers(self.set.rows()), labels.copied().collect(), Vec::new()),
            Labels::Classes(reader) => {
                let (classes, places) = reader.classes(labels.clone())?;
                self.config.class_weights.check_classes(classes.names())?;
                let weights = self.config.class_weights.of_rows(classes.names(), classes.rows());
                let labels = labels.map(|label| places[*label as usize] as f64).collect();
                (Target::Classes(classes), labels, weights)
            }
        };
        let loss = Loss { objective: target.objective(), labels, class_weights };
        Ok((target, loss))
    }

    fn grow(&self, loss: Loss) -> Result<Fit> {
        let threads = self.control.threads.get();
        let binned = BinnedRows::of(&self.set, self.config.max_bins as usize, threads);
        let first = loss.first();
        let scores = first.iter().map(|score| vec![*score; loss.labels.len()]).collect();
        let trees = vec![Vec::new(); first.len()];
        let mut fit = Fit { loss, first, trees, scores, rounds: 0 };
        let mut grows = true;
        while grows && fit.rounds < self.config.max_iterations {
            grows = self.grow_round(&mut fit, &binned)?;
        }
        Ok(fit)
    }

    /// Grows a tree for each score; whether any has a split.
    fn grow_round(&self, fit: &mut Fit, binned: &BinnedRows) -> Result<bool> {
        let derivatives = fit.loss.derivatives(&fit.scores, self.control.threads.get());
        let mut grows = false;
        for (score, derivatives) in derivatives.into_iter().enumerate() {
            let search = Search { config: &self.config, units: derivatives.units, binned };
            let grower = Grower { search, gradients: &derivatives.gradients, control: &self.control };
            let mut grown = grower.grow((0..binned.rows as u32).collect())?;
            grows |= !grown.tree.nodes.is_empty();
            grown.tree.values.iter_mut().for_each(|value| *value *= self.config.learn_rate);
            for (rows, value) in grown.leaves.iter().zip(&grown.tree.values) {
                grown.order[rows.clone()].iter().for_each(|row| fit.scores[score][*row as usize] += value);
            }
            fit.trees[score].push(grown.tree);
        }
        if grows {
            fit.rounds += 1;
        } else {
            // What is best without a split, scores began with.
            fit.trees.iter_mut().for_each(|trees| drop(trees.pop()));
        }
        Ok(grows)
    }
}

impl BatchModel for BatchBoostedTrees {
    fn model_type(&self) -> &'static str {
        match self.labels {
            Labels::Classes(_) => CLASSIFIER,
            Labels::Numbers => REGRESSOR,
        }
    }

    fn schema(&self) -> &FeatureSchema {
        self.set.schema()
    }

    fn add(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<Vec<RejectedRow>> {
        let labels = match &mut self.labels {
            Labels::Classes(reader) => reader.read(labels)?,
            Labels::Numbers => numeric_labels(labels)?,
        };
        self.set.add(features, &labels)
    }

    fn rows(&self) -> u64 {
        self.set.rows()
    }

    fn bytes(&self) -> usize {
        self.set.bytes()
    }

    fn set_control(&mut self, control: FitControl) {
        self.control = control;
    }

    fn fit(&mut self) -> Result<FitReport> {
        let (target, loss) = self.target()?;
        self.set.prepare(Numbers::WithMissing, &self.control)?;
        let fit = self.grow(loss)?;
        let loss = fit.loss.mean(&fit.scores, self.control.threads.get());
        if !loss.is_finite() {
            return Err(MlError::Diverged { hint: "take a smaller learn_rate, or scale the label down" });
        }
        let metrics = measures(&fit.loss, &fit.scores);
        let encoder = self.set.encoder(Numbers::WithMissing);
        let model = BoostedTrees { encoder, target, first: fit.first, trees: fit.trees };
        Ok(FitReport {
            model: model.snapshot()?,
            rows: self.set.rows(),
            iterations: fit.rounds,
            converged: true,
            loss,
            metrics,
        })
    }
}
