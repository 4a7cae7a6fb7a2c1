//! `accuracy(label, predicted)`, `precision`, `recall` and `f1`: how often the right class was predicted, as SQL aggregates.
//!
//! Of a BOOLEAN the class that counts is true; of classes of another type each counts the same, and the measure is the mean
//! of theirs (scikit-learn's `average='macro'`, as in BigQuery ML). Pairs with a NULL on either side do not count. NULL without rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray, StructArray, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, UInt64Type};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use tidemill_ml::metrics::Confusion;

/// The aggregates of this file.
pub(super) fn functions() -> Vec<AggregateUDF> {
    let measures: [(&'static str, Measure); 4] = [
        ("accuracy", |counts, _| counts.accuracy()),
        ("precision", Confusion::precision),
        ("recall", Confusion::recall),
        ("f1", Confusion::f1),
    ];
    measures.into_iter().map(|(name, measure)| AggregateUDF::from(Classes::new(name, measure))).collect()
}

/// A measure of one positive class, or of all.
type Measure = fn(&Confusion, Option<&str>) -> Option<f64>;

/// The positive class of a BOOLEAN, as text.
const POSITIVE: &str = "true";

/// One of the aggregates.
#[derive(Debug)]
struct Classes {
    name: &'static str,
    measure: Measure,
    signature: Signature,
}

impl Classes {
    fn new(name: &'static str, measure: Measure) -> Self {
        Self { name, measure, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

super::known_by_name!(Classes);

fn count_fields() -> Fields {
    let fields = [("label", DataType::Utf8), ("predicted", DataType::Utf8), ("rows", DataType::UInt64)];
    fields.into_iter().map(|(name, data_type)| Field::new(name, data_type, false)).collect()
}

fn item() -> FieldRef {
    Arc::new(Field::new("item", DataType::Struct(count_fields()), false))
}

impl AggregateUDFImpl for Classes {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Both are of one type: labels as integers and predictions as texts are compared as texts.
    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let [label, predicted] = arguments else {
            return plan_err!("{} takes a label and a prediction, and not {} arguments", self.name, arguments.len());
        };
        match comparison_coercion(label, predicted) {
            Some(both) => Ok(vec![both; 2]),
            None => {
                plan_err!("{} compares a label with a prediction, and {label} with {predicted} it cannot", self.name)
            }
        }
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let is_boolean = args.expr_fields.first().is_some_and(|label| label.data_type() == &DataType::Boolean);
        let positive = is_boolean.then_some(POSITIVE);
        Ok(Box::new(Counts { measure: self.measure, positive, counts: Confusion::default() }))
    }

    fn state_fields(&self, _args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new("counts", DataType::List(item()), false))])
    }
}

#[derive(Debug)]
struct Counts {
    measure: Measure,
    positive: Option<&'static str>,
    counts: Confusion,
}

/// Has each pair of classes counted.
fn each(values: &[ArrayRef], mut count: impl FnMut(&str, &str)) -> Result<()> {
    let text = |column: &ArrayRef| cast(column, &DataType::Utf8);
    let (labels, predicted) = (text(&values[0])?, text(&values[1])?);
    for pair in labels.as_string::<i32>().iter().zip(predicted.as_string::<i32>()) {
        if let (Some(label), Some(predicted)) = pair {
            count(label, predicted);
        }
    }
    Ok(())
}

impl Accumulator for Counts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        each(values, |label, predicted| self.counts.add(label, predicted, 1))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        each(values, |label, predicted| self.counts.take_back(label, predicted, 1))
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64((self.measure)(&self.counts, self.positive)))
    }

    fn size(&self) -> usize {
        let pair = 2 * size_of::<String>() + size_of::<u64>();
        size_of::<Self>()
            + self.counts.counts().map(|(label, predicted, _)| label.len() + predicted.len() + pair).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let labels: StringArray = self.counts.counts().map(|(label, ..)| Some(label)).collect();
        let predicted: StringArray = self.counts.counts().map(|(_, predicted, _)| Some(predicted)).collect();
        let rows = UInt64Array::from_iter_values(self.counts.counts().map(|(.., rows)| rows));
        let columns: Vec<ArrayRef> = vec![Arc::new(labels), Arc::new(predicted), Arc::new(rows)];
        let counts = StructArray::try_new(count_fields(), columns, None)?;
        let list = ListArray::try_new(item(), OffsetBuffer::from_lengths([counts.len()]), Arc::new(counts), None)?;
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for counts in states[0].as_list::<i32>().iter().flatten() {
            let counts = counts.as_struct();
            let (labels, predicted) = (counts.column(0).as_string::<i32>(), counts.column(1).as_string::<i32>());
            let rows = counts.column(2).as_primitive::<UInt64Type>();
            for row in 0..counts.len() {
                self.counts.add(labels.value(row), predicted.value(row), rows.value(row));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Int64Array};

    use super::*;

    fn counts(positive: Option<&'static str>) -> Counts {
        Counts { measure: Confusion::precision, positive, counts: Confusion::default() }
    }

    #[test]
    fn true_is_what_counts_of_a_boolean() {
        let mut counts = counts(Some(POSITIVE));
        let labels: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), Some(false), Some(true), None]));
        let predicted: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), Some(true), Some(false), Some(true)]));
        counts.update_batch(&[labels, predicted]).unwrap();
        assert_eq!(counts.evaluate().unwrap(), ScalarValue::Float64(Some(0.5)));
    }

    #[test]
    fn states_merge_and_rows_are_taken_back() {
        let batch = |labels: Vec<i64>, predicted: Vec<i64>| -> Vec<ArrayRef> {
            vec![Arc::new(Int64Array::from(labels)), Arc::new(Int64Array::from(predicted))]
        };
        let (mut left, mut right) = (counts(None), counts(None));
        left.update_batch(&batch(vec![1, 2], vec![1, 1])).unwrap();
        right.update_batch(&batch(vec![2, 7], vec![2, 7])).unwrap();
        let state: Vec<ArrayRef> = right.state().unwrap().iter().map(|value| value.to_array().unwrap()).collect();
        left.merge_batch(&state).unwrap();
        // Of class 1 a half, of 2 and 7 all.
        assert_eq!(left.evaluate().unwrap(), ScalarValue::Float64(Some(2.5 / 3.0)));
        left.retract_batch(&batch(vec![7, 2], vec![7, 1])).unwrap();
        assert_eq!(left.evaluate().unwrap(), ScalarValue::Float64(Some(1.0)));
    }
}
