//! Matrix factorisation: a user's rating of an item is a mean, plus what each of them deviates by, plus the product of
//! some numbers of both, which are found by making known ratings come out (Koren, Bell and Volinsky 2009).
//!
//! Users and items may be texts, booleans or numbers; NULL is one of them like any other. One that was not in the
//! training set has no numbers and deviates by nothing: a new user gets what the item gets on average. With implicit
//! feedback there is no mean and no deviation, and what is predicted is how likely the user wants the item, about 0 to
//! 1.

mod als;
pub(crate) mod batch;
pub(crate) mod config;
mod ids;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch};
use arrow::datatypes::DataType;
use bincode::{Decode, Encode};

use self::als::Factors;
use self::ids::Ids;
use crate::error::{MlError, Result};
use crate::explain::{Coalitions, Explanations};
use crate::feature::encoder::{Encoder, EncoderState};
use crate::model::FeatureSchema;
use crate::predictor::{Predictions, Supervised};
use crate::snapshot::{self, STATE_MAGNITUDE_MAX};

/// A fitted factorisation; it only predicts.
#[derive(Debug, Clone)]
pub(crate) struct MatrixFactorization {
    encoder: Encoder,
    mean: f64,
    /// The first feature, then the second; it makes no difference which of them is the user.
    sides: [Side; 2],
    rows: u64,
}

/// Users, or items.
#[derive(Debug, Clone)]
struct Side {
    ids: Ids,
    factors: Factors,
}

impl MatrixFactorization {
    /// The name in `CREATE MODEL`, as in BigQuery.
    pub(crate) const MODEL_TYPE: &'static str = "matrix_factorization";

    pub(crate) const SNAPSHOT_TAG: u8 = 33;

    /// Reads what [`Self::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`, or the schema's errors.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of a matrix factorization"));
        }
        let State { encoder, mean, numbers, factors, rows } = snapshot::decode(payload)?;
        let encoder = encoder.into_encoder(rows)?;
        let [first, second] = numbers;
        let is_ordered = |numbers: &[f64]| numbers.is_sorted_by(|one, other| one.total_cmp(other).is_lt());
        let ids = Ids::both(&encoder, [first, second]).filter(|ids| ids.iter().all(|ids| is_ordered(ids.numbers())));
        let Some([first, second]) = ids else {
            return Err(MlError::corrupt("its features are not a user and an item"));
        };
        let [of_first, of_second] = factors;
        if of_first.width() != of_second.width()
            || !of_first.is_plausible(first.len())
            || !of_second.is_plausible(second.len())
            || mean.is_nan()
            || mean.abs() > STATE_MAGNITUDE_MAX
        {
            return Err(MlError::corrupt("the factors do not fit the users and items"));
        }
        let sides = [Side { ids: first, factors: of_first }, Side { ids: second, factors: of_second }];
        Ok(Self { encoder, mean, sides, rows })
    }

    /// What is known of a row's two ids; nothing of one that is not known.
    fn factors(&self, slots: &[u32], values: &[f64]) -> [&[f64]; 2] {
        let numeric = self.encoder.numeric();
        let (numbers, slots) = (&values[1..=numeric], &slots[1 + numeric..]);
        self.sides.each_ref().map(|side| side.factors.row(side.ids.place(numbers, slots)))
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let state = State {
            encoder: self.encoder.state(),
            mean: self.mean,
            numbers: self.sides.each_ref().map(|side| side.ids.numbers().to_vec()),
            factors: self.sides.each_ref().map(|side| side.factors.clone()),
            rows: self.rows,
        };
        snapshot::seal(Self::SNAPSHOT_TAG, &state)
    }
}

impl Supervised for MatrixFactorization {
    fn model_type(&self) -> &'static str {
        Self::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.encoder.schema()
    }

    fn label_type(&self) -> DataType {
        DataType::Float64
    }

    fn class_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn rows_learnt(&self) -> u64 {
        self.rows
    }

    fn predictions(&self, features: &RecordBatch) -> Result<Predictions> {
        let mut said = vec![0.0; features.num_rows()];
        let usable = self.encoder.visit(features, |row, slots, values| {
            let [first, second] = self.factors(slots, values);
            said[row] = self.mean + als::product(first, second);
        })?;
        Ok(Predictions::without_classes(Arc::new(Float64Array::new(said.into(), usable))))
    }

    fn explanations(&self, features: &RecordBatch, _said: &Predictions) -> Result<Option<Explanations>> {
        let mut explanations = Explanations::new(self.schema(), features.num_rows());
        let mut coalitions = Coalitions::new(2)?;
        let usable = self.encoder.visit(features, |row, slots, values| {
            let factors = self.factors(slots, values);
            let shares = coalitions.explain(&factors.map(|side| !side.is_empty()), |asked, answers| {
                answers.extend(asked.map(|known| {
                    let of_side = |side: usize| if known[side] { factors[side] } else { &[] };
                    self.mean + als::product(of_side(0), of_side(1))
                }));
            });
            explanations.share(row, 0, &shares, &[0, 1]);
        })?;
        Ok(Some(explanations.of_usable(usable)))
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State {
    encoder: EncoderState,
    mean: f64,
    /// The users' and items' names where these are numbers.
    numbers: [Vec<f64>; 2],
    factors: [Factors; 2],
    rows: u64,
}
