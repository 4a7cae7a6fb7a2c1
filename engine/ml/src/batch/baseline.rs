//! What a model has to beat: a guess that looks at no feature. Of classes it is the share of each, of numbers their mean
//! (scikit-learn's `DummyClassifier(strategy='prior')` and `DummyRegressor(strategy='mean')`).
//!
//! Whatever is fitted to labels says beside its measures what those of the guess are, by the same rows: a log loss of 0.3 is
//! good where the guess has 0.69, and bad where it has 0.25.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, make_array};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field, Float64Type};

use super::{BatchModel, FitControl, FitReport, taken};
use crate::classes::{Classes, LabelKind, cast_label, unreadable_label};
use crate::error::Result;
use crate::metrics::{ClassHits, RegressionSums};
use crate::model::{FeatureSchema, RejectedRow};

/// What the guess's measures are called: this and the measure's name.
const PREFIX: &str = "baseline_";

/// Some rows' labels, as far as a guess knows them.
#[derive(Debug, Clone)]
pub(crate) enum Labels {
    /// How many rows each class has.
    Classes { kind: LabelKind, rows: BTreeMap<String, u64> },
    /// Their mean, and how far they are from it.
    Numbers(RegressionSums),
}

impl Labels {
    /// None yet, of a label that has classes, or else numbers.
    pub(crate) fn new(kind: Option<LabelKind>) -> Self {
        match kind {
            Some(kind) => Self::Classes { kind, rows: BTreeMap::new() },
            None => Self::Numbers(RegressionSums::default()),
        }
    }

    /// Those of rows whose labels are places among classes, or without classes numbers.
    pub(crate) fn of(classes: Option<&Classes>, labels: impl Iterator<Item = f64>) -> Self {
        let Some(classes) = classes else {
            let mut sums = RegressionSums::default();
            labels.for_each(|label| sums.add(label, label));
            return Self::Numbers(sums);
        };
        let mut rows = vec![0_u64; classes.names().len()];
        labels.for_each(|label| rows[label as usize] += 1);
        let seen = classes.names().iter().cloned().zip(rows).filter(|(_, rows)| *rows > 0);
        Self::Classes { kind: classes.kind(), rows: seen.collect() }
    }

    /// # Errors
    /// `ReadColumn` for labels of another type.
    pub(crate) fn add(&mut self, labels: &ArrayRef) -> Result<()> {
        match self {
            Self::Classes { kind, rows } => {
                let texts = kind.texts(labels)?;
                for class in texts.as_string::<i32>().iter().flatten() {
                    match rows.get_mut(class) {
                        Some(rows) => *rows += 1,
                        None => drop(rows.insert(class.to_owned(), 1)),
                    }
                }
            }
            Self::Numbers(sums) => {
                let numbers = cast_label(labels, &DataType::Float64)?;
                numbers.as_primitive::<Float64Type>().iter().flatten().for_each(|label| sums.add(label, label));
            }
        }
        Ok(())
    }

    /// How many.
    fn rows(&self) -> u64 {
        match self {
            Self::Classes { rows, .. } => rows.values().sum(),
            Self::Numbers(sums) => sums.count,
        }
    }

    /// How well a guess by these does with the labels of others, by the names of SQL's functions.
    pub(crate) fn guessing(&self, others: &Self) -> Vec<(String, f64)> {
        let measures = match (self, others) {
            (Self::Classes { rows: learnt, .. }, Self::Classes { rows: others, .. }) => guess_classes(learnt, others),
            (Self::Numbers(learnt), Self::Numbers(others)) => guess_mean(learnt, others),
            _ => Vec::new(),
        };
        measures.into_iter().map(|(name, value)| (format!("{PREFIX}{name}"), value)).collect()
    }
}

fn guess_classes(learnt: &BTreeMap<String, u64>, others: &BTreeMap<String, u64>) -> Vec<(String, f64)> {
    let total = learnt.values().sum::<u64>() as f64;
    let share = |class: &str| learnt.get(class).map_or(0.0, |rows| *rows as f64 / total);
    // Of classes as frequent, the first.
    let likeliest = learnt.iter().rev().max_by_key(|(_, rows)| **rows).map(|(class, _)| class);
    let (mut hits, mut squares, mut count) = (ClassHits::default(), 0.0, 0);
    for (class, rows) in others {
        let share = share(class);
        hits.count_rows(*rows, share, Some(class) == likeliest);
        squares += *rows as f64 * (1.0 - share) * (1.0 - share);
        count += rows;
    }
    let brier = (learnt.len() == 2 && count > 0).then(|| ("brier_score".to_owned(), squares / count as f64));
    hits.metrics().into_iter().chain(brier).collect()
}

fn guess_mean(learnt: &RegressionSums, others: &RegressionSums) -> Vec<(String, f64)> {
    if learnt.count == 0 || others.count == 0 {
        return Vec::new();
    }
    let apart = others.mean - learnt.mean;
    let mse = others.variation / others.count as f64 + apart * apart;
    vec![("mse".to_owned(), mse), ("rmse".to_owned(), mse.sqrt())]
}

/// Measures of a model, and behind them those of a guess that the model has, too.
pub(crate) fn beside(mut measures: Vec<(String, f64)>, guess: Vec<(String, f64)>) -> Vec<(String, f64)> {
    let has = |name: &str| measures.iter().any(|(own, _)| own == name);
    let is_new = |name: &str| !has(name) && name.strip_prefix(PREFIX).is_some_and(has);
    let known: Vec<_> = guess.into_iter().filter(|(name, value)| is_new(name) && value.is_finite()).collect();
    measures.extend(known);
    measures
}

/// How a model does beside a guess that looks at no feature, by the same rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BesideGuess {
    /// The measure that says it, by the name of SQL's function: less of it is better.
    pub measure: &'static str,
    /// The model's.
    pub model: f64,
    /// The guess's.
    pub guess: f64,
}

impl BesideGuess {
    /// What the measures of a model say of it: by the log loss of classes, by the squared error of numbers. None where either
    /// is unknown.
    #[must_use]
    pub fn of(measures: &[(String, f64)]) -> Option<Self> {
        let value = |wanted: &str| measures.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
        let compared = |measure: &'static str| {
            let guess = value(&format!("{PREFIX}{measure}"))?;
            Some(Self { measure, model: value(measure)?, guess })
        };
        ["log_loss", "mse", "rmse"].into_iter().find_map(compared)
    }

    /// Whether the model does no better than the guess.
    #[must_use]
    pub fn is_no_better(&self) -> bool {
        self.model >= self.guess
    }
}

/// A model that is judged by the rows that it learns, beside a guess by the same rows.
pub(super) struct WithBaseline {
    model: Box<dyn BatchModel>,
    labels: Labels,
}

impl WithBaseline {
    /// Around a model that has no rows, for labels of this type, which are classes or numbers.
    pub(super) fn around(model: Box<dyn BatchModel>, kind: Option<LabelKind>) -> Self {
        Self { model, labels: Labels::new(kind) }
    }
}

impl BatchModel for WithBaseline {
    fn model_type(&self) -> &'static str {
        self.model.model_type()
    }

    fn schema(&self) -> &FeatureSchema {
        self.model.schema()
    }

    fn outputs(&self) -> Vec<Field> {
        self.model.outputs()
    }

    fn add(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<Vec<RejectedRow>> {
        let rejected = self.model.add(features, labels)?;
        let labels = make_array(labels.to_data());
        if rejected.is_empty() {
            self.labels.add(&labels)?;
            return Ok(rejected);
        }
        let taken = filter(&labels, &taken(labels.len(), &rejected)).map_err(unreadable_label)?;
        self.labels.add(&taken)?;
        Ok(rejected)
    }

    fn rows(&self) -> u64 {
        self.model.rows()
    }

    fn bytes(&self) -> usize {
        self.model.bytes()
    }

    fn set_control(&mut self, control: FitControl) {
        self.model.set_control(control);
    }

    fn fit(&mut self) -> Result<FitReport> {
        let report = self.model.fit()?;
        if report.rows < self.labels.rows() {
            // It has held out some, by which it is judged, and a guess, too.
            return Ok(report);
        }
        Ok(FitReport { metrics: beside(report.metrics, self.labels.guessing(&self.labels)), ..report })
    }
}

#[cfg(test)]
mod tests;
