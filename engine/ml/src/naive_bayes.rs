//! Naive Bayes: the probability of a class is its share of the rows, times how likely each feature's value is
//! in that class, as if features did not depend on each other.
//!
//! A category has the share that it has in its class, each counted `alpha` more often than it was seen. What numbers
//! have, `distribution` says: `gaussian`, each is normal with the mean and variance of its class; `multinomial`, all
//! are counts of one whole, such as of a text's words, with shares in it that are smoothed by `alpha`; `bernoulli`,
//! each is above `binarize` as often as in its class, smoothed likewise.
//!
//! A missing number and an unseen category say nothing; a missing count is 0. As scikit-learn's `GaussianNB`,
//! `MultinomialNB` and `BernoulliNB` where all features are numbers, and its `CategoricalNB` where none is.

pub(crate) mod batch;
pub(crate) mod config;
mod explain;
mod numbers;
mod sums;
#[cfg(test)]
mod tests;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use bincode::{Decode, Encode};
use tidemill_compute::kernel::softmax::{ln, softmax_in_place};

use self::numbers::{NumberLikelihood, NumberStatistics};
use crate::classes::Classes;
use crate::error::{MlError, Result};
use crate::explain::Explanations;
use crate::feature::encoder::{Encoder, EncoderState, Numbers};
use crate::model::FeatureSchema;
use crate::predictor::{Predictions, Supervised};
use crate::snapshot;

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
    numbers: NumberStatistics,
    /// How often each category was seen in each class.
    counts: Vec<u64>,
    /// How much more often each category counts, and whatever else is counted.
    alpha: f64,
}

/// How likely rows are in one class.
#[derive(Debug, Clone)]
struct Likelihood {
    /// The logarithm of the class's share.
    prior: f64,
    numbers: NumberLikelihood,
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
        let they_count = encoder.numbers() == Numbers::Counts;
        if they_count != matches!(state.statistics.numbers, NumberStatistics::Multinomial { .. })
            || !state.statistics.is_plausible(&encoder, state.classes.names().len())
        {
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
            *score = likelihood.prior + likelihood.numbers.ln(numbers);
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

    fn explanations(&self, features: &RecordBatch, said: &Predictions) -> Result<Option<Explanations>> {
        self.explained(features, said).map(Some)
    }
}

impl Statistics {
    fn likelihood(&self, class: usize, encoder: &Encoder, classes: &Classes) -> Likelihood {
        let of_class = |width: usize| class * width..(class + 1) * width;
        let numbers = self.numbers.likelihood(class, encoder.numeric(), self.alpha);
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
        self.numbers.is_plausible(classes, encoder.numeric())
            && self.counts.len() == classes * encoder.categories().iter().sum::<usize>()
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
