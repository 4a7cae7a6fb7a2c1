//! Versions of a model as rows, which prediction reads.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use tidemill_plans::node::model_version_schema;

use crate::error::Result;

/// A version, see [`model_version_schema`].
pub(super) struct Published {
    pub(super) version: i64,
    pub(super) learnt_to: i64,
    pub(super) rows_learnt: i64,
    pub(super) state: Vec<u8>,
}

/// Versions as rows.
pub(super) fn version_rows(versions: &[Published]) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(versions.iter().map(|version| version.version))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(versions.iter().map(|version| version.learnt_to))),
        Arc::new(Int64Array::from_iter_values(versions.iter().map(|version| version.rows_learnt))),
        Arc::new(BinaryArray::from_iter_values(versions.iter().map(|version| &version.state))),
    ];
    Ok(RecordBatch::try_new(model_version_schema(), columns)?)
}
