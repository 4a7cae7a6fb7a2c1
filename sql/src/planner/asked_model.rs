//! What is asked of models in a stream: about its rows (ML.PREDICT, ML.EXPLAIN_PREDICT, ML.DETECT_ANOMALIES, ML.TRANSFORM),
//! what they know (ML.WEIGHTS and its like, ML.FORECAST), which is a table of what is known when the job starts, and about
//! the rows that they were fitted to (ML.GLOBAL_EXPLAIN and its like).

use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use datafusion::sql::sqlparser::ast::{Ident, TableFactor};
use tidemill_plans::algorithm::{class_probability_outputs, explained_outputs};
use tidemill_plans::node::predicted_fields;
use tidemill_plans::prediction::Question;

use super::QueryPlanner;
use super::explain_predict::answered;
use super::forecast::ForecastCall;
use super::model_table::{model_table_call, rows_of_model};
use super::rows_call::{RowsCall, named_values, rows_call};
use super::training_rows::{TrainingQuery, training_call};
use crate::batch::predict::put_subquery;
use crate::catalog::{Catalog, ModelObject};
use crate::error::{Result, SqlError};
use crate::lower::scan::Leaf;
use crate::model_versions::model_name;

/// The column of models without a label that says whether a row is an anomaly.
const IS_ANOMALY: &str = "is_anomaly";

impl QueryPlanner<'_> {
    /// What a call in FROM is that asks a model, and what to call it; none of other factors.
    pub(super) fn asked_model(&mut self, factor: &TableFactor) -> Result<Option<(Leaf, &'static str)>> {
        if let Some((table, model)) = model_table_call(factor)? {
            let rows = rows_of_model(self.catalog, table, &model)?;
            return Ok(Some((self.known(&model, &rows)?, table.name())));
        }
        if let Some(call) = ForecastCall::of(factor)? {
            let rows = call.rows(self.catalog)?;
            return Ok(Some((self.known(&call.model, &rows)?, "forecast")));
        }
        let Some(RowsCall { model, data, question, usage, alias, .. }) = rows_call(factor)? else { return Ok(None) };
        let values = named_values(data, model, self.catalog).map_err(|error| error.at(model.span))?;
        let input = self.argument_stream(values.as_ref().unwrap_or(data), usage)?;
        let stream = self.answered_stream(model, input, question).map_err(|error| error.at(model.span))?;
        Ok(Some((Leaf::Stream(stream), alias)))
    }

    /// Puts the query that a call stands for, of a model and the rows that it was fitted to, in its place; whether it was one.
    pub(super) fn replace_training_call(&mut self, factor: &mut TableFactor) -> Result<bool> {
        let Some(call) = training_call(factor)? else { return Ok(false) };
        let TrainingQuery { mut query, name, rows } = call.query(self.catalog)?;
        call.check_streams()?;
        self.note_use(&model_name(&call.model));
        let set = self.object_stream(&rows)?;
        self.leaves.insert(name, Leaf::Stream(set));
        self.replace_relations(&mut query)?;
        put_subquery(factor, query, call.alias());
        Ok(true)
    }

    /// What a model knows, as rows that stand in the plan.
    fn known(&mut self, model: &Ident, rows: &RecordBatch) -> Result<Leaf> {
        self.note_use(&model_name(model));
        Ok(Leaf::Stream(self.values_stream(&model_name(model), rows)?))
    }
}

/// The columns that an answer adds to rows. A version that is there says it, or why it cannot answer; before there is one,
/// the statement of the model does.
pub(crate) fn answer_fields(
    catalog: &Catalog,
    model: &Ident,
    detail: &ModelObject,
    question: Question,
) -> Result<Vec<Field>> {
    if question == Question::Prediction {
        return Ok(predicted_fields(detail.outputs.clone()));
    }
    if let Ok(trained) = catalog.trained_model(model, "") {
        return Ok(answered(model, &trained, question)?.iter().map(|field| field.as_ref().clone()).collect());
    }
    let said = |fields| Ok(predicted_fields(fields));
    match (question, &detail.label, &detail.transform) {
        (Question::Features, _, Some(transform)) => {
            Ok(transform.outputs()?.fields().iter().map(|field| field.as_ref().clone()).collect())
        }
        (Question::Explanation { .. }, Some(label), _) => {
            let predicted = detail.predicted().map(|field| explained_outputs(label, field.data_type()));
            said(predicted.unwrap_or_default())
        }
        (Question::ClassProbabilities, Some(label), _) => match detail.predicted().map(Field::data_type) {
            Some(class) if !class.is_floating() => said(class_probability_outputs(label, class)),
            _ => Err(no_answer(detail, question)),
        },
        (Question::Anomaly { threshold: None }, ..) if detail.outputs.iter().any(|of| of.name() == IS_ANOMALY) => {
            said(detail.outputs.clone())
        }
        _ => Err(no_answer(detail, question)),
    }
}

/// Why a model of which there is no version yet cannot answer.
fn no_answer(detail: &ModelObject, question: Question) -> SqlError {
    let (what, hint) = match question {
        Question::Features => ("ML.TRANSFORM of a model without TRANSFORM", "its features are columns of its query"),
        Question::Anomaly { .. } => {
            ("ML.DETECT_ANOMALIES", "models of series that are fitted, isolation_forest and their like say what is one")
        }
        Question::ClassProbabilities => ("class_probabilities", "it tells no classes apart: leave the option out"),
        _ => ("ML.EXPLAIN_PREDICT", "it explains what models with a label predict"),
    };
    SqlError::unsupported(format!("{what} of type '{}'", detail.model_type), hint)
}
