//! The Shapley values of linear models: each weight times the distance from the mean.

use tidemill_compute::kernel::dense::dot;
use tidemill_compute::kernel::sparse::sparse_dot;

use super::Explanations;
use crate::error::{MlError, Result};
use crate::feature::dictionary::NO_SLOT;
use crate::linear::weights::Inputs;
use crate::model::FeatureKind;

/// The mean of what each weight is multiplied with, over the rows that a model was fitted to.
#[derive(Debug, Clone)]
pub(crate) struct Means {
    /// By slot: 1 of the intercept, then of the numbers, then the share of rows of each category.
    values: Vec<f64>,
    /// The number of each slot's feature in the schema; of no meaning for the intercept.
    features: Vec<usize>,
    /// How many features there are.
    count: usize,
}

impl Means {
    /// Of a model of so many rows, and so many with each category by slot; where these are not known, the mean row has
    /// no category, so that a category's attribution is its weight.
    pub(crate) fn new(inputs: &Inputs<'_>, rows: u64, category_rows: &[u64]) -> Self {
        let per_row = if rows == 0 { 0.0 } else { 1.0 / rows as f64 };
        let numbers = inputs.moments.iter().map(|moments| match inputs.is_standardized {
            // Of those that have the number; the others are as far from it.
            true => 0.0,
            // A missing number is 0.
            false => moments.mean() * moments.count() as f64 * per_row,
        });
        let mut values: Vec<f64> = std::iter::once(1.0).chain(numbers).collect();
        let first = values.len();
        let mut features = vec![0; first];
        let (mut number, mut dictionaries) = (0, inputs.dictionaries.iter());
        for (feature, field) in inputs.schema.fields().iter().enumerate() {
            match field.kind {
                FeatureKind::Numeric => {
                    number += 1;
                    features[number] = feature;
                }
                FeatureKind::Categorical => {
                    for slot in dictionaries.next().into_iter().flat_map(|dictionary| dictionary.slots()) {
                        // A model that goes on learning numbers slots as categories come.
                        features.resize(features.len().max(slot as usize + 1), 0);
                        features[slot as usize] = feature;
                    }
                }
                // A linear model has none.
                FeatureKind::Time => {}
            }
        }
        values.extend(category_rows.iter().map(|rows| *rows as f64 * per_row));
        values.resize(features.len(), 0.0);
        Self { values, features, count: inputs.schema.fields().len() }
    }
}

/// Checks the rows of each category that come from elsewhere, of a model with so many categories and rows.
///
/// # Errors
/// `CorruptState`.
pub(crate) fn check_category_rows(category_rows: &[u64], categories: usize, rows: u64) -> Result<()> {
    if category_rows.len() == categories && category_rows.iter().all(|of| *of <= rows) {
        return Ok(());
    }
    Err(MlError::corrupt("the rows of categories do not fit the model"))
}

/// A score that is a sum of weights, and how it is explained.
#[derive(Debug, Clone)]
pub(crate) struct Explainer<'a> {
    means: &'a Means,
    weights: &'a [f64],
    /// The score of the mean row, and each feature's part of it.
    baseline: f64,
    of_means: Vec<f64>,
}

impl<'a> Explainer<'a> {
    /// Of the weights of one score, slot by slot.
    pub(crate) fn new(means: &'a Means, weights: &'a [f64]) -> Self {
        let mut of_means = vec![0.0; means.count];
        let slots = means.values.iter().zip(weights).zip(&means.features).skip(1);
        slots.for_each(|((mean, weight), feature)| of_means[*feature] += mean * weight);
        let baseline = dot(&means.values, &weights[..means.values.len().min(weights.len())]);
        Self { means, weights, baseline, of_means }
    }

    /// Explains a row that is predicted to be of a class, by this score or, if it speaks against the class, its
    /// negative.
    pub(crate) fn explain(
        &self,
        (row, slots, values): (usize, &[u32], &[f64]),
        (class, speaks_for): (usize, bool),
        explanations: &mut Explanations,
    ) {
        let sign = if speaks_for { 1.0 } else { -1.0 };
        let value = sparse_dot(slots, values, self.weights);
        let attributions = explanations.explain(row, class, sign * self.baseline, sign * value);
        attributions.iter_mut().zip(&self.of_means).for_each(|(own, of_mean)| *own = -sign * of_mean);
        for (slot, value) in slots.iter().zip(values).skip(1).filter(|(slot, _)| **slot != NO_SLOT) {
            let slot = *slot as usize;
            attributions[self.means.features[slot]] += sign * self.weights[slot] * value;
        }
    }
}
