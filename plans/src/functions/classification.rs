//! `roc_auc(label, score)`, `average_precision(label, score)`, `log_loss(label, p)`, `brier_score(label, p)` and
//! `expected_calibration_error(label, p)`: how good a classifier's scores are, as SQL aggregates.
//!
//! All of them keep every (label, score) pair: two need the ranks, and the others are summed in
//! sorted order at the end, so that the result does not depend on the order of the input. Pairs with
//! a NULL on either side do not count. NULL where the measure is undefined (no rows; for the AUC, one
//! class).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use tidemill_ml::metrics;

use super::pairs::Pairs;

/// The aggregates of this file.
pub(super) fn functions() -> Vec<AggregateUDF> {
    let measures: [(&'static str, Score, Measure); 5] = [
        ("roc_auc", Score::Rank, metrics::auc),
        ("average_precision", Score::Rank, metrics::average_precision),
        ("log_loss", Score::Probability, metrics::log_loss),
        ("brier_score", Score::Probability, metrics::brier),
        ("expected_calibration_error", Score::Probability, metrics::expected_calibration_error),
    ];
    let measures = measures.into_iter();
    measures.map(|(name, score, measure)| AggregateUDF::from(Classification::new(name, score, measure))).collect()
}

/// What a score is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Score {
    /// A number whose order alone counts.
    Rank,
    /// From 0 to 1. NaN is one that is not known, of which nothing can be measured.
    Probability,
}

/// A measure over scores and labels of equal length.
type Measure = fn(&[f64], &[bool]) -> Option<f64>;

/// One of the aggregates.
#[derive(Debug)]
struct Classification {
    name: &'static str,
    score: Score,
    measure: Measure,
    signature: Signature,
}

impl Classification {
    fn new(name: &'static str, score: Score, measure: Measure) -> Self {
        let signature = Signature::exact(vec![DataType::Boolean, DataType::Float64], Volatility::Immutable);
        Self { name, score, measure, signature }
    }
}

super::known_by_name!(Classification);

impl AggregateUDFImpl for Classification {
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
        let Self { name, score, measure, .. } = *self;
        Ok(Box::new(Scored { name, score, measure, pairs: Pairs::new() }))
    }

    fn state_fields(&self, _args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new("pairs", Pairs::<bool>::state_type(), false))])
    }
}

#[derive(Debug)]
struct Scored {
    name: &'static str,
    score: Score,
    measure: Measure,
    pairs: Pairs<bool>,
}

impl Accumulator for Scored {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if self.score == Score::Probability {
            check_probabilities(self.name, values[1].as_primitive())?;
        }
        self.pairs.add(&values[0], &values[1]);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let (scores, labels) = self.pairs.sorted();
        Ok(ScalarValue::Float64((self.measure)(&scores, &labels)))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.pairs.bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.pairs.take_state()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.pairs.merge(&states[0]);
        Ok(())
    }
}

/// Refuses what is no probability.
fn check_probabilities(measure: &str, scores: &Float64Array) -> Result<()> {
    match scores.iter().flatten().find(|score| *score < 0.0 || *score > 1.0) {
        None => Ok(()),
        Some(score) => exec_err!(
            "{measure} takes probabilities, from 0 to 1, and not {score}; roc_auc and average_precision take any scores"
        ),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::BooleanArray;

    use super::*;

    fn pairs(measure: Measure) -> Scored {
        Scored { name: "measure", score: Score::Rank, measure, pairs: Pairs::new() }
    }

    fn input(labels: &[Option<bool>], scores: &[Option<f64>]) -> Vec<ArrayRef> {
        vec![Arc::new(BooleanArray::from(labels.to_vec())), Arc::new(Float64Array::from(scores.to_vec()))]
    }

    #[test]
    fn nulls_do_not_count_and_states_merge() {
        let mut left = pairs(metrics::auc);
        left.update_batch(&input(&[Some(true), None, Some(false)], &[Some(0.9), Some(0.1), Some(0.2)])).unwrap();
        let mut right = pairs(metrics::auc);
        right.update_batch(&input(&[Some(true), Some(false)], &[Some(0.1), None])).unwrap();
        let state: Vec<ArrayRef> = right.state().unwrap().iter().map(|s| s.to_array().unwrap()).collect();
        left.merge_batch(&state).unwrap();
        assert_eq!(left.evaluate().unwrap(), ScalarValue::Float64(Some(0.5)));
    }

    #[test]
    fn what_is_no_probability_is_refused_where_one_is_meant() {
        let beyond = input(&[Some(true), Some(false)], &[Some(0.5), Some(1.5)]);
        pairs(metrics::auc).update_batch(&beyond).unwrap();
        let of_probabilities = || Scored { name: "log_loss", score: Score::Probability, ..pairs(metrics::log_loss) };
        let error = of_probabilities().update_batch(&beyond).unwrap_err().to_string();
        assert!(error.contains("log_loss takes probabilities, from 0 to 1, and not 1.5"), "{error}");
        for usable in [Some(0.0), Some(1.0), None] {
            of_probabilities().update_batch(&input(&[Some(true)], &[usable])).unwrap();
        }
    }

    #[test]
    fn one_class_has_no_auc() {
        let mut one = pairs(metrics::auc);
        one.update_batch(&input(&[Some(true)], &[Some(0.9)])).unwrap();
        assert_eq!(one.evaluate().unwrap(), ScalarValue::Float64(None));
    }
}
