//! What the tests of online models do.

use arrow::array::{Array, NullArray, RecordBatch};
use arrow::datatypes::DataType;
use proptest::sample::Index;

use crate::registry::testing::{create_supervised, restore_learning};
use crate::{FeatureSchema, LearnReport, OnlineModel, OnlineSupervised, Result, create, restore};

/// A model for the features of this batch.
pub(crate) fn try_online(
    model_type: &str,
    options: &[(&str, &str)],
    features: &RecordBatch,
    label: &DataType,
) -> Result<Box<dyn OnlineSupervised>> {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    create_supervised(model_type, &options, &FeatureSchema::from_arrow(&features.schema())?, label)
}

/// A model that has learnt nothing leaves the same bytes whether it then learns the rows, more than 558, at once or in
/// batches, of which one is empty and others end beside a block's end.
#[track_caller]
pub(crate) fn check_batch_boundaries(model: &dyn OnlineSupervised, features: &RecordBatch, labels: &dyn Array) {
    check_batches(&model.snapshot().unwrap(), features, labels);
}

/// The same of any model, given as its snapshot.
#[track_caller]
pub(crate) fn check_batches(snapshot: &[u8], features: &RecordBatch, labels: &dyn Array) {
    let copy = || restore(snapshot).unwrap();
    let (mut whole, mut parts) = (copy(), copy());
    whole.learn(features, labels).unwrap();
    let mut start = 0;
    for rows in [1, 2, 0, 255, 300, labels.len() - 558] {
        parts.learn(&features.slice(start, rows), labels.slice(start, rows).as_ref()).unwrap();
        start += rows;
    }
    assert_eq!(whole.snapshot().unwrap(), parts.snapshot().unwrap());
}

/// Learns all rows but the last `rest`, and then those beside a model that was restored in between.
#[track_caller]
pub(crate) fn check_goes_on_restored(
    mut original: Box<dyn OnlineSupervised>,
    features: &RecordBatch,
    labels: &dyn Array,
    rest: usize,
) {
    let first = labels.len() - rest;
    original.learn(&features.slice(0, first), labels.slice(0, first).as_ref()).unwrap();
    let mut restored = restore_learning(&original.snapshot().unwrap()).unwrap();
    assert_eq!(restored.snapshot().unwrap(), original.snapshot().unwrap());
    assert_eq!((restored.schema(), restored.rows_learnt()), (original.schema(), first as u64));
    assert_eq!(restored.model_type(), original.model_type());
    let (features, labels) = (features.slice(first, rest), labels.slice(first, rest));
    let before = original.predictions(&features).unwrap();
    let report = original.learn(&features, labels.as_ref()).unwrap();
    assert_eq!(report.said, before);
    assert_eq!(restored.learn(&features, labels.as_ref()).unwrap(), report);
    assert_eq!(restored.snapshot().unwrap(), original.snapshot().unwrap());
    assert_eq!(restored.class_rows(), original.class_rows());
}

/// A model without a label of this type and options, for the features of this batch.
pub(crate) fn try_unlabelled(
    model_type: &str,
    options: &[(&str, &str)],
    features: &RecordBatch,
) -> Result<Box<dyn OnlineModel>> {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    create(model_type, &options, &FeatureSchema::from_arrow(&features.schema())?, &DataType::Null)
}

/// What a model without a label says of rows, which it then learns.
pub(crate) fn learnt(model: &mut dyn OnlineModel, features: &RecordBatch) -> LearnReport {
    model.learn(features, &NullArray::new(features.num_rows())).unwrap()
}

/// A model without a label leaves the same bytes whether it learns the rows, more than 558, at once or in batches, of which
/// one is empty and others end beside a block's end, and whether or not it is restored before each of them. It says before
/// it learns a batch what it answers.
#[track_caller]
pub(crate) fn check_unlabelled(model: &dyn OnlineModel, features: &RecordBatch) {
    let copy = |model: &dyn OnlineModel| restore(&model.snapshot().unwrap()).unwrap();
    let (mut whole, mut parts) = (copy(model), copy(model));
    learnt(whole.as_mut(), features);
    let mut start = 0;
    for rows in [1, 2, 0, 255, 300, features.num_rows() - 558] {
        let batch = features.slice(start, rows);
        let before = parts.answers(&batch).unwrap();
        let mut restored = copy(parts.as_ref());
        assert_eq!((restored.schema(), restored.model_type()), (model.schema(), model.model_type()));
        let report = learnt(parts.as_mut(), &batch);
        assert_eq!(report.said, before);
        assert_eq!(learnt(restored.as_mut(), &batch), report);
        assert_eq!(restored.snapshot().unwrap(), parts.snapshot().unwrap());
        start += rows;
    }
    assert_eq!(whole.snapshot().unwrap(), parts.snapshot().unwrap());
    assert_eq!(whole.rows_learnt(), features.num_rows() as u64);
    assert!(whole.merge(&[]).is_ok() && whole.merge(&[&parts.snapshot().unwrap()]).is_err());
}

/// Bytes of a model without a label with some of them changed are an error, or a model that answers and goes on learning.
#[track_caller]
pub(crate) fn check_damaged_unlabelled(bytes: &[u8], changes: Vec<(Index, u8)>, features: &RecordBatch) {
    let mut bytes = bytes.to_vec();
    for (position, byte) in changes {
        let position = position.index(bytes.len());
        bytes[position] = byte;
    }
    if let Ok(mut model) = restore(&bytes) {
        if model.answers(features).is_ok() {
            learnt(model.as_mut(), features);
            model.answers(features).unwrap();
        }
        model.snapshot().unwrap();
    }
}

/// Bytes of a model with some of them changed are an error, or a model that works: what it says of rows passes, and it goes
/// on learning them.
#[track_caller]
pub(crate) fn check_damaged<M: OnlineSupervised>(
    bytes: &[u8],
    changes: Vec<(Index, u8)>,
    restore: fn(&[u8]) -> Result<M>,
    (features, labels): (&RecordBatch, &dyn Array),
    passes: fn(f64) -> bool,
) {
    let mut bytes = bytes.to_vec();
    for (position, byte) in changes {
        let position = position.index(bytes.len());
        bytes[position] = byte;
    }
    if let Ok(mut model) = restore(&bytes) {
        if let Ok(said) = model.predict(features) {
            assert!(said.iter().flatten().all(passes));
            model.learn(features, labels).unwrap();
        }
        model.snapshot().unwrap();
    }
}

/// Whether a number can be a probability.
pub(crate) fn is_probability(number: f64) -> bool {
    (0.0..=1.0).contains(&number)
}
