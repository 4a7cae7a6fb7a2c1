//! A version of a model that answers rows at once: clients with it, and queries that run as a whole, to which it is a
//! function of the columns that it reads.

mod function;
mod question;

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
pub use tidemill_ml::ModelTable;
use tidemill_ml::{Background, FeatureKind, MlError, Origin, forecast_of, table_of, training_table, trial_table};

pub use self::function::{asked_by, function};
pub use self::question::{AnswerError, Probability, Question};
use crate::catalog::{ModelWeights, UNTIMED};
use crate::model_reference::ModelReference;
use crate::node::predicted_fields;
use crate::transform::{FittedModel, RestoreError};

/// Why nothing is known of the fit of a model over tables.
const NOT_KEPT: &str = "it comes from a file of another library, or from a release that kept none; CREATE OR REPLACE MODEL \
                        over its tables fits it again";

/// And why not of one along a stream.
const ROW_BY_ROW: &str = "it learns from a stream, row by row; SHOW MODELS says how well its newest version tells rows \
                          before it learns them";

/// A version of a model that can be asked.
pub struct TrainedModel {
    weights: ModelWeights,
    model: FittedModel,
}

impl TrainedModel {
    /// The model that weights are those of.
    ///
    /// # Errors
    /// If they are not a model's, or another release's.
    pub fn restore(weights: ModelWeights) -> Result<Self, RestoreError> {
        let model = FittedModel::restore(&weights.state)?;
        Ok(Self { weights, model })
    }

    /// What it was restored from.
    #[must_use]
    pub fn weights(&self) -> &ModelWeights {
        &self.weights
    }

    /// The columns that ML.PREDICT adds.
    #[must_use]
    pub fn added(&self) -> Vec<Field> {
        predicted_fields(self.model.predictor().outputs(&self.weights.label))
    }

    /// Those columns for some rows, which have what it reads among their columns.
    ///
    /// # Errors
    /// If a column is missing, or of another type; or if a feature cannot be made of a row.
    pub fn predict(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>, AnswerError> {
        Ok(self.answer(Question::Prediction, rows)?.columns().to_vec())
    }

    /// What it answers about some rows, which have what it reads among their columns.
    ///
    /// # Errors
    /// As of [`predict`](Self::predict); or if it cannot answer such a question.
    pub fn answer(&self, question: Question, rows: &RecordBatch) -> Result<RecordBatch, AnswerError> {
        let said = self.model.said(question, &self.weights.label, &self.model.features(rows)?)?;
        if !question.is_of_a_version() {
            return Ok(said);
        }
        self.of_version(&said)
    }

    /// What moves its predictions for some rows, among rows like those that it was fitted to, which have the same columns: the
    /// answer to [`Question::LocalExplanation`].
    ///
    /// # Errors
    /// As of [`answer`](Self::answer); or if there are no such rows.
    pub fn explain_locally(
        &self,
        rows: &RecordBatch,
        top_k: usize,
        background: Background<'_>,
    ) -> Result<RecordBatch, AnswerError> {
        let (features, like) = (self.model.features(rows)?, self.model.features(background.rows)?);
        let background = Background { rows: &like, ..background };
        let said = self.model.explained_locally(&self.weights.label, &features, top_k, background)?;
        self.of_version(&said)
    }

    /// The columns of an answer.
    ///
    /// # Errors
    /// If it cannot answer such a question.
    pub fn answered(&self, question: Question) -> Result<Fields, AnswerError> {
        let none = RecordBatch::new_empty(self.inputs());
        Ok(self.answer(question, &none)?.schema().fields().clone())
    }

    /// The columns that it reads, of types that it does.
    #[must_use]
    pub fn inputs(&self) -> SchemaRef {
        let of_kind = |kind| match kind {
            FeatureKind::Numeric => DataType::Float64,
            FeatureKind::Categorical => DataType::Utf8,
            FeatureKind::Time => DataType::Date32,
        };
        if let Some(transform) = self.model.transform() {
            return Arc::clone(transform.inputs());
        }
        let features = self.model.predictor().schema().fields().iter();
        let fields = features.map(|feature| Field::new(&feature.name, of_kind(feature.kind), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// What was said of rows, and which version says it.
    fn of_version(&self, said: &RecordBatch) -> Result<RecordBatch, AnswerError> {
        let fields = said.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
        let columns = said.columns().iter().cloned().chain(self.version_of(said.num_rows())).collect();
        let answer = RecordBatch::try_new(Arc::new(Schema::new(predicted_fields(fields))), columns);
        answer.map_err(|source| MlError::BuildTable { source }.into())
    }

    /// The version that answers, for so many rows.
    fn version_of(&self, count: usize) -> [ArrayRef; 2] {
        let learnt_to = Some(self.weights.learnt_to).filter(|time| *time != UNTIMED);
        [
            Arc::new(Int64Array::from_value(self.weights.version, count)),
            Arc::new(TimestampMicrosecondArray::from_iter(std::iter::repeat_n(learnt_to, count))),
        ]
    }

    /// What it knows, as a table.
    ///
    /// # Errors
    /// If models of its type do not have that table, or nothing is known of its fit.
    pub fn table(&self, which: ModelTable) -> Result<RecordBatch, MlError> {
        let Origin { trials, history } = self.model.origin();
        match which {
            ModelTable::TrialInfo if !trials.is_empty() => trial_table(trials),
            ModelTable::TrainingInfo if !history.is_empty() => training_table(history),
            ModelTable::TrainingInfo => {
                let reason = if self.weights.learnt_to == UNTIMED { NOT_KEPT } else { ROW_BY_ROW };
                Err(MlError::NotKnown { model_type: self.model_type(), what: "iterations", reason })
            }
            _ => table_of(self.model.predictor(), which),
        }
    }

    /// What comes after the series that it was fitted to: so many rows for each.
    ///
    /// # Errors
    /// If it is no model of series, or for a number of rows or a confidence level out of range.
    pub fn forecast(&self, horizon: usize, confidence_level: f64) -> Result<RecordBatch, MlError> {
        forecast_of(self.model.predictor(), horizon, confidence_level)
    }

    /// Its algorithm.
    #[must_use]
    pub fn model_type(&self) -> &'static str {
        self.model.predictor().model_type()
    }

    /// The classes that it tells apart, as text; none of other models than classifiers.
    #[must_use]
    pub fn class_names(&self) -> Vec<String> {
        self.model.predictor().class_names()
    }

    /// The names of the columns that it reads, in the order of [`function`]'s arguments.
    #[must_use]
    pub fn reads(&self) -> Vec<String> {
        self.model.inputs()
    }
}

impl fmt::Debug for TrainedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ModelWeights { model, version, .. } = &self.weights;
        f.debug_struct("TrainedModel").field("model", model).field("version", version).finish_non_exhaustive()
    }
}

/// A version of a model that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownVersion {
    /// Its number.
    pub version: i64,
    /// Where it stands in event time, in microseconds; [`UNTIMED`] of a model over tables.
    pub learnt_to: i64,
    /// The aliases that it has.
    pub aliases: Vec<String>,
    /// Whether it answers for the plain name.
    pub is_newest: bool,
}

/// Those that there are, for whoever plans queries.
pub trait TrainedModels: fmt::Debug + Send + Sync {
    /// The version of a model that is meant; or what to tell whoever asks for it.
    ///
    /// # Errors
    /// If it is not there.
    fn find(&self, model: &ModelReference<'_>) -> Result<Arc<TrainedModel>, String>;

    /// The versions of a model that can be asked, by number.
    fn versions(&self, model: &str) -> Vec<KnownVersion>;
}

#[cfg(test)]
mod tests;
