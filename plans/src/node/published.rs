//! Versions of a model as rows, which prediction reads.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, TimestampMicrosecondArray};

use super::model_version_schema;
use crate::error::Result;

/// A version, see [`model_version_schema`]; `S` are the bytes of its state.
#[derive(Debug, Clone)]
pub struct Published<S> {
    /// Its number, from 1.
    pub version: i64,
    /// The event time up to which, exclusive, it has learnt rows, in microseconds.
    pub learnt_to: i64,
    /// How many these are.
    pub rows_learnt: i64,
    /// What restores the model.
    pub state: S,
}

/// Versions as rows, in their order.
///
/// # Errors
/// Arrow's, where the states are too long for one batch.
pub fn version_rows<S: AsRef<[u8]>>(versions: &[Published<S>]) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(versions.iter().map(|version| version.version))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(versions.iter().map(|version| version.learnt_to))),
        Arc::new(Int64Array::from_iter_values(versions.iter().map(|version| version.rows_learnt))),
        Arc::new(BinaryArray::from_iter_values(versions.iter().map(|version| &version.state))),
    ];
    Ok(RecordBatch::try_new(model_version_schema(), columns)?)
}
