//! `mse(label, predicted)`, `rmse`, `mae` and `r2`: how far predicted numbers are from the right ones, as SQL aggregates.
//!
//! Pairs with a NULL on either side do not count. NULL where a measure is undefined (no rows; for r2, fewer than two).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, UInt64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use tidemill_ml::metrics::RegressionSums;

/// The aggregates of this file.
pub(super) fn functions() -> Vec<AggregateUDF> {
    let measures: [(&'static str, Measure); 4] = [
        ("mse", RegressionSums::mse),
        ("rmse", RegressionSums::rmse),
        ("mae", RegressionSums::mae),
        ("r2", RegressionSums::r2),
    ];
    measures.into_iter().map(|(name, measure)| AggregateUDF::from(Regression::new(name, measure))).collect()
}

type Measure = fn(&RegressionSums) -> Option<f64>;

/// One of the aggregates.
#[derive(Debug)]
struct Regression {
    name: &'static str,
    measure: Measure,
    signature: Signature,
}

impl Regression {
    fn new(name: &'static str, measure: Measure) -> Self {
        let signature = Signature::exact(vec![DataType::Float64, DataType::Float64], Volatility::Immutable);
        Self { name, measure, signature }
    }
}

super::known_by_name!(Regression);

impl AggregateUDFImpl for Regression {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Sums { measure: self.measure, sums: RegressionSums::default() }))
    }

    fn state_fields(&self, _args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let sums = ["mean", "variation", "squared_errors", "absolute_errors"].map(|name| (name, DataType::Float64));
        let fields = std::iter::once(("count", DataType::UInt64)).chain(sums);
        Ok(fields.map(|(name, data_type)| Arc::new(Field::new(name, data_type, false))).collect())
    }
}

#[derive(Debug)]
struct Sums {
    measure: Measure,
    sums: RegressionSums,
}

impl Accumulator for Sums {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (labels, predicted) = (values[0].as_primitive::<Float64Type>(), values[1].as_primitive::<Float64Type>());
        for pair in labels.iter().zip(predicted) {
            if let (Some(label), Some(predicted)) = pair {
                self.sums.add(label, predicted);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64((self.measure)(&self.sums)))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let RegressionSums { count, mean, variation, squared_errors, absolute_errors } = self.sums;
        let sums = [mean, variation, squared_errors, absolute_errors].map(ScalarValue::from);
        Ok(std::iter::once(ScalarValue::from(count)).chain(sums).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let counts = states[0].as_primitive::<UInt64Type>();
        let sums = |column: usize, row: usize| states[column].as_primitive::<Float64Type>().value(row);
        for row in 0..counts.len() {
            self.sums.merge(&RegressionSums {
                count: counts.value(row),
                mean: sums(1, row),
                variation: sums(2, row),
                squared_errors: sums(3, row),
                absolute_errors: sums(4, row),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Float64Array;

    use super::*;

    fn input(labels: &[Option<f64>], predicted: &[Option<f64>]) -> Vec<ArrayRef> {
        vec![Arc::new(Float64Array::from(labels.to_vec())), Arc::new(Float64Array::from(predicted.to_vec()))]
    }

    #[test]
    fn nulls_do_not_count_and_states_merge() {
        let sums = || Sums { measure: RegressionSums::rmse, sums: RegressionSums::default() };
        let (mut left, mut right) = (sums(), sums());
        left.update_batch(&input(&[Some(1.0), None, Some(4.0)], &[Some(2.0), Some(9.0), None])).unwrap();
        right.update_batch(&input(&[Some(7.0)], &[Some(4.0)])).unwrap();
        let state: Vec<ArrayRef> = right.state().unwrap().iter().map(|value| value.to_array().unwrap()).collect();
        left.merge_batch(&state).unwrap();
        assert_eq!(left.evaluate().unwrap(), ScalarValue::Float64(Some(5.0_f64.sqrt())));
        assert_eq!(sums().evaluate().unwrap(), ScalarValue::Float64(None));
    }
}
