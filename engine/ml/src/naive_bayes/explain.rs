//! What naive Bayes adds up: each feature's part of the log-odds of the predicted class against the next likeliest.
//!
//! Features do not depend on each other, so a feature adds the same whichever others are known: its Shapley value. The
//! baseline is the log-odds of the classes' shares, which is what the model says where no feature is known. Of several
//! classes a logarithm of a likelihood alone says nothing, since densities have the units of the numbers; the difference
//! of two has none.

use arrow::array::RecordBatch;

use super::NaiveBayes;
use crate::error::Result;
use crate::explain::Explanations;
use crate::predictor::{Predictions, Supervised};

impl NaiveBayes {
    pub(super) fn explained(&self, features: &RecordBatch, said: &Predictions) -> Result<Explanations> {
        let numeric = self.encoder.numeric();
        let places = self.schema().numbers_first();
        let mut scores = vec![0.0; self.likelihoods.len()];
        let mut explanations = Explanations::new(self.schema(), features.num_rows());
        let usable = self.encoder.visit(features, |row, slots, values| {
            let (numbers, slots) = (&values[1..=numeric], &slots[1 + numeric..]);
            self.scores(numbers, slots, &mut scores);
            let class = said.place(row);
            let next = next_likeliest(&scores, class);
            let (own, other) = (&self.likelihoods[class], &self.likelihoods[next]);
            let value = scores[class] - scores[next];
            let attributions = explanations.explain(row, class, own.prior - other.prior, value);
            for (number, (place, value)) in places.iter().zip(numbers).enumerate() {
                attributions[*place] = own.numbers.ln_of(number, *value) - other.numbers.ln_of(number, *value);
            }
            for (place, slot) in places[numeric..].iter().zip(slots) {
                let category = (*slot as usize).wrapping_sub(1 + numeric);
                if let (Some(own), Some(other)) = (own.categories.get(category), other.categories.get(category)) {
                    attributions[*place] = own - other;
                }
            }
        })?;
        Ok(explanations.of_usable(usable))
    }
}

/// The class with the largest score beside this one; of equals, the first.
fn next_likeliest(scores: &[f64], class: usize) -> usize {
    let others = (0..scores.len()).filter(|other| *other != class);
    others.reduce(|best, next| if scores[next] > scores[best] { next } else { best }).unwrap_or(class)
}
