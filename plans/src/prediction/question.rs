//! What a model can be asked about rows, and its answers.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use datafusion::error::DataFusionError;
use tidemill_ml::{Background, MlError, anomalies_of, class_probabilities_of, explain, explain_locally};

use crate::transform::FittedModel;

/// What a model is asked about rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, bincode::Encode, bincode::Decode)]
pub enum Question {
    /// What it predicts: ML.PREDICT.
    Prediction,
    /// And why: ML.EXPLAIN_PREDICT.
    Explanation {
        /// The most features that a row's explanation names.
        top_k_features: u32,
    },
    /// Which features its TRANSFORM makes of them: ML.TRANSFORM.
    Features,
    /// Whether it is an anomaly: ML.DETECT_ANOMALIES.
    Anomaly {
        /// The probability above which one is, if that is said.
        threshold: Option<Probability>,
    },
    /// What it predicts, with the probabilities of all classes beside that of the predicted one.
    ClassProbabilities,
    /// What it predicts and what moves that near each row, among rows like those that it was fitted to (LIME):
    /// ML.EXPLAIN_PREDICT. Of queries as a whole, which have these rows.
    LocalExplanation {
        /// The most features that a row's explanation names.
        top_k_features: u32,
        /// What the rows near one are drawn by.
        seed: u64,
    },
}

/// A probability in a question: the bits of a number, so that questions can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, bincode::Encode, bincode::Decode)]
pub struct Probability(u64);

impl From<f64> for Probability {
    fn from(number: f64) -> Self {
        Self(number.to_bits())
    }
}

impl From<Probability> for f64 {
    fn from(Probability(bits): Probability) -> Self {
        Self::from_bits(bits)
    }
}

/// Why a model has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Its features cannot be made of the rows.
    #[error(transparent)]
    Transform(#[from] DataFusionError),
    /// The model refuses them.
    #[error(transparent)]
    Model(#[from] MlError),
    /// It has no TRANSFORM that were to say what its features are.
    #[error("it has no TRANSFORM: its features are columns of its query")]
    NoTransform,
    /// Nobody has given it rows like those that it was fitted to.
    #[error("explanations by LIME need the rows of its training set, which a query as a whole has")]
    NoBackground,
}

impl Question {
    /// Whether the version of the model that answers stands behind its answer.
    #[must_use]
    pub fn is_of_a_version(self) -> bool {
        self != Self::Features
    }
}

impl FittedModel {
    /// What it says about rows with these features; without the version that says it.
    ///
    /// # Errors
    /// If a feature is missing, or of another type; or if it cannot answer such a question.
    pub fn said(&self, question: Question, label: &str, features: &RecordBatch) -> Result<RecordBatch, AnswerError> {
        let Some(transform) = self.transform() else {
            return match question {
                Question::Features => Err(AnswerError::NoTransform),
                _ => self.said_of(question, label, features),
            };
        };
        if question == Question::Features {
            return Ok(features.clone());
        }
        let said = |piece: RecordBatch| self.said_of(question, label, transform.expanded(&piece)?.as_ref());
        let said = transform.pieces(features).map(said).collect::<Result<Vec<_>, _>>()?;
        match &said[..] {
            [said] => Ok(said.clone()),
            said => {
                let schema = said.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
                Ok(concat_batches(&schema, said).map_err(|source| MlError::BuildTable { source })?)
            }
        }
    }

    /// The same of what the model has learnt.
    fn said_of(&self, question: Question, label: &str, features: &RecordBatch) -> Result<RecordBatch, AnswerError> {
        let model = self.predictor();
        Ok(match question {
            Question::Prediction => {
                let (schema, columns) = (Schema::new(model.outputs(label)), model.answers(features)?);
                let said = RecordBatch::try_new(Arc::new(schema), columns);
                said.map_err(|source| MlError::BuildTable { source })?
            }
            Question::Explanation { top_k_features } => explain(model, label, features, top_k_features as usize)?,
            Question::ClassProbabilities => class_probabilities_of(model, label, features)?,
            Question::Anomaly { threshold } => anomalies_of(model, features, threshold.map(f64::from))?,
            Question::Features => features.clone(),
            // Without rows there is nothing that their neighbours could be drawn for.
            Question::LocalExplanation { top_k_features, .. } if features.num_rows() == 0 => {
                explain(model, label, features, top_k_features as usize)?
            }
            Question::LocalExplanation { .. } => return Err(AnswerError::NoBackground),
        })
    }

    /// What moves its predictions for rows with these features, among rows like those of the background.
    ///
    /// # Errors
    /// As of [`said`](Self::said); or if there is nothing in the background.
    pub fn explained_locally(
        &self,
        label: &str,
        features: &RecordBatch,
        top_k: usize,
        background: Background<'_>,
    ) -> Result<RecordBatch, AnswerError> {
        let model = self.predictor();
        let Some(transform) = self.transform() else {
            return Ok(explain_locally(model, label, features, top_k, background)?);
        };
        let (features, rows) = (transform.expanded(features)?, transform.expanded(background.rows)?);
        let background = Background { rows: rows.as_ref(), ..background };
        Ok(explain_locally(model, label, features.as_ref(), top_k, background)?)
    }
}
