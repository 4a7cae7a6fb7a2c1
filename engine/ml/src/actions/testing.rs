//! What the tests of models of decisions do.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};
use proptest::sample::Index;

use crate::random::{STEP, mixed};
use crate::{FeatureSchema, OnlineModel, Result, create, restore, restore_predictor};

/// SplitMix64 of the row and the column, its upper 31 bits; as `bits` in `goldens/decisions.py`.
pub(crate) fn bits(row: usize, column: usize) -> usize {
    (mixed(((row * 100 + column) as u64).wrapping_mul(STEP)) >> 33) as usize
}

/// The same as a number in [-1, 1).
pub(crate) fn noise(row: usize, column: usize) -> f64 {
    bits(row, column) as f64 / f64::from(1_u32 << 30) - 1.0
}

/// What a model answers for rows, once it is restored.
pub(crate) fn answers(model: &dyn OnlineModel, features: &RecordBatch) -> Vec<ArrayRef> {
    restore_predictor(&model.snapshot().unwrap()).unwrap().answers(features).unwrap()
}

pub(crate) fn numbers(array: &ArrayRef) -> &Float64Array {
    array.as_primitive::<Float64Type>()
}

/// A model of decisions for rows like these.
pub(crate) fn try_decisions(
    model_type: &str,
    options: &[(&str, &str)],
    features: &RecordBatch,
    reward: &DataType,
) -> Result<Box<dyn OnlineModel>> {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    create(model_type, &options, &FeatureSchema::from_arrow(&features.schema())?, reward)
}

/// Learns all rows but the last `rest`, and then those beside a model that was restored in between.
#[track_caller]
pub(crate) fn check_goes_on(
    mut original: Box<dyn OnlineModel>,
    features: &RecordBatch,
    labels: &Float64Array,
    rest: usize,
) {
    let first = labels.len() - rest;
    original.learn(&features.slice(0, first), &labels.slice(0, first)).unwrap();
    let mut restored = restore(&original.snapshot().unwrap()).unwrap();
    assert_eq!(restored.snapshot().unwrap(), original.snapshot().unwrap());
    assert_eq!((restored.schema(), restored.rows_learnt()), (original.schema(), original.rows_learnt()));
    assert_eq!(restored.model_type(), original.model_type());
    assert_eq!(restored.answers(features).unwrap(), original.answers(features).unwrap());
    let (features, labels) = (features.slice(first, rest), labels.slice(first, rest));
    let report = original.learn(&features, &labels).unwrap();
    assert_eq!(restored.learn(&features, &labels).unwrap(), report);
    assert_eq!(restored.snapshot().unwrap(), original.snapshot().unwrap());
    assert_eq!(restored.answers(&features).unwrap(), original.answers(&features).unwrap());
    let predictor = restore_predictor(&original.snapshot().unwrap()).unwrap();
    let fields = predictor.outputs("gain");
    let answers = predictor.answers(&features).unwrap();
    assert_eq!(fields.iter().map(|field| field.data_type()).collect::<Vec<_>>(), types(&answers));
    assert_eq!(original.answers(&features).unwrap(), answers);
}

fn types(arrays: &[ArrayRef]) -> Vec<&arrow::datatypes::DataType> {
    arrays.iter().map(|array| array.data_type()).collect()
}

/// Bytes of a model with some of them changed are an error, or a model that says numbers, and goes on learning if the columns
/// are still called so.
#[track_caller]
pub(crate) fn check_damaged<M: OnlineModel>(
    bytes: &[u8],
    changes: Vec<(Index, u8)>,
    restore: fn(&[u8]) -> Result<M>,
    (features, labels): (&RecordBatch, &Float64Array),
) {
    let mut bytes = bytes.to_vec();
    for (position, byte) in changes {
        let position = position.index(bytes.len());
        bytes[position] = byte;
    }
    if let Ok(mut model) = restore(&bytes) {
        if let Ok(said) = model.answers(features) {
            assert!(said[1..].iter().all(|said| numbers(said).iter().flatten().all(f64::is_finite)));
            let _ = model.learn(features, labels);
        }
        model.snapshot().unwrap();
    }
}
