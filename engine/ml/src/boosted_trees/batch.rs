//! Boosted trees fitted to a training set.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;

use super::bins::BinnedRows;
use super::config::TreeConfig;
use super::fit::{Fit, Fitter};
use super::loss::Loss;
use super::measures::measures;
use super::monotone::Direction;
use super::objective::Objective;
use super::{BoostedTrees, CLASSIFIER, REGRESSOR, Target};
use crate::batch::data_split::Parts;
use crate::batch::{BatchModel, Chunk, FitControl, FitReport, TrainingSet};
use crate::classes::{ClassReader, Classes, LabelKind};
use crate::error::{MlError, Result};
use crate::feature::encoder::Numbers;
use crate::linear::linear_regression::batch::numeric_labels;
use crate::model::{FeatureSchema, RejectedRow};
use crate::options::{check_slots, invalid};

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchBoostedTrees {
    config: TreeConfig,
    /// How predictions may change with each feature.
    directions: Vec<Direction>,
    labels: Labels,
    set: TrainingSet,
    control: FitControl,
}

#[derive(Debug)]
enum Labels {
    Classes(ClassReader),
    Numbers,
}

impl BatchBoostedTrees {
    /// A classifier that has no rows, for labels of this type.
    ///
    /// # Errors
    /// `UnsupportedLabel`, or `InvalidOption` where `max_categories` allows more than there are slots, or where a
    /// constraint is on no number.
    pub(crate) fn classifier(config: TreeConfig, schema: FeatureSchema, label: &DataType) -> Result<Self> {
        Self::new(config, schema, Labels::Classes(ClassReader::new(LabelKind::of("label", label)?)))
    }

    /// A model of numbers that has no rows.
    ///
    /// # Errors
    /// `InvalidOption` where `max_categories` allows more than there are slots, or where a constraint is on no number.
    pub(crate) fn regressor(config: TreeConfig, schema: FeatureSchema) -> Result<Self> {
        Self::new(config, schema, Labels::Numbers)
    }

    fn new(config: TreeConfig, schema: FeatureSchema, labels: Labels) -> Result<Self> {
        check_slots(config.max_categories, &schema)?;
        let directions = config.monotone_constraints.of_features(&schema)?;
        let set = TrainingSet::new(schema, config.max_categories);
        Ok(Self { config, directions, labels, set, control: FitControl::default() })
    }

    /// What is predicted, and what is to be lowered for it.
    fn target(&self, parts: &Parts) -> Result<(Target, Loss)> {
        let labels = self.set.chunks().iter().flat_map(Chunk::labels);
        let (target, labels, class_weights) = match &self.labels {
            Labels::Numbers => (Target::Numbers(self.set.rows()), labels.copied().collect(), Vec::new()),
            Labels::Classes(reader) => {
                let (classes, places) = reader.classes(labels.clone())?;
                let labels: Vec<f64> = labels.map(|label| places[*label as usize] as f64).collect();
                let weights = self.class_weights(&classes, &labels, parts)?;
                (Target::Classes(classes), labels, weights)
            }
        };
        let loss = Loss { objective: target.objective(), labels, class_weights };
        match (loss.objective, self.config.monotone_constraints.constrained()) {
            // The probabilities of several classes cannot all rise.
            (Objective::Classes(_), Some(feature)) => {
                Err(invalid("monotone_constraints", feature, "no constraint where the label has more than two classes"))
            }
            _ => Ok((target, loss)),
        }
    }

    /// What a row of each class weighs.
    fn class_weights(&self, classes: &Classes, labels: &[f64], parts: &Parts) -> Result<Vec<f64>> {
        let weights = &self.config.class_weights;
        weights.check_classes(classes.names())?;
        let mut rows = vec![0; classes.names().len()];
        parts.learnt.iter().for_each(|row| rows[labels[*row as usize] as usize] += 1);
        // All rows have several classes, but those that are learnt may not.
        if let Some(only) = rows.iter().position(|rows| *rows == parts.learnt.len() as u64) {
            return Err(MlError::SameClass { rows: rows[only], class: classes.names()[only].clone() });
        }
        Ok(weights.of_rows(classes.names(), &rows))
    }

    /// What a fit came to, but for the model.
    fn report(&self, fit: &Fit, loss: &Loss, parts: &Parts) -> Result<FitReport> {
        let mean = |rows: &[u32]| loss.mean(&fit.scores, rows, self.control.threads.get());
        let mut metrics = measures(loss, &fit.scores, &parts.learnt);
        if !parts.held_out.is_empty() {
            let named = |(name, value)| (format!("eval_{name}"), value);
            metrics.push(("eval_loss".to_owned(), mean(&parts.held_out)));
            metrics.extend(measures(loss, &fit.scores, &parts.held_out).into_iter().map(named));
        }
        let report = FitReport {
            model: Vec::new(),
            rows: self.set.rows(),
            iterations: fit.rounds,
            converged: true,
            loss: mean(&parts.learnt),
            metrics,
            trials: Vec::new(),
        };
        if report.loss.is_finite() {
            return Ok(report);
        }
        Err(MlError::Diverged { hint: "take a smaller learn_rate, or scale the label down" })
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
        if self.set.rows() == 0 {
            return Err(MlError::NoRows);
        }
        let parts = self.config.split.split(self.set.rows() as u32, self.config.seed)?;
        let (target, loss) = self.target(&parts)?;
        self.set.prepare(Numbers::WithMissing, &self.control)?;
        let (config, control) = (&self.config, &self.control);
        let binned = BinnedRows::of(&self.set, &parts.learnt, config.max_bins as usize, control.threads.get());
        let fit = Fitter { config, control, loss: &loss, parts: &parts, binned: &binned, directions: &self.directions }
            .fit()?;
        let report = self.report(&fit, &loss, &parts)?;
        let encoder = self.set.encoder(Numbers::WithMissing);
        let model = BoostedTrees { encoder, target, first: fit.first, trees: fit.trees };
        Ok(FitReport { model: model.snapshot()?, ..report })
    }
}
