//! What predictions of trees that learn along a stream are made of: what they say of a row that has only some of its
//! features. Without what a split asks for it goes where most rows went, and naive Bayes and linear models in leaves do
//! without what is missing.

use super::tree::Row;
use crate::error::Result;
use crate::explain::{Coalitions, Explanations, with_missing};
use crate::feature::dictionary::NO_SLOT;
use crate::feature::stream::StreamFeatures;

/// Explains row after row.
pub(super) struct Asker {
    coalitions: Coalitions,
    /// The places of the features in the schema, numbers first.
    places: Vec<usize>,
    /// Room for a row.
    numbers: Vec<f64>,
    categories: Vec<u32>,
}

impl Asker {
    /// # Errors
    /// `TooManyExplained`.
    pub(super) fn new(features: &StreamFeatures) -> Result<Self> {
        let places = features.schema().numbers_first();
        let coalitions = Coalitions::new(places.len())?;
        Ok(Self { coalitions, places, numbers: Vec::new(), categories: Vec::new() })
    }

    /// Explains what `predict` says of a row.
    pub(super) fn explain(
        &mut self,
        row: Row<'_>,
        (number, class): (usize, usize),
        mut predict: impl FnMut(Row<'_>) -> f64,
        explanations: &mut Explanations,
    ) {
        let are_numbers = row.numbers.iter().map(|number| !number.is_nan());
        let is_there: Vec<_> = are_numbers.chain(row.categories.iter().map(|category| *category != NO_SLOT)).collect();
        let (numbers, categories) = (&mut self.numbers, &mut self.categories);
        let shares = self.coalitions.explain(&is_there, |asked, answers| {
            answers.extend(asked.map(|known| {
                let (known_numbers, known_categories) = known.split_at(row.numbers.len());
                with_missing(row.numbers, known_numbers, |_| f64::NAN, numbers);
                with_missing(row.categories, known_categories, |_| NO_SLOT, categories);
                predict(Row { numbers, categories, scaled: (&[], &[]) })
            }));
        });
        explanations.share(number, class, &shares, &self.places);
    }
}
