//! What predictions of nearest neighbours are made of: what the neighbours of the row are if it has only some of its
//! features, and is like the mean of all rows in others.

use arrow::array::RecordBatch;

use super::rows::Rows;
use super::{Block, NearestNeighbors};
use crate::error::Result;
use crate::explain::{Coalitions, Explanations, with_missing};
use crate::feature::dictionary::NO_SLOT;
use crate::predictor::{Predictions, Supervised};

impl NearestNeighbors {
    /// Of each row, what the probability of its predicted class is made of, or its number.
    pub(super) fn explained(&self, features: &RecordBatch, said: &Predictions) -> Result<Explanations> {
        let (numeric, missing) = (self.encoder.numeric(), self.encoder.missing_numbers());
        let places = self.schema().numbers_first();
        let mut explanations = Explanations::new(self.schema(), features.num_rows());
        let mut coalitions = Coalitions::new(places.len())?;
        let mut block =
            Block { rows: Vec::new(), asked: Rows::new(self.settings.distance, numeric, places.len() - numeric) };
        let mut of_row = (Vec::new(), Vec::new());
        let usable = self.encoder.visit(features, |row, slots, values| {
            let (numbers, slots) = (&values[1..=numeric], &slots[1 + numeric..]);
            let class = said.place(row);
            let differs = numbers.iter().zip(&missing).map(|(number, missing)| number != missing);
            let is_there: Vec<_> = differs.chain(slots.iter().map(|slot| *slot != NO_SLOT)).collect();
            let shares = coalitions.explain(&is_there, |asked, answers| {
                let mut said = vec![vec![0.0; asked.len()]; self.target.width()];
                for (place, known) in asked.enumerate() {
                    let (known_numbers, known_slots) = known.split_at(numeric);
                    with_missing(numbers, known_numbers, |number| missing[number], &mut of_row.0);
                    with_missing(slots, known_slots, |_| NO_SLOT, &mut of_row.1);
                    block.rows.push(place);
                    block.asked.push(&of_row.0, &of_row.1);
                }
                self.answer(&mut block, &mut said);
                answers.append(&mut said[class]);
            });
            explanations.share(row, class, &shares, &places);
        })?;
        Ok(explanations.of_usable(usable))
    }
}
