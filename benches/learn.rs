//! Learning and prediction of a logistic regression, without the dataflow around it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use criterion::{Criterion, Throughput};
use tidemill_ml::FeatureSchema;

use crate::graph::ROWS;

/// 6 categories and 8 numbers, as the flights job has without its streaming features.
fn rows() -> (RecordBatch, BooleanArray) {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (index, categories) in [16, 3, 105, 19, 12, 7].into_iter().enumerate() {
        fields.push(Field::new(format!("c{index}"), DataType::Utf8, true));
        let values = (0..ROWS).map(|row| Some(format!("v{}", row * 7919 % categories)));
        columns.push(Arc::new(values.collect::<StringArray>()));
    }
    for index in 0..8 {
        fields.push(Field::new(format!("n{index}"), DataType::Float64, true));
        let values = (0..ROWS).map(|row| Some((row * (index + 3) % 1009) as f64));
        columns.push(Arc::new(values.collect::<Float64Array>()));
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns of the schema");
    let first = batch.column(0).as_string::<i32>().clone();
    let labels = (0..first.len()).map(|row| Some(first.value(row).len() % 2 == 0)).collect();
    (batch, labels)
}

/// One batch learnt, one batch predicted.
pub(crate) fn learn_and_predict(c: &mut Criterion) {
    let (rows, labels) = rows();
    let schema = FeatureSchema::from_arrow(rows.schema_ref()).expect("features of known types");
    let mut model =
        tidemill_ml::create("logistic_reg", &BTreeMap::new(), &schema, &DataType::Boolean).expect("default options");
    let mut group = c.benchmark_group("logistic regression");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("learn", |b| b.iter(|| model.learn(&rows, &labels).expect("rows of the schema")));
    group.bench_function("predict", |b| b.iter(|| model.answers(&rows).expect("rows of the schema")));
    group.finish();
}
