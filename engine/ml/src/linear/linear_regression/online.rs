//! Linear regression that learns online: a number is a linear score, see [`OnlineLinear`].
//!
//! With `standardize`, the label is standardised as the numbers are: the score is a row's distance from the mean of
//! the labels so far, in their standard deviations. So one learning rate serves labels of any unit, and
//! the first predictions are the labels' mean and not 0.
//!
//! The loss is half the squared error, or Huber's (1964), which is linear past `huber_delta`, so that a label far from
//! all others counts little.

mod config;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod throughput;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, Float64Array, RecordBatch};
use arrow::datatypes::DataType;
use bincode::{Decode, Encode};
use tidemill_compute::kernel::dense::dot;

use self::config::{Loss, OnlineRegressionConfig};
use super::LinearRegression;
use super::batch::numeric_labels;
use crate::error::{MlError, Result};
use crate::explain::Explanations;
use crate::feature::moments::{Moments, Scale};
use crate::feature::rows::Rows;
use crate::inspect::ModelTable;
use crate::linear::online::{OnlineLinear, OnlineLinearState};
use crate::linear::optimizer::{Optimizer, OptimizerConfig};
use crate::linear::weights::weights_table;
use crate::model::{FeatureSchema, LearnReport, NUMERIC_MAGNITUDE_MAX, OnlineSupervised, RejectReason};
use crate::predictor::{Predictions, Supervised};
use crate::registry::OptionDoc;
use crate::snapshot;

/// The largest error that counts as such; larger ones count so much. Far above errors from which anything can be
/// learnt, and small enough that sums of squared gradients stay finite.
const ERROR_MAX: f64 = 1e20;

/// A regression that learns row by row; see the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct OnlineLinearRegression {
    loss: Loss,
    score: OnlineLinear,
    /// Of the labels learnt.
    labels: Moments,
}

impl OnlineLinearRegression {
    /// The name in `CREATE MODEL`, shared with the regression that is fitted to a training set.
    pub(crate) const MODEL_TYPE: &'static str = LinearRegression::MODEL_TYPE;

    pub(crate) const SNAPSHOT_TAG: u8 = 60;

    /// A model that has learnt nothing.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read, is out of range, would have no effect
    /// because of another option, or allows more categories than there are slots.
    pub(crate) fn new(options: &BTreeMap<String, String>, schema: FeatureSchema) -> Result<Self> {
        let config = OnlineRegressionConfig::from_options(options)?;
        Ok(Self { loss: config.loss, score: OnlineLinear::new(config.linear, schema)?, labels: Moments::default() })
    }

    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        OnlineRegressionConfig::option_docs()
    }

    /// Reads what [`OnlineSupervised::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`; `InvalidOption` and the schema's errors for bytes that
    /// decode to an impossible model.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of an online linear regression"));
        }
        let State { loss, score } = snapshot::decode(payload)?;
        loss.validate()?;
        let labels = score.learnt;
        if !labels.is_plausible(labels.count()) {
            return Err(MlError::corrupt("the statistics of the labels are out of range"));
        }
        Ok(Self { loss, score: score.into_score(labels.count())?, labels })
    }

    /// The weights in the label's unit.
    fn weights(&self) -> Vec<f64> {
        let units = self.units();
        let origin = units.number(0.0);
        let mut weights: Vec<f64> = self.score.weights().iter().map(|weight| units.number(*weight) - origin).collect();
        if let Some(intercept) = weights.first_mut() {
            *intercept += origin;
        }
        weights
    }

    /// How scores become numbers.
    fn units(&self) -> Units {
        if self.score.config().standardize { Units::Standardized(self.labels.scale()) } else { Units::Plain }
    }
}

/// What the unit of a score is.
#[derive(Clone, Copy)]
enum Units {
    /// Standard deviations of the labels, from their mean.
    Standardized(Scale),
    /// The labels' own.
    Plain,
}

impl Units {
    /// What scores say of rows.
    fn predictions(self, scores: &Rows) -> Predictions {
        let numbers: Vec<f64> = scores.scores().iter().map(|score| self.number(*score)).collect();
        let labels = Arc::new(Float64Array::new(numbers.into(), scores.usable()));
        Predictions::without_classes(labels)
    }

    fn number(self, score: f64) -> f64 {
        match self {
            Self::Standardized(scale) => scale.restore(score),
            Self::Plain => score,
        }
    }

    fn score(self, number: f64) -> f64 {
        match self {
            Self::Standardized(scale) => scale.apply(number, f64::INFINITY),
            Self::Plain => number,
        }
    }
}

/// The share of a gradient step that a row may take. A step of gradient descent along a row of squared length `s`
/// changes the row's score by `η s` times its error: past 1 it overshoots, and past 2 errors grow without end.
/// The other rules' steps do not grow with the error.
fn step_share(rule: &OptimizerConfig, values: &[f64]) -> f64 {
    match rule.optimizer {
        Optimizer::Sgd => 1.0 / (rule.learning_rate * dot(values, values)).max(1.0),
        Optimizer::Adagrad | Optimizer::Ftrl | Optimizer::Adam => 1.0,
    }
}

impl Supervised for OnlineLinearRegression {
    fn model_type(&self) -> &'static str {
        Self::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.score.schema()
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
        Ok(self.units().predictions(&self.score.scores(features)?))
    }

    fn explanations(&self, features: &RecordBatch, _said: &Predictions) -> Result<Option<Explanations>> {
        // Along a stream categories are not counted.
        let of_rows = (self.labels.count(), &[][..]);
        self.score.explained(features, &self.weights(), of_rows, |_| (0, true)).map(Some)
    }

    fn table(&self, which: ModelTable) -> Result<Option<RecordBatch>> {
        match which {
            ModelTable::Weights => weights_table(&self.score.inputs(), &[(None, &self.weights())]).map(Some),
            _ => Ok(None),
        }
    }
}

impl OnlineSupervised for OnlineLinearRegression {
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
        let units = self.units();
        let (config, loss, moments) = (*self.score.config(), self.loss, &mut self.labels);
        let rows = self.score.learn(features, rows, |row, score, values| {
            let label = labels.value(row);
            moments.add(label);
            let units = if config.standardize { Units::Standardized(moments.scale()) } else { Units::Plain };
            let error = (score - units.score(label)).clamp(-ERROR_MAX, ERROR_MAX);
            loss.derivative(error) * step_share(&config.optimizer, values)
        })?;
        let said = units.predictions(&rows);
        let (rows, rejected) = rows.into_rejected();
        Ok(LearnReport { rows, rejected, said })
    }

    /// See [`OnlineLinear::merge`]; what is said there of the scale of numbers holds of the label's, too.
    fn merge(&mut self, snapshots: &[&[u8]]) -> Result<()> {
        let others = self.score.restore_copies((Self::SNAPSHOT_TAG, snapshots), Self::restore, |other| {
            (other.loss == self.loss).then_some(&other.score)
        })?;
        let scores: Vec<_> = others.iter().map(|other| (other.labels.count(), &other.score)).collect();
        self.score.merge(self.labels.count(), &scores);
        others.iter().for_each(|other| self.labels.merge(&other.labels));
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let state = State { loss: self.loss, score: self.score.state(self.labels) };
        snapshot::seal(Self::SNAPSHOT_TAG, &state)
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State {
    loss: Loss,
    score: OnlineLinearState<Moments>,
}
