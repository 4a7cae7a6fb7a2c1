//! All pairs of a label and a score, for measures that need them in the order of scores.

use std::cmp::Ordering;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;

/// What a row's label is.
pub(super) trait Label: Debug + Copy + Send + Sync + 'static {
    const DATA_TYPE: DataType;

    fn values(column: &ArrayRef) -> impl Iterator<Item = Option<Self>>;

    fn column(values: Vec<Self>) -> ArrayRef;

    fn order(&self, other: &Self) -> Ordering;
}

impl Label for bool {
    const DATA_TYPE: DataType = DataType::Boolean;

    fn values(column: &ArrayRef) -> impl Iterator<Item = Option<Self>> {
        column.as_boolean().iter()
    }

    fn column(values: Vec<Self>) -> ArrayRef {
        Arc::new(BooleanArray::from(values))
    }

    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

impl Label for f64 {
    const DATA_TYPE: DataType = DataType::Float64;

    fn values(column: &ArrayRef) -> impl Iterator<Item = Option<Self>> {
        column.as_primitive::<Float64Type>().iter()
    }

    fn column(values: Vec<Self>) -> ArrayRef {
        Arc::new(Float64Array::from(values))
    }

    fn order(&self, other: &Self) -> Ordering {
        self.total_cmp(other)
    }
}

/// The pairs seen so far.
#[derive(Debug)]
pub(super) struct Pairs<L> {
    labels: Vec<L>,
    scores: Vec<f64>,
}

fn fields<L: Label>() -> Fields {
    Fields::from(vec![Field::new("label", L::DATA_TYPE, false), Field::new("score", DataType::Float64, false)])
}

impl<L: Label> Pairs<L> {
    pub(super) fn new() -> Self {
        Self { labels: Vec::new(), scores: Vec::new() }
    }

    /// The type of [`Self::take_state`].
    pub(super) fn state_type() -> DataType {
        DataType::List(Self::item())
    }

    fn item() -> FieldRef {
        Arc::new(Field::new("item", DataType::Struct(fields::<L>()), false))
    }

    /// Adds rows, but for those with a NULL on either side.
    pub(super) fn add(&mut self, labels: &ArrayRef, scores: &ArrayRef) {
        for (label, score) in L::values(labels).zip(scores.as_primitive::<Float64Type>()) {
            if let (Some(label), Some(score)) = (label, score) {
                self.push(label, score);
            }
        }
    }

    pub(super) fn push(&mut self, label: L, score: f64) {
        self.labels.push(label);
        self.scores.push(score);
    }

    /// Adds those of states.
    pub(super) fn merge(&mut self, states: &ArrayRef) {
        for pairs in states.as_list::<i32>().iter().flatten() {
            let pairs = pairs.as_struct();
            self.add(pairs.column(0), pairs.column(1));
        }
    }

    /// Scores from the lowest up with their labels: in one order, whatever that of the rows was.
    pub(super) fn sorted(&self) -> (Vec<f64>, Vec<L>) {
        let mut pairs: Vec<(f64, L)> = self.scores.iter().copied().zip(self.labels.iter().copied()).collect();
        pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.order(&b.1)));
        pairs.into_iter().unzip()
    }

    /// All of them, which are gone then.
    pub(super) fn take_state(&mut self) -> Result<ScalarValue> {
        let labels = L::column(std::mem::take(&mut self.labels));
        let scores: ArrayRef = Arc::new(Float64Array::from(std::mem::take(&mut self.scores)));
        let pairs = StructArray::try_new(fields::<L>(), vec![labels, scores], None)?;
        let list = ListArray::try_new(Self::item(), OffsetBuffer::from_lengths([pairs.len()]), Arc::new(pairs), None)?;
        Ok(ScalarValue::List(Arc::new(list)))
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.labels.capacity() * size_of::<L>() + self.scores.capacity() * size_of::<f64>()
    }
}
