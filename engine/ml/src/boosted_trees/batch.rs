//! Boosted trees fitted to a training set.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;

use super::bins::BinnedRows;
use super::config::TreeConfig;
use super::division::Division;
use super::fit::{Fit, Fitter};
use super::groups::GroupReader;
use super::loss::{Loss, RowLoss};
use super::measures::measures;
use super::monotone::Direction;
use super::objective::Objective;
use super::ranking::GroupLoss;
use super::{BoostedTrees, CLASSIFIER, RANKER, REGRESSOR, Target};
use crate::batch::baseline::{self, beside};
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
    /// How relevant rows are, each among those of its group.
    Relevances(GroupReader),
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

    /// A model without rows whose scores put rows of a group in order; the groups' column is among those of the schema.
    ///
    /// # Errors
    /// As a model of numbers; `InvalidOption` for a `group_column` that is not there, `NoFeatures` where no other is.
    pub(crate) fn ranker(config: TreeConfig, schema: &FeatureSchema) -> Result<Self> {
        let (groups, features) = GroupReader::new(&config.group_column, schema)?;
        Self::new(config, features, Labels::Relevances(groups))
    }

    fn new(config: TreeConfig, schema: FeatureSchema, labels: Labels) -> Result<Self> {
        check_slots(config.max_categories, &schema)?;
        let directions = config.monotone_constraints.of_features(&schema)?;
        let set = TrainingSet::new(schema, config.max_categories);
        Ok(Self { config, directions, labels, set, control: FitControl::default() })
    }

    /// Which rows are learnt, and which are held out: of a ranker, whole groups.
    fn parts(&self) -> Result<Parts> {
        let TreeConfig { split, seed, .. } = &self.config;
        match &self.labels {
            Labels::Relevances(groups) => Ok(groups.rows_of(&split.split(groups.count(), "groups", *seed)?)),
            Labels::Classes(_) | Labels::Numbers => split.split(self.set.rows() as u32, "rows", *seed),
        }
    }

    /// What is predicted, and what is to be lowered for it.
    fn target(&self, parts: &Parts) -> Result<(Target, Loss)> {
        let labels = self.set.chunks().iter().flat_map(Chunk::labels);
        let (target, labels, class_weights) = match &self.labels {
            Labels::Relevances(groups) => {
                return Ok((Target::Numbers(self.set.rows()), self.group_loss(groups, parts)?));
            }
            Labels::Numbers => (Target::Numbers(self.set.rows()), labels.copied().collect(), Vec::new()),
            Labels::Classes(reader) => {
                let (classes, places) = reader.classes(labels.clone())?;
                let labels: Vec<f64> = labels.map(|label| places[*label as usize] as f64).collect();
                let weights = self.class_weights(&classes, &labels, parts)?;
                (Target::Classes(classes), labels, weights)
            }
        };
        let loss = RowLoss { objective: target.objective(), labels, class_weights };
        match (loss.objective, self.config.monotone_constraints.constrained()) {
            // The probabilities of several classes cannot all rise.
            (Objective::Classes(_), Some(feature)) => {
                Err(invalid("monotone_constraints", feature, "no constraint where the label has more than two classes"))
            }
            _ => Ok((target, Loss::OfRows(loss))),
        }
    }

    fn group_loss(&self, groups: &GroupReader, parts: &Parts) -> Result<Loss> {
        let labels = self.set.chunks().iter().flat_map(Chunk::labels).copied();
        let loss = GroupLoss::new(groups.groups(), labels, self.config.truncation_level as usize);
        let no_order = |of| Err(MlError::NoOrder { of, column: groups.column().to_owned() });
        if !loss.has_order(&parts.learnt) {
            return no_order("to learn from");
        }
        if !parts.held_out.is_empty() && !loss.has_order(&parts.held_out) {
            return no_order("held out");
        }
        Ok(Loss::OfGroups(loss))
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
    fn report(&self, fit: &Fit, target: &Target, loss: &Loss, parts: &Parts) -> Result<FitReport> {
        let threads = self.control.threads.get();
        let mean = |rows: &[u32]| loss.mean(&fit.scores, rows, threads);
        let measures = |rows: &[u32]| measures(loss, &fit.scores, rows, threads);
        let mut metrics = measures(&parts.learnt);
        if !parts.held_out.is_empty() {
            let named = |(name, value)| (format!("training_{name}"), value);
            let of_learnt: Vec<_> = metrics.into_iter().map(named).collect();
            metrics = measures(&parts.held_out);
            metrics.push(("eval_loss".to_owned(), mean(&parts.held_out)));
            metrics.extend(of_learnt);
            metrics = beside(metrics, guess(target, loss, parts));
        }
        let learnt = mean(&parts.learnt);
        let report = FitReport {
            model: Vec::new(),
            rows: parts.learnt.len() as u64,
            iterations: fit.rounds,
            converged: true,
            loss: learnt,
            metrics,
            trials: Vec::new(),
            history: fit.history.clone().into_iterations(learnt),
        };
        if report.loss.is_finite() {
            return Ok(report);
        }
        Err(MlError::Diverged { hint: "take a smaller learn_rate, or scale the label down" })
    }
}

/// How well a guess by the rows learnt does with those held out; of groups there is none.
fn guess(target: &Target, loss: &Loss, parts: &Parts) -> Vec<(String, f64)> {
    let Loss::OfRows(loss) = loss else { return Vec::new() };
    let classes = if let Target::Classes(classes) = target { Some(classes) } else { None };
    let labels = |rows: &[u32]| baseline::Labels::of(classes, rows.iter().map(|row| loss.labels[*row as usize]));
    labels(&parts.learnt).guessing(&labels(&parts.held_out))
}

impl BatchModel for BatchBoostedTrees {
    fn model_type(&self) -> &'static str {
        match self.labels {
            Labels::Classes(_) => CLASSIFIER,
            Labels::Numbers => REGRESSOR,
            Labels::Relevances(_) => RANKER,
        }
    }

    fn schema(&self) -> &FeatureSchema {
        self.set.schema()
    }

    fn add(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<Vec<RejectedRow>> {
        match &mut self.labels {
            Labels::Classes(reader) => self.set.add(features, &reader.read(labels)?),
            Labels::Numbers => self.set.add(features, &numeric_labels(labels)?),
            Labels::Relevances(groups) => groups.add(&mut self.set, features, &numeric_labels(labels)?),
        }
    }

    fn rows(&self) -> u64 {
        self.set.rows()
    }

    fn bytes(&self) -> usize {
        let groups = if let Labels::Relevances(groups) = &self.labels { groups.bytes() } else { 0 };
        self.set.bytes() + groups
    }

    fn set_control(&mut self, control: FitControl) {
        self.control = control;
    }

    fn fit(&mut self) -> Result<FitReport> {
        if self.set.rows() == 0 {
            return Err(MlError::NoRows);
        }
        let parts = self.parts()?;
        let (target, loss) = self.target(&parts)?;
        self.set.prepare(Numbers::WithMissing, &self.control)?;
        let (config, control) = (&self.config, &self.control);
        let binned = BinnedRows::of(&self.set, &parts.learnt, config.max_bins as usize, control.threads.get());
        let (parts, directions) = (&parts, &self.directions);
        let division = Division::new(control, loss.rows(), binned.features.len(), config.num_leaves);
        let fit = Fitter { config, control, loss: &loss, parts, binned: &binned, directions, division }.fit()?;
        let report = self.report(&fit, &target, &loss, parts)?;
        let encoder = self.set.encoder(Numbers::WithMissing);
        let model_type = self.model_type();
        let model = BoostedTrees { model_type, encoder, target, first: fit.first, trees: fit.trees };
        Ok(FitReport { model: model.snapshot()?, ..report })
    }
}
