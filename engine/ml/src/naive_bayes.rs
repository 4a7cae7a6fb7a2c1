//! Naive Bayes: the probability of a class is its share of the rows, times how likely each feature's value is
//! in that class, as if features did not depend on each other.
//!
//! A number is normal with the mean and variance of its class; a category has the share that it has in its class,
//! each counted `alpha` more often than it was seen. A missing number and an unseen category say nothing.
//! As scikit-learn's `GaussianNB` where all features are numbers, and its `CategoricalNB` where none is.

pub(crate) mod batch;
pub(crate) mod config;
#[cfg(test)]
mod tests;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use bincode::{Decode, Encode};
use tidemill_compute::kernel::softmax::{ln, softmax_in_place};

use crate::classes::Classes;
use crate::error::{MlError, Result};
use crate::feature::encoder::{Encoder, EncoderState};
use crate::model::{FeatureSchema, NUMERIC_MAGNITUDE_MAX};
use crate::predictor::{Predictions, Supervised};
use crate::snapshot::{self, STATE_MAGNITUDE_MAX};

/// The largest squared distance from a mean, in variances, that counts: sums of many stay finite.
const DISTANCE_MAX: f64 = 1e100;

/// A fitted classifier; it only predicts.
#[derive(Debug, Clone)]
pub(crate) struct NaiveBayes {
    encoder: Encoder,
    classes: Classes,
    statistics: Statistics,
    /// What follows from the statistics: one for each class.
    likelihoods: Vec<Likelihood>,
}

/// What is known of the classes, one after another.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
struct Statistics {
    /// The mean of each number in each class.
    means: Vec<f64>,
    /// Its variance likewise, smoothed; 0 in every class for a number that says nothing.
    variances: Vec<f64>,
    /// How often each category was seen in each class.
    counts: Vec<u64>,
    /// How much more often each category counts.
    alpha: f64,
}

/// How likely rows are in one class.
#[derive(Debug, Clone)]
struct Likelihood {
    /// The logarithm of the class's share.
    prior: f64,
    /// For each number its mean, one over its variance and the logarithm of its density at the mean; zeros for
    /// one that says nothing.
    numbers: Vec<[f64; 3]>,
    /// For each category, in the order of the slots, the logarithm of its share.
    categories: Vec<f64>,
}

impl NaiveBayes {
    /// The name in `CREATE MODEL`.
    pub(crate) const MODEL_TYPE: &'static str = "naive_bayes";

    pub(crate) const SNAPSHOT_TAG: u8 = 4;

    fn new(encoder: Encoder, classes: Classes, statistics: Statistics) -> Self {
        let likelihoods = (0..classes.names().len()).map(|class| statistics.likelihood(class, &encoder, &classes));
        Self { likelihoods: likelihoods.collect(), encoder, classes, statistics }
    }

    /// Reads what [`Self::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`, or the schema's errors.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of a naive Bayes classifier"));
        }
        let state: State = snapshot::decode(payload)?;
        state.classes.check()?;
        let encoder = state.encoder.into_encoder(state.classes.total_rows())?;
        if !state.statistics.is_plausible(&encoder, state.classes.names().len()) {
            return Err(MlError::corrupt("the statistics do not fit the classes and features"));
        }
        Ok(Self::new(encoder, state.classes, state.statistics))
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let state =
            State { encoder: self.encoder.state(), classes: self.classes.clone(), statistics: self.statistics.clone() };
        snapshot::seal(Self::SNAPSHOT_TAG, &state)
    }

    /// The logarithm of each class's likelihood times its share, given a row's numbers and categories' slots.
    fn scores(&self, numbers: &[f64], slots: &[u32], scores: &mut [f64]) {
        let first = 1 + numbers.len() as u32;
        for (score, likelihood) in scores.iter_mut().zip(&self.likelihoods) {
            *score = likelihood.prior;
            for (number, [mean, per_variance, peak]) in numbers.iter().zip(&likelihood.numbers) {
                if !number.is_nan() {
                    let distance = (number - mean) * (number - mean) * per_variance;
                    *score += peak - 0.5 * distance.min(DISTANCE_MAX);
                }
            }
            for slot in slots {
                *score += likelihood.categories.get((slot - first) as usize).copied().unwrap_or(0.0);
            }
        }
    }
}

impl Supervised for NaiveBayes {
    fn model_type(&self) -> &'static str {
        Self::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.encoder.schema()
    }

    fn label_type(&self) -> DataType {
        self.classes.kind().data_type()
    }

    fn class_names(&self) -> Vec<String> {
        self.classes.names().to_vec()
    }

    fn rows_learnt(&self) -> u64 {
        self.classes.total_rows()
    }

    fn predictions(&self, features: &RecordBatch) -> Result<Predictions> {
        let numbers = 1..=self.encoder.numeric();
        let mut scores = vec![0.0; self.likelihoods.len()];
        let mut probabilities = vec![vec![0.0; features.num_rows()]; scores.len()];
        let usable = self.encoder.visit(features, |row, slots, values| {
            self.scores(&values[numbers.clone()], &slots[1 + numbers.clone().count()..], &mut scores);
            softmax_in_place(&mut scores);
            for (class, probability) in probabilities.iter_mut().zip(&scores) {
                class[row] = *probability;
            }
        })?;
        Ok(self.classes.predictions(probabilities, usable))
    }
}

impl Statistics {
    fn likelihood(&self, class: usize, encoder: &Encoder, classes: &Classes) -> Likelihood {
        let of_class = |width: usize| class * width..(class + 1) * width;
        let numeric = of_class(encoder.numeric());
        let number = |(mean, variance): (&f64, &f64)| {
            if *variance == 0.0 {
                return [0.0; 3];
            }
            [*mean, 1.0 / variance, -0.5 * (ln(std::f64::consts::TAU) + ln(*variance))]
        };
        let numbers = self.means[numeric.clone()].iter().zip(&self.variances[numeric]).map(number).collect();
        let rows = classes.rows()[class] as f64;
        let widths = encoder.categories();
        let mut counts = self.counts[of_class(widths.iter().sum())].iter();
        let mut categories = Vec::with_capacity(counts.len());
        for width in widths {
            let total = ln(rows + self.alpha * width as f64);
            categories.extend(counts.by_ref().take(width).map(|count| ln(*count as f64 + self.alpha) - total));
        }
        Likelihood { prior: ln(rows / classes.total_rows() as f64), numbers, categories }
    }

    /// Whether rows of this many classes could have led here.
    fn is_plausible(&self, encoder: &Encoder, classes: usize) -> bool {
        let numbers = classes * encoder.numeric();
        let says_nothing = |number: usize| self.variances.get(number) == Some(&0.0);
        self.means.len() == numbers
            && self.variances.len() == numbers
            && self.counts.len() == classes * encoder.categories().iter().sum::<usize>()
            && self.means.iter().all(|mean| mean.abs() <= NUMERIC_MAGNITUDE_MAX)
            && self.variances.iter().all(|variance| {
                *variance == 0.0 || (f64::MIN_POSITIVE..=STATE_MAGNITUDE_MAX).contains(variance)
            })
            // A number says nothing of one class only if it does of none.
            && (0..numbers).all(|number| says_nothing(number) == says_nothing(number % encoder.numeric()))
            && (1e-12..=1e6).contains(&self.alpha)
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State {
    encoder: EncoderState,
    classes: Classes,
    statistics: Statistics,
}
