//! What tests of models without a label begin with.

use arrow::array::{NullArray, RecordBatch};
use arrow::datatypes::DataType;

use super::{BatchModel, FitReport, create_batch};
use crate::error::Result;
use crate::model::FeatureSchema;

/// A model of a type with these options, for such features.
pub(crate) fn try_model(name: &str, options: &[(&str, &str)], features: &RecordBatch) -> Result<Box<dyn BatchModel>> {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    create_batch(name, &options, &FeatureSchema::from_arrow(&features.schema())?, &DataType::Null)
}

/// The same, fitted to all rows.
pub(crate) fn try_fit(name: &str, options: &[(&str, &str)], features: &RecordBatch) -> Result<FitReport> {
    let mut model = try_model(name, options, features)?;
    model.add(features, &NullArray::new(features.num_rows()))?;
    model.fit()
}
