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
mod sample;
#[cfg(test)]
mod tests;

use arrow::array::{Array, Float64Array, RecordBatch};
use bincode::{Decode, Encode};
use tidemill_compute::kernel::dense::add_scaled;
use tidemill_compute::kernel::lanes::Instructions;
use tidemill_compute::kernel::logistic::{loss_and_probability, sigmoid};
use tidemill_compute::kernel::softmax::ln;

pub(crate) use self::config::BatchLogisticConfig;
use self::sample::Sample;
use super::LogisticRegression;
use super::row_weights::RowWeights;
use crate::batch::{BatchModel, CLIP, Chunk, FitControl, FitReport, TrainingSet, linear_numbers, map_shards};
use crate::error::{MlError, Result};
use crate::linear::lbfgs;
use crate::linear::mean_loss::{MeanLoss, score_inlined};
use crate::linear::online::{OnlineLinear, OnlineLinearConfig};
use crate::linear::optimizer::Parameters;
use crate::linear::preconditioner::{Penalty, Preconditioner};
use crate::metrics;
use crate::model::{ClassCounts, FeatureSchema, OnlineSupervised, RejectedRow, boolean_labels};

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
    /// `InvalidOption` where `max_categories` allows more categories than there are slots, or for a class
    /// that a BOOLEAN has not.
    pub(crate) fn new(config: BatchLogisticConfig, schema: FeatureSchema) -> Result<Self> {
        online_config(&config).check_slots(&schema)?;
        config.class_weights.check_classes(&["false", "true"].map(str::to_owned))?;
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
        let parts = map_shards(self.set.chunks(), &self.control, |chunks| Scores::of(chunks, &weights))?;
        let (mut squares, mut scores) = (vec![0.0; weights.len()], Vec::new());
        for part in parts {
            add_scaled(&mut squares, 1.0, &part.squares);
            scores.extend(part.probabilities);
        }
        let config = online_config(&self.config);
        let parameters = Parameters::fitted(&config.optimizer, weights, squares);
        let (moments, dictionaries) = (self.set.moments().to_vec(), self.set.dictionaries().to_vec());
        let log_odds = OnlineLinear::fitted(config, self.set.schema().clone(), moments, dictionaries, parameters)?;
        let row_weights = RowWeights::new(&self.config.class_weights)?;
        let category_rows = self.set.category_rows(&self.control)?;
        Ok((LogisticRegression { log_odds, row_weights, classes, category_rows }, scores))
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
        self.set.prepare(linear_numbers(self.config.standardize), &self.control)?;
        let shares = Shares::new(&self.config, classes);
        let row_loss = |_: usize, log_odds: f64, label: f64| shares.row_loss(log_odds, label);
        let l2 = self.config.l2_reg / shares.total;
        let penalty = Penalty { l1: self.config.l1_reg, l2 };
        let search = self.config.search(shares.total);
        let start = shares.start(classes, self.set.slots());
        let (start, preconditioner) = match Sample::of(&self.set, &penalty, classes) {
            Some(sample) => sample.search(&self.set, &self.control, (&shares, l2), (start, &search))?,
            None => (start, Preconditioner::new(&self.set, &self.control, shares.curvature(classes), &penalty)?),
        };
        let chunks = self.set.chunks();
        let loss = MeanLoss { set: &self.set, chunks, control: &self.control, l2, preconditioner, row_loss };
        let minimum = lbfgs::minimize(&loss, start, &search)?;
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
            trials: Vec::new(),
            history: minimum.history.ending_with(minimum.loss),
        })
    }
}

/// The settings of the online model that a fit makes.
fn online_config(config: &BatchLogisticConfig) -> OnlineLinearConfig {
    OnlineLinearConfig {
        standardize: config.standardize,
        clip: CLIP,
        max_categories: config.max_categories,
        ..OnlineLinearConfig::default()
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

/// What a row of each class weighs, and all rows together.
struct Shares {
    /// The weight of a row of each class, negative first, divided by that of all rows.
    of_row: [f64; 2],
    total: f64,
}

impl Shares {
    fn new(config: &BatchLogisticConfig, classes: ClassCounts) -> Self {
        let weights = config.weights_of(classes);
        let total = weights[0] * classes.negative as f64 + weights[1] * classes.positive as f64;
        Self { of_row: weights.map(|weight| weight / total), total }
    }

    /// The variance of a label of these weights, which is how curved the loss is before anything is known.
    fn curvature(&self, classes: ClassCounts) -> f64 {
        let positive = self.of_row[1] * classes.positive as f64;
        positive * (1.0 - positive)
    }

    /// The loss of a row and its slope.
    #[inline(always)]
    fn row_loss(&self, log_odds: f64, label: f64) -> (f64, f64) {
        let positive = label == 1.0;
        let share = if positive { self.of_row[1] } else { self.of_row[0] };
        let (loss, probability) = loss_and_probability(log_odds, positive);
        (share * loss, share * (probability - label))
    }

    /// The second derivative of a row's loss.
    fn row_curvature(&self, log_odds: f64, label: f64) -> f64 {
        let probability = sigmoid(log_odds);
        self.of_row[usize::from(label == 1.0)] * probability * (1.0 - probability)
    }

    /// No weights, and the intercept that fits the classes alone.
    fn start(&self, classes: ClassCounts, slots: usize) -> Vec<f64> {
        let mut start = vec![0.0; slots];
        let [negative, positive] = self.of_row;
        start[0] = ln(positive * classes.positive as f64 / (negative * classes.negative as f64));
        start
    }
}

/// What a fitted model says of some rows.
#[derive(Encode, Decode)]
struct Scores {
    probabilities: Vec<f64>,
    /// For each weight, the sum of the squares of the rows' gradients.
    squares: Vec<f64>,
}

impl Scores {
    fn of(chunks: &[Chunk], weights: &[f64]) -> Self {
        let mut scores = Self { probabilities: Vec::new(), squares: vec![0.0; weights.len()] };
        Instructions::fastest().run(|| chunks.iter().for_each(|chunk| scores.add(chunk, weights)));
        scores
    }

    #[inline(always)]
    fn add(&mut self, chunk: &Chunk, weights: &[f64]) {
        let first = self.probabilities.len();
        self.probabilities.extend((0..chunk.rows()).map(|row| score_inlined(&chunk.row(row), weights)));
        let probabilities = &mut self.probabilities[first..];
        for probability in probabilities.iter_mut() {
            *probability = sigmoid(*probability);
        }
        for (probability, row) in probabilities.iter().zip(chunk.iter()) {
            let square = (probability - row.label) * (probability - row.label);
            self.squares[0] += square;
            for (sum, number) in self.squares[1..].iter_mut().zip(row.numbers) {
                *sum += square * number * number;
            }
            for &slot in row.categories {
                self.squares[slot as usize] += square;
            }
        }
    }
}
