//! What moves a prediction near a row: LIME for tables (Ribeiro, Singh and Guestrin 2016, "Why should I trust you?").
//!
//! Other rows are drawn feature by feature like those of a background, the model is asked about them, and a ridge regression
//! says what it answers by which features of a row are about as they are in the row that is explained: a number in the
//! same quarter, a category that is the same. A row of which `d` of `m` features differ counts
//!
//! ```text
//! √(e^(-d / w²)) with w = ¾ √m
//! ```
//!
//! An attribution is the weight of its feature, so other than Shapley values they do not add up to the prediction: what they
//! miss it by is the error. All is as the package lime 0.2 does it by default, but that all features have a weight, and that
//! all rows that are explained share what is drawn and what the model says of it: so a row's weights do not depend on others,
//! and the model is asked once.

mod neighbours;
#[cfg(test)]
mod tests;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use tidemill_compute::kernel::logistic::sigmoid;

use self::neighbours::Neighbours;
use super::coalitions::FEATURES_MAX;
use super::{Explanations, Shares};
use crate::error::{MlError, Result};
use crate::linear::normal_equations::NormalEquations;
use crate::predictor::{Predictions, Predictor, Supervised};

/// The width of the kernel, in roots of the number of features.
const KERNEL_WIDTH: f64 = 0.75;

/// The ridge penalty, on weights of rows that count at most 1.
const PENALTY: f64 = 1.0;

/// Rows like those that a model is asked about, and what decides which neighbours are drawn from them.
#[derive(Debug, Clone, Copy)]
pub struct Background<'a> {
    /// With the model's features. The rows that it was fitted to are best; neither their order nor what else they have
    /// matters, but for what is drawn.
    pub rows: &'a RecordBatch,
    /// The same seed draws the same neighbours.
    pub seed: u64,
}

/// What a model says of rows, and what moves that near each of them: the columns of [`explain`](super::explain()), whose
/// `baseline_prediction_value` is the intercept and whose `approximation_error` is what intercept and attributions together
/// miss the prediction by. Explained is the probability of the predicted class, or the number.
///
/// # Errors
/// `NotExplained` by a model without a label; `NotKnown` without rows in the background; `MissingColumn`, `ChangedColumn`,
/// `TooManyExplained` or `BuildTable`.
pub fn explain_locally(
    model: &dyn Predictor,
    label: &str,
    features: &RecordBatch,
    top_k: usize,
    background: Background<'_>,
) -> Result<RecordBatch> {
    let explained = model.explain_locally(label, features, top_k, background)?;
    explained.ok_or_else(|| MlError::NotExplained { model_type: model.model_type() })
}

/// What moves the predictions of these rows, `said`.
pub(crate) fn explanations<M: Supervised + ?Sized>(
    model: &M,
    features: &RecordBatch,
    said: &Predictions,
    background: Background<'_>,
) -> Result<Explanations> {
    let schema = model.schema();
    let count = schema.fields().len();
    if count > FEATURES_MAX {
        return Err(MlError::TooManyExplained { features: count, features_max: FEATURES_MAX });
    }
    let Some(neighbours) = Neighbours::draw(schema, background)? else {
        let reason = "the background has no rows to draw neighbours from";
        return Err(MlError::NotKnown { model_type: model.model_type(), what: "local explanation", reason });
    };
    let of_neighbours = model.predictions(neighbours.rows())?;
    let answers = Answers::of(&of_neighbours);
    let (own, places) = (Answers::of(said), neighbours.places(schema, features)?);
    let shares_of: Vec<f64> = (0..=count).map(|differing| share(differing, count)).collect();
    let all: Vec<usize> = (0..count).collect();
    let mut explanations = Explanations::new(schema, features.num_rows());
    for (row, places) in places.chunks_exact(count).enumerate().filter(|(row, _)| said.labels.is_valid(*row)) {
        let class = said.place(row);
        let mut sums = Sums::new(count);
        let mut same = all.clone();
        sums.add(&same, 1.0, own.value(class, row));
        for neighbour in 0..neighbours.rows().num_rows() {
            let drawn = neighbours.places_of(neighbour);
            same.clear();
            same.extend((0..count).filter(|feature| drawn[*feature] == places[*feature]));
            if let Some(answer) = answers.known(class, neighbour) {
                sums.add(&same, shares_of[count - same.len()], answer);
            }
        }
        let shares = sums.solve(own.value(class, row));
        explanations.share(row, class, &shares, &all);
    }
    Ok(explanations.of_usable(said.labels.nulls().cloned()))
}

/// How much a row counts of which so many features differ.
fn share(differing: usize, features: usize) -> f64 {
    let width = KERNEL_WIDTH * KERNEL_WIDTH * features as f64;
    let exponent = differing as f64 / (2.0 * width);
    // The exponential by way of the logistic function, which is the kernels' own: `e^-x = s(-x) / s(x)`.
    sigmoid(-exponent) / sigmoid(exponent)
}

/// What a model says of rows: of each class its probability, or else one number.
struct Answers<'a> {
    said: &'a Predictions,
    numbers: Option<&'a [f64]>,
}

impl<'a> Answers<'a> {
    fn of(said: &'a Predictions) -> Self {
        let numbers = said.labels.as_primitive_opt::<Float64Type>().map(|labels| labels.values().as_ref());
        Self { said, numbers }
    }

    fn value(&self, class: usize, row: usize) -> f64 {
        match (self.said.probabilities.get(class), self.numbers) {
            (Some(probabilities), _) => probabilities.value(row),
            (None, Some(numbers)) => numbers[row],
            (None, None) => 0.0,
        }
    }

    /// Nothing where the model says nothing.
    fn known(&self, class: usize, row: usize) -> Option<f64> {
        self.said.labels.is_valid(row).then(|| self.value(class, row))
    }
}

/// Weighted sums over rows of flags and an answer each.
struct Sums {
    weight: f64,
    answers: f64,
    flags: Vec<f64>,
    /// Of each flag with each other, `flags` rows of `flags`; and with the answer.
    products: Vec<f64>,
    targets: Vec<f64>,
}

impl Sums {
    fn new(flags: usize) -> Self {
        let zeros = || vec![0.0; flags];
        Self { weight: 0.0, answers: 0.0, flags: zeros(), products: vec![0.0; flags * flags], targets: zeros() }
    }

    /// Adds a row that has these flags.
    fn add(&mut self, flags: &[usize], weight: f64, answer: f64) {
        let width = self.flags.len();
        self.weight += weight;
        self.answers += weight * answer;
        for flag in flags {
            self.flags[*flag] += weight;
            self.targets[*flag] += weight * answer;
            let products = &mut self.products[flag * width..][..width];
            flags.iter().for_each(|other| products[*other] += weight);
        }
    }

    /// The ridge regression, whose intercept is spared, and what it misses the prediction of a row with all flags by.
    fn solve(mut self, value: f64) -> Shares {
        let width = self.flags.len();
        for (flag, sum) in self.flags.iter().enumerate() {
            let mean = sum / self.weight;
            let products = &mut self.products[flag * width..][..width];
            products.iter_mut().zip(&self.flags).for_each(|(product, other)| *product -= mean * other);
            self.targets[flag] -= mean * self.answers;
        }
        let Self { weight, answers, flags, products, targets } = self;
        let equations = NormalEquations { width, products, targets, target_squares: 0.0 };
        let attributions = equations.ridge(PENALTY).weights;
        let of_flags: f64 = attributions.iter().zip(&flags).map(|(weight, sum)| weight * sum).sum();
        let baseline = (answers - of_flags) / weight;
        let error = (baseline + attributions.iter().sum::<f64>() - value).abs();
        Shares { baseline, value, attributions, error }
    }
}
