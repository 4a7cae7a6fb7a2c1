//! `class_log_loss(label, probabilities)` and `class_roc_auc(label, probabilities)`: how good the probabilities of all classes
//! are, which ML.PREDICT has in `predicted_<label>_probs`, as SQL aggregates.
//!
//! The loss is that of the probability of each row's own class; a class that is not among those of the row is as unlikely as
//! can be. The area is the mean of each class's against all others, of those that have one (scikit-learn's
//! `multi_class='ovr'`, `average='macro'`). Classes are told by their names as texts, so a model that is replaced by one of
//! other classes, or of the same in another order, goes on being measured. Pairs with a NULL on either side do not count.
//! NULL where the measure is undefined.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, ListArray, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use tidemill_ml::metrics;

use super::pairs::Pairs;

const LOG_LOSS: &str = "class_log_loss";
const ROC_AUC: &str = "class_roc_auc";

/// The most classes that have an area: the probability of each is kept for each row. Of more there is none.
const CLASSES_MAX: usize = 100;

/// The aggregates of this file.
pub(super) fn functions() -> Vec<AggregateUDF> {
    [LOG_LOSS, ROC_AUC].into_iter().map(|name| AggregateUDF::from(ClassProbabilities::new(name))).collect()
}

/// One of the aggregates.
#[derive(Debug)]
struct ClassProbabilities {
    name: &'static str,
    signature: Signature,
}

super::known_by_name!(ClassProbabilities);

impl ClassProbabilities {
    fn new(name: &'static str) -> Self {
        Self { name, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

fn class_fields() -> Fields {
    let fields = [("class", DataType::Utf8), ("is_own", DataType::Boolean), ("score", DataType::Float64)];
    fields.into_iter().map(|(name, data_type)| Field::new(name, data_type, false)).collect()
}

fn item() -> FieldRef {
    Arc::new(Field::new("item", DataType::Struct(class_fields()), false))
}

/// Whether a type is that of `predicted_<label>_probs`.
fn is_probabilities(data_type: &DataType) -> bool {
    let DataType::List(item) = data_type else { return false };
    let DataType::Struct(fields) = item.data_type() else { return false };
    matches!(fields.as_ref(), [_, prob] if prob.data_type() == &DataType::Float64)
}

impl AggregateUDFImpl for ClassProbabilities {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [label, probabilities] if !label.is_nested() && is_probabilities(probabilities) => Ok(arguments.to_vec()),
            _ => plan_err!(
                "{} takes a label and the probabilities of all classes, which \
                 ML.PREDICT(MODEL m, TABLE t, STRUCT(TRUE AS class_probabilities)) has in predicted_<label>_probs",
                self.name
            ),
        }
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(match self.name {
            LOG_LOSS => Box::new(Loss { own: Pairs::new() }),
            _ => Box::new(Areas::default()),
        })
    }

    fn state_fields(&self, _args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(match self.name {
            LOG_LOSS => vec![Arc::new(Field::new("pairs", Pairs::<bool>::state_type(), false))],
            _ => vec![
                Arc::new(Field::new("classes", DataType::List(item()), false)),
                Arc::new(Field::new("is_over", DataType::Boolean, false)),
            ],
        })
    }
}

/// Has the label of each row, and each class with its probability, looked at.
fn each_row<'a>(
    labels: &'a StringArray,
    lists: &'a ListArray,
    classes: &'a StringArray,
    mut look: impl FnMut(&'a str, &mut dyn Iterator<Item = (&'a str, f64)>),
) {
    let probabilities = lists.values().as_struct().column(1).as_primitive::<Float64Type>();
    for (row, label) in labels.iter().enumerate() {
        let Some(label) = label.filter(|_| lists.is_valid(row)) else { continue };
        let range = lists.value_offsets()[row] as usize..lists.value_offsets()[row + 1] as usize;
        let known = range.filter(|place| classes.is_valid(*place) && probabilities.is_valid(*place));
        look(label, &mut known.map(|place| (classes.value(place), probabilities.value(place))));
    }
}

/// Labels, and classes of all lists one behind the other, as texts.
fn texts(values: &[ArrayRef]) -> Result<(StringArray, StringArray)> {
    let text = |column: &ArrayRef| Ok::<_, datafusion::error::DataFusionError>(cast(column, &DataType::Utf8)?);
    let classes = text(values[1].as_list::<i32>().values().as_struct().column(0))?;
    Ok((text(&values[0])?.as_string::<i32>().clone(), classes.as_string::<i32>().clone()))
}

/// The probability of each row's own class.
#[derive(Debug)]
struct Loss {
    own: Pairs<bool>,
}

impl Accumulator for Loss {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (labels, classes) = texts(values)?;
        each_row(&labels, values[1].as_list(), &classes, |label, mut row| {
            let own = Iterator::find(&mut row, |(class, _)| *class == label);
            self.own.push(true, own.map_or(0.0, |(_, probability)| probability));
        });
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let (scores, labels) = self.own.sorted();
        Ok(ScalarValue::Float64(metrics::log_loss(&scores, &labels)))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.own.bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.own.take_state()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.own.merge(&states[0]);
        Ok(())
    }
}

/// The probability of each class in each row, and whether it is the row's own.
#[derive(Debug, Default)]
struct Areas {
    classes: BTreeMap<String, Pairs<bool>>,
    /// Whether there are more classes than have areas.
    is_over: bool,
}

impl Areas {
    fn push(&mut self, class: &str, is_own: bool, score: f64) {
        if self.is_over {
            return;
        }
        if let Some(pairs) = self.classes.get_mut(class) {
            return pairs.push(is_own, score);
        }
        if self.classes.len() == CLASSES_MAX {
            return self.give_up();
        }
        self.classes.entry(class.to_owned()).or_insert_with(Pairs::new).push(is_own, score);
    }

    fn give_up(&mut self) {
        self.is_over = true;
        self.classes.clear();
    }
}

impl Accumulator for Areas {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (labels, classes) = texts(values)?;
        each_row(&labels, values[1].as_list(), &classes, |label, row| {
            row.for_each(|(class, score)| self.push(class, class == label, score));
        });
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let area = |pairs: &Pairs<bool>| {
            let (scores, labels) = pairs.sorted();
            metrics::auc(&scores, &labels)
        };
        let areas: Vec<f64> = self.classes.values().filter_map(area).collect();
        let mean = areas.iter().sum::<f64>() / areas.len() as f64;
        Ok(ScalarValue::Float64(Some(mean).filter(|_| !areas.is_empty())))
    }

    fn size(&self) -> usize {
        let of_class =
            |(class, pairs): (&String, &Pairs<bool>)| size_of::<(String, Self)>() + class.len() + pairs.bytes();
        size_of::<Self>() + self.classes.iter().map(of_class).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (mut names, mut own, mut scores) = (Vec::new(), Vec::new(), Vec::new());
        for (class, pairs) in std::mem::take(&mut self.classes) {
            let (class_scores, labels) = pairs.sorted();
            names.extend(std::iter::repeat_n(class, labels.len()));
            own.extend(labels);
            scores.extend(class_scores);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(names)),
            Arc::new(BooleanArray::from(own)),
            Arc::new(Float64Array::from(scores)),
        ];
        let rows = StructArray::try_new(class_fields(), columns, None)?;
        let list = ListArray::try_new(item(), OffsetBuffer::from_lengths([rows.len()]), Arc::new(rows), None)?;
        Ok(vec![ScalarValue::List(Arc::new(list)), ScalarValue::Boolean(Some(self.is_over))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        if states[1].as_boolean().iter().flatten().any(|is_over| is_over) {
            self.give_up();
        }
        for rows in states[0].as_list::<i32>().iter().flatten() {
            let rows = rows.as_struct();
            let (names, own) = (rows.column(0).as_string::<i32>(), rows.column(1).as_boolean());
            let scores = rows.column(2).as_primitive::<Float64Type>();
            (0..rows.len()).for_each(|row| self.push(names.value(row), own.value(row), scores.value(row)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels, and the probabilities of classes in each row.
    fn input(labels: &[Option<&str>], rows: &[&[(&str, f64)]]) -> Vec<ArrayRef> {
        let names: StringArray = rows.iter().flat_map(|row| row.iter().map(|(class, _)| Some(*class))).collect();
        let values: Float64Array = rows.iter().flat_map(|row| row.iter().map(|(_, value)| Some(*value))).collect();
        let fields =
            Fields::from(vec![Field::new("label", DataType::Utf8, true), Field::new("prob", DataType::Float64, true)]);
        let structs = StructArray::try_new(fields.clone(), vec![Arc::new(names), Arc::new(values)], None).unwrap();
        let item = Arc::new(Field::new("item", DataType::Struct(fields), true));
        let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.len()));
        let lists = ListArray::try_new(item, offsets, Arc::new(structs), None).unwrap();
        vec![Arc::new(StringArray::from(labels.to_vec())), Arc::new(lists)]
    }

    /// What is measured of rows that come in two parts.
    fn measured(mut one: impl Accumulator, mut other: impl Accumulator) -> Option<f64> {
        one.update_batch(&input(&[Some("a"), Some("b"), None], &[&ROWS[0], &ROWS[1], &ROWS[0]])).unwrap();
        other.update_batch(&input(&[Some("c"), Some("a"), Some("d")], &[&ROWS[2], &ROWS[3], &ROWS[4]])).unwrap();
        let state: Vec<ArrayRef> = other.state().unwrap().iter().map(|value| value.to_array().unwrap()).collect();
        one.merge_batch(&state).unwrap();
        match one.evaluate().unwrap() {
            ScalarValue::Float64(value) => value,
            other => panic!("{other}"),
        }
    }

    /// The last two are of a model that says its classes in another order.
    const ROWS: [[(&str, f64); 3]; 5] = [
        [("a", 0.5), ("b", 0.3), ("c", 0.2)],
        [("a", 0.3), ("b", 0.6), ("c", 0.1)],
        [("a", 0.4), ("b", 0.4), ("c", 0.2)],
        [("c", 0.1), ("b", 0.5), ("a", 0.4)],
        [("c", 0.3), ("b", 0.3), ("a", 0.4)],
    ];

    #[test]
    fn classes_are_told_by_their_names() {
        // By hand: of the class 'd' nothing is said, so its row has the least probability that there is.
        let loss = measured(Loss { own: Pairs::new() }, Loss { own: Pairs::new() }).unwrap();
        let expected = -(0.5f64.ln() + 0.6f64.ln() + 0.2f64.ln() + 0.4f64.ln() + f64::EPSILON.ln()) / 5.0;
        assert!((loss - expected).abs() < 1e-12, "{loss} {expected}");
        // a: 0.5 and 0.4 against 0.3, 0.4, 0.4 make (3 + 1 + 2/2) / 6; b: 0.6 is above all; c: 0.2 against 0.2, 0.1, 0.1, 0.3
        // makes (1/2 + 2) / 4.
        let area = measured(Areas::default(), Areas::default()).unwrap();
        assert!((area - (5.0 / 6.0 + 1.0 + 2.5 / 4.0) / 3.0).abs() < 1e-12, "{area}");
    }

    #[test]
    fn of_too_many_classes_there_is_no_area() {
        let names: Vec<String> = (0..=CLASSES_MAX).map(|class| class.to_string()).collect();
        let row: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), 0.1)).collect();
        let (mut few, mut many) = (Areas::default(), Areas::default());
        few.update_batch(&input(&[Some("0"), Some("1")], &[&row[1..], &row[1..]])).unwrap();
        assert_eq!(few.evaluate().unwrap(), ScalarValue::Float64(Some(0.5)));
        many.update_batch(&input(&[Some("0")], &[&row])).unwrap();
        let state: Vec<ArrayRef> = many.state().unwrap().iter().map(|value| value.to_array().unwrap()).collect();
        few.merge_batch(&state).unwrap();
        assert_eq!(few.evaluate().unwrap(), ScalarValue::Float64(None));
    }
}
