//! `ndcg(relevance, score [, k])`: how well scores order the rows of a group, of the first k places or of all; one value
//! for each query or user is `GROUP BY` it.
//!
//! It keeps every pair, and does not depend on the order of the input. Pairs with a NULL on either side do not count; NULL
//! where the measure is undefined (no rows, a relevance below zero).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, TypeSignature, Volatility};
use tidemill_ml::metrics;

use super::pairs::Pairs;

/// The aggregates of this file.
pub(super) fn functions() -> Vec<AggregateUDF> {
    let pair = vec![DataType::Float64, DataType::Float64];
    let with_places = [pair.clone(), vec![DataType::Int64]].concat();
    let calls = vec![TypeSignature::Exact(pair), TypeSignature::Exact(with_places)];
    vec![AggregateUDF::from(Ndcg { signature: Signature::one_of(calls, Volatility::Immutable) })]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Ndcg {
    signature: Signature,
}

impl AggregateUDFImpl for Ndcg {
    fn name(&self) -> &str {
        "ndcg"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Ranked { pairs: Pairs::new(), places: None }))
    }

    fn state_fields(&self, _args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![
            Arc::new(Field::new("pairs", Pairs::<f64>::state_type(), false)),
            Arc::new(Field::new("places", DataType::Int64, true)),
        ])
    }
}

#[derive(Debug)]
struct Ranked {
    pairs: Pairs<f64>,
    /// How many places count, if not all do.
    places: Option<i64>,
}

impl Ranked {
    /// Takes note of how many places count, which is the same for all rows.
    fn note_places(&mut self, column: &ArrayRef) -> Result<()> {
        for places in column.as_primitive::<Int64Type>().iter().flatten() {
            if places < 1 || self.places.is_some_and(|known| known != places) {
                let message = "ndcg counts the first k places, the same for all rows, and at least 1";
                return Err(DataFusionError::Execution(message.to_owned()));
            }
            self.places = Some(places);
        }
        Ok(())
    }
}

impl Accumulator for Ranked {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.pairs.add(&values[0], &values[1]);
        values.get(2).map_or(Ok(()), |places| self.note_places(places))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let (scores, relevances) = self.pairs.sorted();
        let places = self.places.and_then(|places| usize::try_from(places).ok());
        Ok(ScalarValue::Float64(metrics::ndcg(&relevances, &scores, places)))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.pairs.bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.pairs.take_state()?, ScalarValue::Int64(self.places)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.pairs.merge(&states[0]);
        self.note_places(&states[1])
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array};

    use super::*;

    fn ranked() -> Ranked {
        Ranked { pairs: Pairs::new(), places: None }
    }

    fn input(relevances: &[f64], scores: &[f64], places: i64) -> Vec<ArrayRef> {
        let places = Int64Array::from(vec![places; scores.len()]);
        let column = |values: &[f64]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
        vec![column(relevances), column(scores), Arc::new(places)]
    }

    #[test]
    fn states_merge_and_know_how_many_places_count() {
        let (mut left, mut right) = (ranked(), ranked());
        left.update_batch(&input(&[3.0], &[0.1], 1)).unwrap();
        right.update_batch(&input(&[1.0, 0.0], &[0.9, 0.5], 1)).unwrap();
        let state: Vec<ArrayRef> = right.state().unwrap().iter().map(|value| value.to_array().unwrap()).collect();
        left.merge_batch(&state).unwrap();
        assert_eq!(left.evaluate().unwrap(), ScalarValue::Float64(Some(1.0 / 3.0)));
        assert!(left.update_batch(&input(&[1.0], &[0.2], 2)).is_err());
        assert!(ranked().update_batch(&input(&[1.0], &[0.2], 0)).is_err());
    }
}
