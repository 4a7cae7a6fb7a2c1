//! `ips(reward, propensity, agrees)`, `snips(reward, propensity, agrees)` and `doubly_robust(reward, propensity, agrees, predicted)`:
//! the mean reward of a policy that has decided nothing yet, from decisions of another one that were logged with the
//! probability (`propensity`) of the action that was taken; `agrees` says whether the policy would take that, too. As SQL
//! aggregates, see [`OffPolicySums`].
//!
//! Rows with a NULL do not count. NULL without rows, and where a row has no estimate: a propensity that is not above 0 and at
//! most 1.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, UInt64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use tidemill_ml::metrics::{Mean, OffPolicyRow, OffPolicySums};

/// What is kept of rows, beside their number and that of those without an estimate.
const SUMS: [&str; 6] =
    ["weights", "squared_weights", "weighted_mean", "weighted_variation", "robust_mean", "robust_variation"];

/// The aggregates of this file.
pub(super) fn functions() -> Vec<AggregateUDF> {
    let estimates: [(&'static str, Estimate, bool); 3] = [
        ("ips", OffPolicySums::ips, false),
        ("snips", OffPolicySums::snips, false),
        ("doubly_robust", OffPolicySums::doubly_robust, true),
    ];
    let function = |(name, estimate, predicts)| AggregateUDF::from(OffPolicy::new(name, estimate, predicts));
    estimates.into_iter().map(function).collect()
}

type Estimate = fn(&OffPolicySums) -> Option<f64>;

/// One of the aggregates.
#[derive(Debug)]
struct OffPolicy {
    name: &'static str,
    estimate: Estimate,
    signature: Signature,
}

impl OffPolicy {
    /// `predicts` says whether the reward that is expected of the policy's action is an argument.
    fn new(name: &'static str, estimate: Estimate, predicts: bool) -> Self {
        let mut arguments = vec![DataType::Float64, DataType::Float64, DataType::Boolean];
        arguments.extend(predicts.then_some(DataType::Float64));
        Self { name, estimate, signature: Signature::exact(arguments, Volatility::Immutable) }
    }
}

super::known_by_name!(OffPolicy);

impl AggregateUDFImpl for OffPolicy {
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
        Ok(Box::new(Sums { estimate: self.estimate, sums: OffPolicySums::default() }))
    }

    fn state_fields(&self, _args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let counts = ["count", "undefined"].map(|name| (name, DataType::UInt64));
        let fields = counts.into_iter().chain(SUMS.map(|name| (name, DataType::Float64)));
        Ok(fields.map(|(name, data_type)| Arc::new(Field::new(name, data_type, false))).collect())
    }
}

#[derive(Debug)]
struct Sums {
    estimate: Estimate,
    sums: OffPolicySums,
}

impl Accumulator for Sums {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (rewards, propensities) =
            (values[0].as_primitive::<Float64Type>(), values[1].as_primitive::<Float64Type>());
        let agrees = values[2].as_boolean();
        let predicted = values.get(3).map(|predicted| predicted.as_primitive::<Float64Type>());
        for row in 0..rewards.len() {
            if values.iter().all(|column| column.is_valid(row)) {
                let predicted = predicted.map_or(0.0, |predicted| predicted.value(row));
                let (reward, propensity) = (rewards.value(row), propensities.value(row));
                self.sums.add(&OffPolicyRow::of_action(reward, propensity, agrees.value(row), predicted));
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64((self.estimate)(&self.sums)))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let OffPolicySums { count, undefined, weights, squared_weights, weighted, doubly_robust } = self.sums;
        let means = [weighted.mean, weighted.variation, doubly_robust.mean, doubly_robust.variation];
        let sums = [weights, squared_weights].into_iter().chain(means).map(ScalarValue::from);
        Ok([count, undefined].map(ScalarValue::from).into_iter().chain(sums).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let counts = |column: usize, row: usize| states[column].as_primitive::<UInt64Type>().value(row);
        let sums = |column: usize, row: usize| states[column].as_primitive::<Float64Type>().value(row);
        for row in 0..states[0].len() {
            self.sums.merge(&OffPolicySums {
                count: counts(0, row),
                undefined: counts(1, row),
                weights: sums(2, row),
                squared_weights: sums(3, row),
                weighted: Mean { mean: sums(4, row), variation: sums(5, row) },
                doubly_robust: Mean { mean: sums(6, row), variation: sums(7, row) },
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Float64Array};

    use super::*;

    /// Rewards, propensities, whether actions agree, and rewards that were expected.
    fn input(rows: &[(Option<f64>, f64, bool, f64)]) -> Vec<ArrayRef> {
        vec![
            Arc::new(rows.iter().map(|row| row.0).collect::<Float64Array>()),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.1))),
            Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.2)))),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.3))),
        ]
    }

    #[test]
    fn estimates_are_those_by_hand_and_states_merge() {
        let cases: [(Estimate, f64); 3] = [
            // (1 / 0.5 + 3 / 0.25) / 4, and by the weights 2 and 4.
            (OffPolicySums::ips, 3.5),
            (OffPolicySums::snips, 14.0 / 6.0),
            // (2 + 2 (1 - 2)) + (1 + 4 (3 - 1)) + 5 + 0 of four rows.
            (OffPolicySums::doubly_robust, 14.0 / 4.0),
        ];
        for (estimate, expected) in cases {
            let sums = || Sums { estimate, sums: OffPolicySums::default() };
            let (mut left, mut right) = (sums(), sums());
            left.update_batch(&input(&[(Some(1.0), 0.5, true, 2.0), (None, 0.5, true, 1.0)])).unwrap();
            let rows = [(Some(3.0), 0.25, true, 1.0), (Some(9.0), 0.5, false, 5.0), (Some(2.0), 1.0, false, 0.0)];
            right.update_batch(&input(&rows)).unwrap();
            let state: Vec<ArrayRef> = right.state().unwrap().iter().map(|value| value.to_array().unwrap()).collect();
            left.merge_batch(&state).unwrap();
            let ScalarValue::Float64(Some(found)) = left.evaluate().unwrap() else { panic!("{estimate:?}") };
            assert!((found - expected).abs() < 1e-12, "{found} and not {expected}");
            left.update_batch(&input(&[(Some(1.0), 0.0, true, 0.0)])).unwrap();
            assert_eq!(left.evaluate().unwrap(), ScalarValue::Float64(None), "an action that could not be taken");
        }
    }
}
