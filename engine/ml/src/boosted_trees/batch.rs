//! Boosted trees fitted to a training set.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use tidemill_compute::kernel::logistic::log1p_exp;

use super::bins::BinnedRows;
use super::config::TreeConfig;
use super::grow::Grower;
use super::objective::Objective;
use super::split::Search;
use super::tree::Tree;
use super::{BoostedTrees, CLASSIFIER, REGRESSOR, Target};
use crate::batch::{BatchModel, Chunk, FitControl, FitReport, TrainingSet};
use crate::classes::{ClassReader, LabelKind};
use crate::error::{MlError, Result};
use crate::feature::encoder::Numbers;
use crate::linear::linear_regression::batch::numeric_labels;
use crate::metrics::{self, ClassHits, RegressionSums};
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
    objective: Objective,
    labels: Vec<f64>,
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

    /// What is predicted, and each row's label as its objective takes it.
    fn target(&self) -> Result<(Target, Vec<f64>)> {
        let labels = self.set.chunks().iter().flat_map(Chunk::labels);
        match &self.labels {
            Labels::Numbers if self.set.rows() == 0 => Err(MlError::NoRows),
            Labels::Numbers => Ok((Target::Numbers(self.set.rows()), labels.copied().collect())),
            Labels::Classes(reader) => {
                let (classes, places) = reader.classes(labels.clone())?;
                Ok((Target::Classes(classes), labels.map(|label| places[*label as usize] as f64).collect()))
            }
        }
    }

    fn grow(&self, objective: Objective, labels: Vec<f64>) -> Result<Fit> {
        let threads = self.control.threads.get();
        let binned = BinnedRows::of(&self.set, self.config.max_bins as usize, threads);
        let first = objective.first(&labels);
        let scores = first.iter().map(|score| vec![*score; labels.len()]).collect();
        let trees = vec![Vec::new(); first.len()];
        let mut fit = Fit { objective, labels, first, trees, scores, rounds: 0 };
        let mut grows = true;
        while grows && fit.rounds < self.config.max_iterations {
            grows = self.grow_round(&mut fit, &binned)?;
        }
        Ok(fit)
    }

    /// Grows a tree for each score; whether any has a split.
    fn grow_round(&self, fit: &mut Fit, binned: &BinnedRows) -> Result<bool> {
        let derivatives = fit.objective.derivatives(&fit.scores, &fit.labels, self.control.threads.get());
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

impl Fit {
    /// The mean loss of the rows, and the measures by the names of SQL's functions.
    fn evaluate(&self) -> (f64, Vec<(String, f64)>) {
        match self.objective {
            Objective::Squares => self.evaluate_numbers(),
            Objective::Binary => self.evaluate_binary(),
            Objective::Classes(_) => self.evaluate_classes(),
        }
    }

    fn evaluate_numbers(&self) -> (f64, Vec<(String, f64)>) {
        let mut sums = RegressionSums::default();
        self.labels.iter().zip(&self.scores[0]).for_each(|(label, score)| sums.add(*label, *score));
        let loss = sums.squared_errors / 2.0 / self.labels.len() as f64;
        (loss, named([("r2", sums.r2()), ("rmse", sums.rmse()), ("mae", sums.mae())]))
    }

    fn evaluate_binary(&self) -> (f64, Vec<(String, f64)>) {
        let rows = || self.scores[0].iter().zip(&self.labels);
        let loss: f64 = rows().map(|(score, label)| log1p_exp(if *label > 0.5 { -score } else { *score })).sum();
        let probability = |score: &f64| {
            let mut score = [*score];
            self.objective.probabilities(&mut score);
            score[0]
        };
        let scores: Vec<f64> = self.scores[0].iter().map(probability).collect();
        let labels: Vec<bool> = self.labels.iter().map(|label| *label > 0.5).collect();
        let measures = [
            ("roc_auc", metrics::auc(&scores, &labels)),
            ("log_loss", metrics::log_loss(&scores, &labels)),
            ("accuracy", metrics::accuracy(&scores, &labels)),
        ];
        (loss / self.labels.len() as f64, named(measures))
    }

    fn evaluate_classes(&self) -> (f64, Vec<(String, f64)>) {
        let mut hits = ClassHits::default();
        let mut row_scores = vec![0.0; self.scores.len()];
        for (row, label) in self.labels.iter().enumerate() {
            row_scores.iter_mut().zip(&self.scores).for_each(|(own, scores)| *own = scores[row]);
            self.objective.probabilities(&mut row_scores);
            hits.add(&row_scores, *label as usize);
        }
        let measures = hits.metrics();
        let loss = measures.iter().find(|(name, _)| name == "log_loss").map_or(f64::NAN, |(_, loss)| *loss);
        (loss, measures)
    }
}

fn named<const COUNT: usize>(measures: [(&str, Option<f64>); COUNT]) -> Vec<(String, f64)> {
    measures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
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
        let (target, labels) = self.target()?;
        self.set.prepare(Numbers::WithMissing, &self.control)?;
        let fit = self.grow(target.objective(), labels)?;
        let (loss, metrics) = fit.evaluate();
        if !loss.is_finite() {
            return Err(MlError::Diverged { hint: "take a smaller learn_rate, or scale the label down" });
        }
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
