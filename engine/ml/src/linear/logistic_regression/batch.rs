//! Logistic regression fitted to a training set as a whole.
//!
//! What is minimised, over `n` rows with labels `y` in {0, 1}, log-odds `z = b + w·x` and class weights
//! `s`, all of it divided by the sum of `s` over the rows:
//!
//! ```text
//! Σ s (ln(1 + e^z) - y z)  +  l1_reg Σ|w|  +  l2_reg/2 Σw²
//! ```
//!
//! The intercept `b` is not penalised. Up to the division, which moves no minimum, this is what
//! scikit-learn's `LogisticRegression` minimises with `C = 1 / l2_reg`. What comes out is a
//! [`LogisticRegression`] as one that has learnt online: it may go on to learn from a stream, with the
//! squared gradients of the rows that it was fitted to for AdaGrad to start from.

mod config;
#[cfg(test)]
mod tests;

use arrow::array::{Array, Float64Array, RecordBatch};
use tidemill_compute::kernel::dense::{add_scaled, dot};
use tidemill_compute::kernel::logistic::{loss_and_probability, sigmoid};

pub(crate) use self::config::BatchLogisticConfig;
use super::{LogisticRegression, LogisticRegressionConfig};
use crate::batch::{BatchModel, CLIP, Chunk, FitControl, FitReport, Row, TrainingSet, map_shards};
use crate::error::{MlError, Result};
use crate::linear::lbfgs::{self, Objective};
use crate::linear::optimizer::Parameters;
use crate::metrics;
use crate::model::{ClassCounts, FeatureSchema, OnlineModel, RejectedRow, boolean_labels};

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchLogisticRegression {
    config: BatchLogisticConfig,
    set: TrainingSet,
    control: FitControl,
}

impl BatchLogisticRegression {
    /// A model that has no rows.
    ///
    /// # Errors
    /// `InvalidOption` where `max_categories` allows more categories than there are slots.
    pub(crate) fn new(config: BatchLogisticConfig, schema: FeatureSchema) -> Result<Self> {
        online_config(&config).check_slots(&schema)?;
        let set = TrainingSet::new(schema, config.max_categories);
        Ok(Self { config, set, control: FitControl::default() })
    }

    fn classes(&self) -> ClassCounts {
        let mut classes = ClassCounts::default();
        self.set.chunks().iter().flat_map(Chunk::labels).for_each(|label| classes.count(*label == 1.0));
        classes
    }

    /// The fitted model, and its probability for each row.
    fn fitted(&self, weights: Vec<f64>, classes: ClassCounts) -> Result<(LogisticRegression, Vec<f64>)> {
        let parts = map_shards(self.set.chunks(), &self.control, |chunks| Score::of(chunks, &weights))?;
        let (mut squares, mut scores) = (vec![0.0; weights.len()], Vec::new());
        for part in parts {
            add_scaled(&mut squares, 1.0, &part.squares);
            scores.extend(part.probabilities);
        }
        let config = online_config(&self.config);
        let model = LogisticRegression {
            moments: self.set.moments().to_vec(),
            dictionaries: self.set.dictionaries().to_vec(),
            parameters: Parameters::fitted(&config.optimizer, weights, squares),
            classes,
            ..LogisticRegression::new(config, self.set.schema().clone())?
        };
        Ok((model, scores))
    }
}

impl BatchModel for BatchLogisticRegression {
    fn model_type(&self) -> &'static str {
        LogisticRegression::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.set.schema()
    }

    fn add(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<Vec<RejectedRow>> {
        let labels = boolean_labels("label", labels)?;
        let labels: Float64Array = labels.iter().map(|label| label.map(|label| f64::from(u8::from(label)))).collect();
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
        let classes = self.classes();
        if classes.rows() == 0 {
            return Err(MlError::NoRows);
        }
        classes.require_both()?;
        self.set.prepare(self.config.standardize, &self.control)?;
        let loss = LogisticLoss::new(&self.set, &self.config, classes, &self.control);
        let minimum = lbfgs::minimize(&loss, loss.start(classes), &self.config.search(loss.total))?;
        if !minimum.loss.is_finite() {
            return Err(MlError::Diverged { hint: "standardise the features, or scale them down" });
        }
        let (model, scores) = self.fitted(minimum.point, classes)?;
        let labels: Vec<bool> = self.set.chunks().iter().flat_map(Chunk::labels).map(|label| *label == 1.0).collect();
        Ok(FitReport {
            model: model.snapshot()?,
            rows: classes.rows(),
            iterations: minimum.iterations,
            converged: minimum.converged,
            loss: minimum.loss,
            metrics: training_metrics(&scores, &labels),
        })
    }
}

/// The settings of the online model that a fit makes.
fn online_config(config: &BatchLogisticConfig) -> LogisticRegressionConfig {
    LogisticRegressionConfig {
        standardize: config.standardize,
        clip: CLIP,
        max_categories: config.max_categories,
        ..LogisticRegressionConfig::default()
    }
}

fn training_metrics(scores: &[f64], labels: &[bool]) -> Vec<(String, f64)> {
    let named = [
        ("roc_auc", metrics::auc(scores, labels)),
        ("log_loss", metrics::log_loss(scores, labels)),
        ("brier_score", metrics::brier(scores, labels)),
        ("accuracy", metrics::accuracy(scores, labels)),
    ];
    named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The mean loss as a function of the weights: slot 0 the intercept, then numbers, then categories.
struct LogisticLoss<'a> {
    set: &'a TrainingSet,
    control: &'a FitControl,
    /// The weight of a row of each class, divided by that of all rows.
    shares: [f64; 2],
    /// The weight of all rows.
    total: f64,
    /// Divided by the weight of all rows.
    l2: f64,
}

impl<'a> LogisticLoss<'a> {
    fn new(set: &'a TrainingSet, config: &BatchLogisticConfig, classes: ClassCounts, control: &'a FitControl) -> Self {
        let weights = config.weights_of(classes);
        let total = weights[0] * classes.negative as f64 + weights[1] * classes.positive as f64;
        Self { set, control, shares: weights.map(|weight| weight / total), total, l2: config.l2_reg / total }
    }

    /// No weights, and the intercept that fits the classes alone.
    fn start(&self, classes: ClassCounts) -> Vec<f64> {
        let mut start = vec![0.0; self.set.slots()];
        let [negative, positive] = self.shares;
        // A difference of the two shares and no logarithm, which would differ between machines: near an
        // even split it is the log-odds up to a factor, and the search does the rest.
        start[0] = 2.0 * (positive * classes.positive as f64 - negative * classes.negative as f64);
        start
    }

    /// The part of some rows: their loss, and their gradient added to `gradient`.
    fn add_rows(&self, chunks: &[Chunk], weights: &[f64], gradient: &mut [f64]) -> f64 {
        let numbers = 1..=self.set.numeric();
        let mut loss = 0.0;
        for chunk in chunks {
            if self.control.is_stopped() {
                break;
            }
            for row in chunk.iter() {
                let positive = row.label == 1.0;
                let share = self.shares[usize::from(positive)];
                let (row_loss, probability) = loss_and_probability(log_odds(&row, weights), positive);
                loss += share * row_loss;
                let error = share * (probability - row.label);
                gradient[0] += error;
                add_scaled(&mut gradient[numbers.clone()], error, row.numbers);
                for &slot in row.categories {
                    gradient[slot as usize] += error;
                }
            }
        }
        loss
    }
}

impl Objective for LogisticLoss<'_> {
    fn evaluate(&self, point: &[f64], gradient: &mut [f64]) -> Result<f64> {
        let parts = map_shards(self.set.chunks(), self.control, |chunks| {
            let mut gradient = vec![0.0; point.len()];
            let loss = self.add_rows(chunks, point, &mut gradient);
            (loss, gradient)
        })?;
        gradient.fill(0.0);
        let mut loss = 0.0;
        for (part_loss, part) in parts {
            loss += part_loss;
            add_scaled(gradient, 1.0, &part);
        }
        let weights = &point[1..];
        add_scaled(&mut gradient[1..], self.l2, weights);
        Ok(loss + 0.5 * self.l2 * dot(weights, weights))
    }
}

fn log_odds(row: &Row<'_>, weights: &[f64]) -> f64 {
    let numbers = dot(row.numbers, &weights[1..=row.numbers.len()]);
    row.categories.iter().fold(weights[0] + numbers, |sum, &slot| sum + weights[slot as usize])
}

/// What a fitted model says of some rows.
struct Score {
    probabilities: Vec<f64>,
    /// For each weight, the sum of the squares of the rows' gradients.
    squares: Vec<f64>,
}

impl Score {
    fn of(chunks: &[Chunk], weights: &[f64]) -> Self {
        let mut score = Self { probabilities: Vec::new(), squares: vec![0.0; weights.len()] };
        for row in chunks.iter().flat_map(Chunk::iter) {
            let probability = sigmoid(log_odds(&row, weights));
            let square = (probability - row.label) * (probability - row.label);
            score.probabilities.push(probability);
            score.squares[0] += square;
            for (sum, number) in score.squares[1..].iter_mut().zip(row.numbers) {
                *sum += square * number * number;
            }
            for &slot in row.categories {
                score.squares[slot as usize] += square;
            }
        }
        score
    }
}
