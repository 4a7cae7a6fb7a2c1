//! `roc_auc(label, score)`, `log_loss(label, p)` and `brier_score(label, p)`: how good a classifier's
//! scores are, as SQL aggregates.
//!
//! All three keep every (label, score) pair: the AUC needs the ranks, and the other two are summed in
//! sorted order at the end, so that the result does not depend on the order of the input. Pairs with
//! a NULL on either side do not count. NULL where the measure is undefined (no rows; for the AUC, one
//! class).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use tidemill_ml::metrics;

/// The aggregates of this file.
pub(super) fn functions() -> Vec<AggregateUDF> {
    let measures: [(&'static str, Measure); 3] =
        [("roc_auc", metrics::auc), ("log_loss", metrics::log_loss), ("brier_score", metrics::brier)];
    measures.into_iter().map(|(name, measure)| AggregateUDF::from(Classification::new(name, measure))).collect()
}

/// A measure over scores and labels of equal length.
type Measure = fn(&[f64], &[bool]) -> Option<f64>;

/// One of the aggregates.
#[derive(Debug)]
struct Classification {
    name: &'static str,
    measure: Measure,
    signature: Signature,
}

impl Classification {
    fn new(name: &'static str, measure: Measure) -> Self {
        let signature = Signature::exact(vec![DataType::Boolean, DataType::Float64], Volatility::Immutable);
        Self { name, measure, signature }
    }
}

// The name says which measure it is; function pointers have no reliable identity.
impl PartialEq for Classification {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
impl Eq for Classification {}
impl std::hash::Hash for Classification {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

fn pair_fields() -> Fields {
    Fields::from(vec![Field::new("label", DataType::Boolean, false), Field::new("score", DataType::Float64, false)])
}

fn pair_list() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Struct(pair_fields()), false)))
}

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
        Ok(Box::new(Pairs { measure: self.measure, labels: Vec::new(), scores: Vec::new() }))
    }

    fn state_fields(&self, _args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new("pairs", pair_list(), false))])
    }
}

/// The pairs seen so far.
#[derive(Debug)]
struct Pairs {
    measure: Measure,
    labels: Vec<bool>,
    scores: Vec<f64>,
}

impl Pairs {
    fn extend(&mut self, labels: &BooleanArray, scores: &Float64Array) {
        for (label, score) in labels.iter().zip(scores.iter()) {
            if let (Some(label), Some(score)) = (label, score) {
                self.labels.push(label);
                self.scores.push(score);
            }
        }
    }
}

impl Accumulator for Pairs {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.extend(values[0].as_boolean(), values[1].as_primitive::<Float64Type>());
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut pairs: Vec<(f64, bool)> = self.scores.iter().copied().zip(self.labels.iter().copied()).collect();
        pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let (scores, labels): (Vec<f64>, Vec<bool>) = pairs.into_iter().unzip();
        Ok(ScalarValue::Float64((self.measure)(&scores, &labels)))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.labels.capacity() + self.scores.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let labels: ArrayRef = Arc::new(BooleanArray::from(std::mem::take(&mut self.labels)));
        let scores: ArrayRef = Arc::new(Float64Array::from(std::mem::take(&mut self.scores)));
        let pairs = StructArray::try_new(pair_fields(), vec![labels, scores], None)?;
        let item = Arc::new(Field::new("item", pairs.data_type().clone(), false));
        let list = ListArray::try_new(item, OffsetBuffer::from_lengths([pairs.len()]), Arc::new(pairs), None)?;
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for pairs in states[0].as_list::<i32>().iter().flatten() {
            let pairs = pairs.as_struct();
            let (labels, scores) = (pairs.column(0).as_boolean(), pairs.column(1).as_primitive::<Float64Type>());
            self.extend(labels, scores);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(measure: Measure) -> Pairs {
        Pairs { measure, labels: Vec::new(), scores: Vec::new() }
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
    fn one_class_has_no_auc() {
        let mut one = pairs(metrics::auc);
        one.update_batch(&input(&[Some(true)], &[Some(0.9)])).unwrap();
        assert_eq!(one.evaluate().unwrap(), ScalarValue::Float64(None));
    }
}
