//! Logistic regression between the classes of a VARCHAR or integer label, fitted to a training set as a whole.
//!
//! What is minimised, over rows with scores `z` of each class, class weights `s` and the label's class `c`, all of
//! it divided by the sum of `s` over the rows:
//!
//! ```text
//! Σ s (ln Σ e^z - z_c)  +  l1_reg Σ|w|  +  l2_reg/2 Σw²
//! ```
//!
//! Intercepts are not penalised. With two classes it is the weights of the second that are looked for, and the
//! first has none, so it is the same model as that of a BOOLEAN label. Both is as in scikit-learn's
//! `LogisticRegression` with `C = 1 / l2_reg`.

#[cfg(test)]
mod tests;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use tidemill_compute::kernel::dense::{add_scaled, dot};
use tidemill_compute::kernel::logistic::loss_and_probability;
use tidemill_compute::kernel::softmax::softmax_in_place;

use super::MultinomialRegression;
use crate::batch::{BatchModel, Chunk, FitControl, FitReport, Row, TrainingSet, linear_numbers, map_shards};
use crate::classes::{ClassReader, Classes, LabelKind};
use crate::error::{MlError, Result};
use crate::linear::lbfgs::{self, Minimum, Objective};
use crate::linear::logistic_regression::LogisticRegression;
use crate::linear::logistic_regression::batch::BatchLogisticConfig;
use crate::linear::mean_loss::MeanLoss;
use crate::linear::preconditioner::{Penalty, Preconditioner};
use crate::metrics;
use crate::model::{FeatureSchema, RejectedRow};
use crate::options::check_slots;

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchMultinomialRegression {
    config: BatchLogisticConfig,
    reader: ClassReader,
    set: TrainingSet,
    control: FitControl,
}

impl BatchMultinomialRegression {
    /// A model that has no rows, for labels of this type.
    ///
    /// # Errors
    /// `UnsupportedLabel`, or `InvalidOption` where `max_categories` allows more than there are slots.
    pub(crate) fn new(config: BatchLogisticConfig, schema: FeatureSchema, label: &DataType) -> Result<Self> {
        check_slots(config.max_categories, &schema)?;
        let reader = ClassReader::new(LabelKind::of("label", label)?);
        let set = TrainingSet::new(schema, config.max_categories);
        Ok(Self { config, reader, set, control: FitControl::default() })
    }

    /// The weights, class by class as the model has them.
    fn search(&self, classes: &Classes, places: &[usize], shares: &Shares) -> Result<Minimum> {
        let (count, slots) = (classes.names().len(), self.set.slots());
        let l2 = self.config.l2_reg / shares.total;
        let penalty = Penalty { l1: self.config.l1_reg, l2 };
        let config = self.config.search(shares.total);
        if count == 2 {
            let row_loss = |_: usize, log_odds: f64, label: f64| {
                let place = places[label as usize];
                let share = shares.of_row[place];
                let (loss, probability) = loss_and_probability(log_odds, place == 1);
                (share * loss, share * (probability - place as f64))
            };
            let preconditioner = Preconditioner::new(&self.set, &self.control, 0.25, &penalty)?;
            let loss = MeanLoss::over(&self.set, &self.control, l2, preconditioner, row_loss);
            let mut minimum = lbfgs::minimize(&loss, vec![0.0; slots], &config)?;
            minimum.point.splice(0..0, std::iter::repeat_n(0.0, slots));
            return Ok(minimum);
        }
        // Of a class as likely as any other.
        let curvature = (count - 1) as f64 / (count * count) as f64;
        let preconditioner = Preconditioner::new(&self.set, &self.control, curvature, &penalty)?;
        let loss = SoftmaxLoss { set: &self.set, control: &self.control, l2, places, shares, count, preconditioner };
        let config = lbfgs::SearchConfig { unpenalized: count, ..config };
        let mut minimum = lbfgs::minimize(&loss, vec![0.0; count * slots], &config)?;
        // The same number added to all intercepts changes nothing; the sum of 0 makes them unique.
        let mean = minimum.point[..count].iter().sum::<f64>() / count as f64;
        minimum.point[..count].iter_mut().for_each(|intercept| *intercept -= mean);
        let by_class = (0..count).flat_map(|class| loss.weights_of(class, &minimum.point)).collect();
        minimum.point = by_class;
        Ok(minimum)
    }

    fn metrics(&self, weights: &[f64], places: &[usize]) -> Result<Vec<(String, f64)>> {
        let slots = self.set.slots();
        let parts = map_shards(self.set.chunks(), &self.control, |chunks| {
            let mut hits = metrics::ClassHits::default();
            let mut scores = vec![0.0; weights.len() / slots];
            for row in chunks.iter().flat_map(Chunk::iter) {
                for (score, weights) in scores.iter_mut().zip(weights.chunks_exact(slots)) {
                    *score = crate::linear::mean_loss::score(&row, weights);
                }
                softmax_in_place(&mut scores);
                hits.add(&scores, places[row.label as usize]);
            }
            hits
        })?;
        Ok(metrics::ClassHits::sum(&parts).metrics())
    }
}

impl BatchModel for BatchMultinomialRegression {
    fn model_type(&self) -> &'static str {
        LogisticRegression::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.set.schema()
    }

    fn add(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<Vec<RejectedRow>> {
        let labels = self.reader.read(labels)?;
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
        let (classes, places) = self.reader.classes(self.set.chunks().iter().flat_map(Chunk::labels))?;
        let shares = Shares::new(&self.config, &classes)?;
        self.set.prepare(linear_numbers(self.config.standardize), &self.control)?;
        let minimum = self.search(&classes, &places, &shares)?;
        if !minimum.loss.is_finite() {
            return Err(MlError::Diverged { hint: "standardise the features, or scale them down" });
        }
        let metrics = self.metrics(&minimum.point, &places)?;
        let encoder = self.set.encoder(linear_numbers(self.config.standardize));
        let category_rows = self.set.category_rows(&self.control)?;
        let model = MultinomialRegression { encoder, classes, weights: minimum.point, category_rows };
        Ok(FitReport {
            model: model.snapshot()?,
            rows: self.set.rows(),
            iterations: minimum.iterations,
            converged: minimum.converged,
            loss: minimum.loss,
            metrics,
            trials: Vec::new(),
            history: minimum.history.ending_with(minimum.loss),
        })
    }
}

/// What a row of each class weighs, and all rows together.
pub(crate) struct Shares {
    /// The weight of a row of each class, divided by that of all rows.
    pub(crate) of_row: Vec<f64>,
    pub(crate) total: f64,
}

impl Shares {
    /// # Errors
    /// `InvalidOption` for a weight of a class that no row has.
    pub(crate) fn new(config: &BatchLogisticConfig, classes: &Classes) -> Result<Self> {
        config.class_weights.check_classes(classes.names())?;
        let weights = config.class_weights.of_rows(classes.names(), classes.rows());
        let total: f64 = weights.iter().zip(classes.rows()).map(|(weight, rows)| weight * *rows as f64).sum();
        Ok(Self { of_row: weights.iter().map(|weight| weight / total).collect(), total })
    }
}

/// The mean loss of several classes as a function of their weights: first all intercepts, which no penalty
/// touches, then the weights of one class after another.
struct SoftmaxLoss<'a> {
    set: &'a TrainingSet,
    control: &'a FitControl,
    l2: f64,
    /// For each label, the place of its class.
    places: &'a [usize],
    shares: &'a Shares,
    count: usize,
    /// Of the weights of one class.
    preconditioner: Preconditioner,
}

impl SoftmaxLoss<'_> {
    /// Where a class's weights begin, and where they end.
    fn range(&self, class: usize) -> std::ops::Range<usize> {
        let each = self.set.slots() - 1;
        self.count + class * each..self.count + (class + 1) * each
    }

    /// The weights of a class slot by slot, its intercept first.
    fn weights_of(&self, class: usize, point: &[f64]) -> Vec<f64> {
        std::iter::once(point[class]).chain(point[self.range(class)].iter().copied()).collect()
    }

    /// The part of some rows: their loss, and their gradient added to `gradient`.
    fn add_rows(&self, chunks: &[Chunk], point: &[f64], gradient: &mut [f64]) -> f64 {
        let mut loss = 0.0;
        let mut scores = vec![0.0; self.count];
        for chunk in chunks.iter().take_while(|_| !self.control.is_stopped()) {
            for row in chunk.iter() {
                let place = self.places[row.label as usize];
                let share = self.shares.of_row[place];
                for (class, score) in scores.iter_mut().enumerate() {
                    *score = point[class] + without_intercept(&row, &point[self.range(class)]);
                }
                let own = scores[place];
                loss += share * (softmax_in_place(&mut scores) - own);
                scores[place] -= 1.0;
                for (class, error) in scores.iter().enumerate() {
                    let slope = share * error;
                    gradient[class] += slope;
                    add_row(&mut gradient[self.range(class)], slope, &row);
                }
            }
        }
        loss
    }
}

impl Objective for SoftmaxLoss<'_> {
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
        let weights = &point[self.count..];
        add_scaled(&mut gradient[self.count..], self.l2, weights);
        Ok(loss + 0.5 * self.l2 * dot(weights, weights))
    }

    /// Class by class: how they depend on each other is left to the search.
    fn precondition(&self, gradient: &mut [f64]) {
        for class in 0..self.count {
            let mut own = self.weights_of(class, gradient);
            self.preconditioner.apply(&mut own);
            gradient[class] = own[0];
            gradient[self.range(class)].copy_from_slice(&own[1..]);
        }
    }
}

/// The score of a row but for the intercept; slots count from 1, since 0 is the intercept's.
fn without_intercept(row: &Row<'_>, weights: &[f64]) -> f64 {
    let numbers = dot(row.numbers, &weights[..row.numbers.len()]);
    row.categories.iter().fold(numbers, |sum, &slot| sum + weights[slot as usize - 1])
}

fn add_row(gradient: &mut [f64], slope: f64, row: &Row<'_>) {
    add_scaled(&mut gradient[..row.numbers.len()], slope, row.numbers);
    for &slot in row.categories {
        gradient[slot as usize - 1] += slope;
    }
}
