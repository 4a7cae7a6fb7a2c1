//! What versions of a model say of rows, in the columns of the output.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{FieldRef, SchemaRef};
use tidemill_ml::MlError;
use tidemill_plans::catalog::UNTIMED;
use tidemill_plans::node::PredictNode;
use tidemill_plans::prediction::Question;
use tidemill_plans::transform::{FittedModel, RestoreError};

use crate::error::{EngineError, Result};
use crate::operator::bad_rows::evaluate_or_route;
use crate::task::OperatorContext;

/// The columns behind what the model says: its version and event time.
const KNOWN: usize = 2;

/// A version of a model.
pub(super) struct Version {
    pub(super) version: i64,
    pub(super) learnt_to: i64,
    pub(super) state: Vec<u8>,
    /// Restored when a row first asks: many versions are never asked.
    pub(super) restored: Option<FittedModel>,
}

impl Version {
    pub(super) fn new(version: i64, learnt_to: i64, state: &[u8]) -> Self {
        Self { version, learnt_to, state: state.to_vec(), restored: None }
    }
}

/// What some rows get.
pub(super) struct Answer {
    /// What the model says, in its columns.
    said: Vec<ArrayRef>,
    /// Those of the rows that features could be made of.
    rows: RecordBatch,
    version: Option<(i64, i64)>,
}

/// Asks versions of a model the question of a node.
pub(super) struct Answers {
    model: String,
    label: String,
    question: Question,
    output: SchemaRef,
}

impl Answers {
    pub(super) fn new(node: &PredictNode, output: SchemaRef) -> Self {
        let PredictNode { model, label, question, .. } = node;
        Self { model: model.clone(), label: label.clone(), question: *question, output }
    }

    /// The model's name.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// What a version says of rows; before there is one, nothing is known.
    pub(super) fn ask(
        &self,
        version: Option<&mut Version>,
        rows: RecordBatch,
        ctx: &OperatorContext,
    ) -> Result<Answer> {
        let Some(version) = version else { return Ok(self.no_answer(rows)) };
        let failed = |source: MlError| EngineError::Model { model: self.model.clone(), source };
        let model = match &mut version.restored {
            Some(model) => model,
            none => none.insert(FittedModel::restore(&version.state).map_err(|error| match error {
                RestoreError::Weights(source) => failed(source),
                RestoreError::Transform(error) => error.into(),
            })?),
        };
        let (rows, features) = match model.transform() {
            Some(transform) => evaluate_or_route(rows, ctx, |rows| Ok(transform.features(rows)?))?,
            None => (rows.clone(), rows),
        };
        let said = model.said(self.question, &self.label, &features);
        let said = said.map_err(|source| EngineError::NoAnswer { model: self.model.clone(), source })?;
        Ok(Answer { said: said.columns().to_vec(), rows, version: Some((version.version, version.learnt_to)) })
    }

    /// An error, or what is wrong, if what a version says of rows with these columns is not what the output has.
    pub(super) fn check(&self, version: &mut Version, input: &SchemaRef, ctx: &OperatorContext) -> Result<(), String> {
        let answer = self.ask(Some(version), RecordBatch::new_empty(Arc::clone(input)), ctx);
        let answer = answer.map_err(|error| error.chain())?;
        let added = self.added(input.fields().len());
        let is_same = |(said, field): (&ArrayRef, &FieldRef)| said.data_type() == field.data_type();
        match answer.said.len() == added.len() && answer.said.iter().zip(added).all(is_same) {
            true => Ok(()),
            false => Err(String::from("what it says has other columns")),
        }
    }

    /// The columns of the output that have what the model says, behind so many of the input.
    fn added(&self, inputs: usize) -> &[FieldRef] {
        let fields = self.output.fields();
        match self.question.is_of_a_version() {
            true => fields.get(inputs..fields.len().saturating_sub(KNOWN)).unwrap_or_default(),
            false => fields,
        }
    }

    fn no_answer(&self, rows: RecordBatch) -> Answer {
        let added = self.added(rows.num_columns()).iter();
        let said = added.map(|field| new_null_array(field.data_type(), rows.num_rows())).collect();
        Answer { said, rows, version: None }
    }

    /// The answers in the columns of the output.
    pub(super) fn output_rows(&self, answers: &[Answer]) -> Result<RecordBatch> {
        if !self.question.is_of_a_version() {
            return Ok(RecordBatch::try_new(Arc::clone(&self.output), joined(answers, |answer| &answer.said)?)?);
        }
        let versions = |pick: fn((i64, i64)) -> i64| {
            answers.iter().flat_map(move |answer| std::iter::repeat_n(answer.version.map(pick), answer.rows.num_rows()))
        };
        let version: Int64Array = versions(|(version, _)| version).collect();
        let learnt_to = versions(|(_, learnt_to)| learnt_to).map(|time| time.filter(|time| *time != UNTIMED));
        let learnt_to: TimestampMicrosecondArray = learnt_to.collect();
        let mut columns = joined(answers, |answer| answer.rows.columns())?;
        columns.extend(joined(answers, |answer| &answer.said)?);
        columns.extend([Arc::new(version) as ArrayRef, Arc::new(learnt_to)]);
        Ok(RecordBatch::try_new(Arc::clone(&self.output), columns)?)
    }
}

/// The columns of all answers, one behind the other.
fn joined(answers: &[Answer], columns: impl Fn(&Answer) -> &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    match answers {
        [answer] => Ok(columns(answer).to_vec()),
        answers => (0..answers.first().map_or(0, |answer| columns(answer).len()))
            .map(|place| {
                let parts: Vec<&dyn Array> =
                    answers.iter().filter_map(|answer| columns(answer).get(place)).map(AsRef::as_ref).collect();
                Ok(concat(&parts)?)
            })
            .collect(),
    }
}
