//! What any fitted or learnt model does with rows: [`Predictor`], for classes and for numbers alike.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, RecordBatch};
use arrow::datatypes::DataType;

use crate::error::Result;
use crate::linear::logistic_regression::LogisticRegression;
use crate::model::{FeatureSchema, OnlineModel, predicted_labels};

/// A model that answers; how it came to what it knows does not matter any more.
///
/// It is never changed, so threads may share it. Feature columns are found by name, as by
/// [`OnlineModel::predict`]: a NULL number and a category that the model has never seen contribute nothing.
pub trait Predictor: Send + Sync {
    /// The name in `CREATE MODEL`.
    fn model_type(&self) -> &'static str;

    /// The columns that `predictions` reads.
    fn schema(&self) -> &FeatureSchema;

    /// The type of the labels that it predicts.
    fn label_type(&self) -> DataType;

    /// The classes that it tells apart, as text, in the order of their probabilities; none of a model that
    /// predicts a number. Those of a boolean label are `false` and `true`.
    fn class_names(&self) -> Vec<String>;

    /// Rows that it was made of.
    fn rows_learnt(&self) -> u64;

    /// What it says of each row of the batch; NULL for a row that learning would reject for its features.
    ///
    /// # Errors
    /// `MissingColumn` or `ChangedColumn`.
    fn predictions(&self, features: &RecordBatch) -> Result<Predictions>;
}

/// What a model says of some rows: one value for each in every array.
#[derive(Debug, Clone)]
pub struct Predictions {
    /// Of the type [`Predictor::label_type`]. Of a class, the one with the largest probability; of a model that decides
    /// by something else, `linear_svm`, mostly.
    pub labels: ArrayRef,
    /// One array for each of [`Predictor::class_names`]; the sum of a row is 1.
    pub probabilities: Vec<Float64Array>,
}

impl Predictions {
    /// The one probability that people look at first: that a boolean label is true, or else the largest, which is that
    /// of the predicted class where probabilities decide. None of numbers.
    #[must_use]
    pub fn probability(&self) -> Option<Float64Array> {
        match &self.probabilities[..] {
            [] => None,
            [_, positive] if self.labels.data_type() == &DataType::Boolean => Some(positive.clone()),
            classes => {
                let largest =
                    |row: usize| classes.iter().filter(|of| of.is_valid(row)).map(|of| of.value(row)).reduce(f64::max);
                Some((0..self.labels.len()).map(largest).collect())
            }
        }
    }
}

impl Predictor for LogisticRegression {
    fn model_type(&self) -> &'static str {
        Self::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        OnlineModel::schema(self)
    }

    fn label_type(&self) -> DataType {
        DataType::Boolean
    }

    fn class_names(&self) -> Vec<String> {
        ["false", "true"].map(str::to_owned).to_vec()
    }

    fn rows_learnt(&self) -> u64 {
        OnlineModel::rows_learnt(self)
    }

    fn predictions(&self, features: &RecordBatch) -> Result<Predictions> {
        let positive = self.predict(features)?;
        let negative = positive.values().iter().map(|probability| 1.0 - probability).collect();
        let negative = Float64Array::new(negative, positive.nulls().cloned());
        Ok(Predictions { labels: Arc::new(predicted_labels(&positive)), probabilities: vec![negative, positive] })
    }
}
