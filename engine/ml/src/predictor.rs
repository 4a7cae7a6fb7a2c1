//! What any fitted or learnt model does with rows: [`Predictor`]; and those that predict a label: [`Supervised`].

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type};

use crate::class_probabilities::said_of_classes;
use crate::error::Result;
use crate::explain::{Background, Explanations, explained_table, local_explanations};
use crate::inspect::ModelTable;
use crate::model::FeatureSchema;

/// A model that answers; how it came to what it knows does not matter any more.
///
/// It is never changed, so threads may share it. Feature columns are found by name, as by
/// [`OnlineModel`](crate::OnlineModel).
pub trait Predictor: Send + Sync {
    /// The name in `CREATE MODEL`.
    fn model_type(&self) -> &'static str;

    /// The columns that `answers` reads.
    fn schema(&self) -> &FeatureSchema;

    /// Rows that it was made of.
    fn rows_learnt(&self) -> u64;

    /// The classes that it tells apart, as text; none of other models than classifiers.
    fn class_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// A table about what it knows, if models of its type have it.
    ///
    /// # Errors
    /// `BuildTable`.
    fn table(&self, _which: ModelTable) -> Result<Option<RecordBatch>> {
        Ok(None)
    }

    /// What it says of rows, and why: the columns of [`explain`](crate::explain()), if models of its type know.
    ///
    /// # Errors
    /// `MissingColumn`, `ChangedColumn`, `TooManyExplained` or `BuildTable`.
    fn explain(&self, _label: &str, _features: &RecordBatch, _top_k: usize) -> Result<Option<RecordBatch>> {
        Ok(None)
    }

    /// What it says of rows, and what moves that near each of them: the columns of
    /// [`explain_locally`](crate::explain_locally), of models with a label.
    ///
    /// # Errors
    /// Those of [`explain_locally`](crate::explain_locally), but for `NotExplained`.
    fn explain_locally(
        &self,
        _label: &str,
        _features: &RecordBatch,
        _top_k: usize,
        _background: Background<'_>,
    ) -> Result<Option<RecordBatch>> {
        Ok(None)
    }

    /// What it says of rows, with the probabilities of all classes: the columns of
    /// [`class_probabilities_of`](crate::class_probabilities_of), if it tells classes apart.
    ///
    /// # Errors
    /// `MissingColumn`, `ChangedColumn` or `BuildTable`.
    fn class_probabilities(&self, _label: &str, _features: &RecordBatch) -> Result<Option<RecordBatch>> {
        Ok(None)
    }

    /// What comes after each of the series that it was fitted to: `horizon` rows a series, by series and time, with the
    /// series' id if there are several, `forecast_timestamp`, `forecast_value`, `standard_error`, `confidence_level`,
    /// `prediction_interval_lower_bound` and `prediction_interval_upper_bound`, between which a value lies with the
    /// probability `confidence_level`. None of models of anything else than series.
    ///
    /// # Errors
    /// `InvalidOption` for a horizon that is not from 1 to 10,000, or of more than 400 series to 4 million rows together,
    /// or a confidence level that is not between 0 and 1; `BuildTable`.
    fn forecast(&self, _horizon: usize, _confidence_level: f64) -> Result<Option<RecordBatch>> {
        Ok(None)
    }

    /// Which rows are anomalies, in the columns of [`anomalies_of`](crate::anomalies_of), where that is another question than
    /// what it answers; `threshold` is the probability from which on one is, of models that take any.
    ///
    /// # Errors
    /// `MissingColumn` or `ChangedColumn`; `InvalidOption` for a threshold that is no probability.
    fn anomalies(&self, _features: &RecordBatch, _threshold: Option<f64>) -> Result<Option<RecordBatch>> {
        Ok(None)
    }

    /// The columns that it adds to rows; `label` is the name of its label, if it has one.
    fn outputs(&self, label: &str) -> Vec<Field>;

    /// What it says of each row of the batch, in those columns; NULL for a row that learning would reject for its
    /// features.
    ///
    /// # Errors
    /// `MissingColumn` or `ChangedColumn`; `OnlyForecasts` of models of series.
    fn answers(&self, features: &RecordBatch) -> Result<Vec<ArrayRef>>;
}

/// A model that predicts a label: a class or a number.
///
/// A NULL number and a category that it has never seen contribute nothing, unless it says otherwise.
pub trait Supervised: Send + Sync {
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

    /// What its predictions of these rows, `said`, are made of, if models of its type know.
    ///
    /// # Errors
    /// `MissingColumn` or `ChangedColumn`; `TooManyExplained`.
    fn explanations(&self, _features: &RecordBatch, _said: &Predictions) -> Result<Option<Explanations>> {
        Ok(None)
    }

    /// A table about what it knows, if models of its type have it.
    ///
    /// # Errors
    /// `BuildTable`.
    fn table(&self, _which: ModelTable) -> Result<Option<RecordBatch>> {
        Ok(None)
    }
}

/// What a model says of some rows: one value for each in every array.
#[derive(Debug, Clone)]
pub struct Predictions {
    /// Of the type [`Supervised::label_type`]. Of a class, the one with the largest probability; of a model that decides
    /// by something else, `linear_svm`, mostly.
    pub labels: ArrayRef,
    /// One array for each of [`Supervised::class_names`]; the sum of a row is 1. None of a class before one is known.
    pub probabilities: Vec<Float64Array>,
    /// The place among them of each row's label; nothing where there are none.
    pub(crate) places: Vec<usize>,
}

impl Predictions {
    /// Labels that are no classes, or not known to be any yet.
    pub(crate) fn without_classes(labels: ArrayRef) -> Self {
        Self { labels, probabilities: Vec::new(), places: Vec::new() }
    }

    /// The label, and of a class its probability; NULL before a class is known.
    pub(crate) fn columns(&self) -> Vec<ArrayRef> {
        let is_class = !self.labels.data_type().is_floating();
        let probability = is_class.then(|| Arc::new(self.scores()) as ArrayRef);
        std::iter::once(Arc::clone(&self.labels)).chain(probability).collect()
    }

    /// The place of the class that is predicted for a row; 0 of numbers.
    pub(crate) fn place(&self, row: usize) -> usize {
        self.places.get(row).copied().unwrap_or(0)
    }

    /// The one probability that people look at first: that a boolean label is true, or else that of the predicted class.
    /// None of numbers.
    #[must_use]
    pub fn probability(&self) -> Option<Float64Array> {
        match &self.probabilities[..] {
            [] => None,
            [_, positive] if self.labels.data_type() == &DataType::Boolean => Some(positive.clone()),
            classes => {
                let of_predicted = |row: usize| classes.get(self.place(row)).filter(|of| of.is_valid(row));
                Some((0..self.labels.len()).map(|row| of_predicted(row).map(|of| of.value(row))).collect())
            }
        }
    }

    /// One number for each row: of a class [`Self::probability`], else the predicted number; NULL before a class is
    /// known.
    #[must_use]
    pub fn scores(&self) -> Float64Array {
        let numbers = || self.labels.as_primitive_opt::<Float64Type>().cloned();
        self.probability().or_else(numbers).unwrap_or_else(|| Float64Array::new_null(self.labels.len()))
    }
}

// Not derived: a derived one would move the shared array out of its place.
impl PartialEq for Predictions {
    fn eq(&self, other: &Self) -> bool {
        self.labels.as_ref() == other.labels.as_ref() && self.probabilities == other.probabilities
    }
}

/// The columns of a predicted label of this type: the label, and of a class its probability.
#[must_use]
pub fn label_outputs(label: &str, data_type: &DataType) -> Vec<Field> {
    let predicted = Field::new(format!("predicted_{label}"), data_type.clone(), true);
    let probability = || Field::new(format!("predicted_{label}_prob"), DataType::Float64, true);
    let is_class = !data_type.is_floating();
    std::iter::once(predicted).chain(is_class.then(probability)).collect()
}

/// A model with a label among all others.
pub struct Labelled<M: ?Sized>(pub(crate) Box<M>);

impl<M: Supervised + ?Sized> Predictor for Labelled<M> {
    fn model_type(&self) -> &'static str {
        self.0.model_type()
    }

    fn schema(&self) -> &FeatureSchema {
        self.0.schema()
    }

    fn rows_learnt(&self) -> u64 {
        self.0.rows_learnt()
    }

    fn class_names(&self) -> Vec<String> {
        self.0.class_names()
    }

    fn table(&self, which: ModelTable) -> Result<Option<RecordBatch>> {
        self.0.table(which)
    }

    fn outputs(&self, label: &str) -> Vec<Field> {
        label_outputs(label, &self.0.label_type())
    }

    fn answers(&self, features: &RecordBatch) -> Result<Vec<ArrayRef>> {
        Ok(self.0.predictions(features)?.columns())
    }

    fn class_probabilities(&self, label: &str, features: &RecordBatch) -> Result<Option<RecordBatch>> {
        said_of_classes(&*self.0, label, features)
    }

    fn explain_locally(
        &self,
        label: &str,
        features: &RecordBatch,
        top_k: usize,
        background: Background<'_>,
    ) -> Result<Option<RecordBatch>> {
        let said = self.0.predictions(features)?;
        let explanations = local_explanations(&*self.0, features, &said, background)?;
        explained_table(label, &said, &explanations, top_k).map(Some)
    }

    fn explain(&self, label: &str, features: &RecordBatch, top_k: usize) -> Result<Option<RecordBatch>> {
        let said = self.0.predictions(features)?;
        let explanations = self.0.explanations(features, &said)?;
        explanations.map(|explanations| explained_table(label, &said, &explanations, top_k)).transpose()
    }
}
