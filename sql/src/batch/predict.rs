//! ML.PREDICT, ML.EXPLAIN_PREDICT and ML.DETECT_ANOMALIES in a query as a whole: a subquery of its rows, with what the model says of them
//! behind; and ML.TRANSFORM: the features that it makes of them. The model is the version that has learnt most by the time
//! the query is planned, and a function of the columns that it reads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Fields};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr as Planned, LogicalPlan, ScalarUDF};
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, ObjectName, Query, SelectItem, Spanned, TableFactor, VisitMut, VisitorMut,
    WildcardAdditionalOptions,
};
use tidemill_plans::prediction::{Question, TrainedModel, asked_by, function};

use super::row_prediction::replace_row_prediction;
use crate::ast::{alias_of, made_up, normalize, quoted, relation_of, select_all, select_of};
use crate::catalog::{Catalog, Object};
use crate::dialect::TABLE_MARKER;
use crate::error::{Result, SqlError};
use crate::model_versions::model_name;
use crate::planner::evaluate::{self, replace_evaluation};
use crate::planner::explain_predict::answered;
use crate::planner::fit_measures::replace_fit_measures;
use crate::planner::forecast::ForecastCall;
use crate::planner::model_table::{model_table_call, rows_of_model};
use crate::planner::relation::refuse_ignored_hints;
use crate::planner::rows_call::{RowsCall, named_values, rows_call};
use crate::planner::table_function::wrong_call;
use crate::planner::threshold::replace_threshold;
use crate::planner::training_rows::{TrainingQuery, TrainingSet, background_set, training_call};

/// The column of what a model says, as long as it is one.
const SAID: &str = "ml.predict";

/// The models that a query asks.
#[derive(Default)]
pub(crate) struct Asked {
    /// As functions by their names.
    pub(super) predictions: HashMap<String, Arc<ScalarUDF>>,
    /// What they know, by names that no other table has.
    pub(super) tables: BTreeMap<String, RecordBatch>,
    /// The rows that they were fitted to, in the same way.
    pub(super) training_sets: BTreeMap<String, Arc<Object>>,
}

/// Puts subqueries in the place of a query's calls of ML.PREDICT, and tables in that of calls like ML.WEIGHTS and
/// ML.FORECAST; notes the models in `uses`.
pub(super) fn replace_predictions(query: &mut Query, catalog: &Catalog, uses: &mut BTreeSet<String>) -> Result<Asked> {
    let mut calls = Calls { catalog, uses, asked: Asked::default() };
    match query.visit(&mut calls) {
        ControlFlow::Continue(()) => Ok(calls.asked),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Whether a plan asks a model.
pub(crate) fn asks_models(plan: &LogicalPlan) -> Result<bool> {
    let mut asks = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                let is_asked = matches!(part, Planned::ScalarFunction(call) if asked_by(&call.func).is_some());
                asks |= is_asked;
                Ok(if is_asked { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })
    })?;
    Ok(asks)
}

struct Calls<'a> {
    catalog: &'a Catalog,
    uses: &'a mut BTreeSet<String>,
    asked: Asked,
}

impl VisitorMut for Calls<'_> {
    type Break = SqlError;

    /// Calls in the rows of a call are visited behind it.
    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        match self.replace(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        match replace_row_prediction(expr, self.catalog) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(call)) => {
                self.uses.insert(call.model.clone());
                let (name, function) = call.named();
                self.asked.predictions.insert(name, function);
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Calls<'_> {
    fn replace(&mut self, factor: &mut TableFactor) -> Result<()> {
        if matches!(factor, TableFactor::Table { args: Some(_), .. }) {
            // Nothing is left of the call when its shape is looked at.
            refuse_ignored_hints(factor).map_err(|error| error.at(factor.span()))?;
        }
        if let Some(model) = replace_fit_measures(factor, self.catalog)? {
            self.uses.insert(model);
            return Ok(());
        }
        replace_evaluation(factor, self.catalog, evaluate::Asked::AtOnce)?;
        replace_threshold(factor, self.catalog)?;
        if let Some((table, model)) = model_table_call(factor)? {
            let rows = rows_of_model(self.catalog, table, &model)?;
            let made_up = format!("ml.{}({})", table.name(), normalize(&model));
            self.replace_table(factor, table.name(), &model, (made_up, rows));
            return Ok(());
        }
        if let Some(call) = ForecastCall::of(factor)? {
            let rows = call.rows(self.catalog)?;
            self.replace_table(factor, "forecast", &call.model, (call.to_string(), rows));
            return Ok(());
        }
        if let Some(call) = training_call(factor)? {
            let TrainingQuery { query, name, rows } = call.query(self.catalog)?;
            self.uses.insert(model_name(&call.model));
            self.asked.training_sets.insert(name, rows);
            put_subquery(factor, query, call.alias());
            return Ok(());
        }
        let Some(RowsCall { model, data, question, function, usage, alias }) = rows_call(factor)? else {
            return Ok(());
        };
        let values = named_values(data, model, self.catalog).map_err(|error| error.at(model.span))?;
        let rows = rows_of(values.as_ref().unwrap_or(data), usage)?;
        let trained = self.catalog.trained_model(model, function)?;
        let subquery = self.answers(&model.clone(), trained, question, rows)?;
        put_subquery(factor, subquery, alias);
        Ok(())
    }

    /// What the model answers about rows, behind their columns unless it is its features, as a query that calls the model as
    /// a function.
    fn answers(
        &mut self,
        model: &Ident,
        trained: Arc<TrainedModel>,
        question: Question,
        rows: Box<Query>,
    ) -> Result<Query> {
        self.uses.insert(model_name(model));
        let fields = answered(model, &trained, question)?;
        let reads = trained.reads();
        let function = function(trained, question);
        let mut arguments: Vec<String> = reads.iter().map(|name| quoted(name).to_string()).collect();
        if matches!(question, Question::LocalExplanation { .. }) {
            let TrainingSet { name, rows, .. } = background_set(model, self.catalog)?;
            arguments.push(background_of(&name, &reads));
            self.asked.training_sets.insert(name, rows);
        }
        let call = format!("{}({})", quoted(function.name()), arguments.join(", "));
        let query = match question {
            Question::Features => only_answers(rows, &call, &fields)?,
            _ => with_answers(rows, &call, &fields)?,
        };
        self.asked.predictions.insert(function.name().to_owned(), Arc::new(function));
        Ok(query)
    }

    /// Puts a table, given by a name that no other has and its rows, in the place of a call of a function that shows what
    /// a model knows.
    fn replace_table(&mut self, factor: &mut TableFactor, function: &str, model: &Ident, table: (String, RecordBatch)) {
        let TableFactor::Table { name, alias, args, .. } = factor else { return };
        let (made_up, rows) = table;
        self.uses.insert(model_name(model));
        alias.get_or_insert_with(|| alias_of(function));
        *name = ObjectName::from(vec![quoted(&made_up)]);
        *args = None;
        self.asked.tables.insert(made_up, rows);
    }
}

/// Puts a query in the place of a call, with this alias unless it has one.
pub(crate) fn put_subquery(factor: &mut TableFactor, query: Query, name: &str) {
    let given = match factor {
        TableFactor::Table { alias, .. } => alias.take(),
        _ => None,
    };
    let alias = Some(given.unwrap_or_else(|| alias_of(name)));
    *factor = TableFactor::Derived { lateral: false, subquery: Box::new(query), alias, sample: None };
}

/// The rows of `TABLE t`, a plain name or a subquery.
fn rows_of(data: &Expr, usage: &str) -> Result<Box<Query>> {
    match data {
        Expr::Prefixed { prefix, value } if prefix.value == TABLE_MARKER => rows_of(value, usage),
        Expr::Identifier(name) => select_all(&normalize(name)),
        Expr::Subquery(query) => Ok(query.clone()),
        Expr::Nested(inner) => rows_of(inner, usage),
        _ => Err(wrong_call(usage).at(data.span())),
    }
}

/// `SELECT * EXCLUDE (said), said.a AS a, … FROM (SELECT *, model(columns) AS said FROM rows)`.
fn with_answers(rows: Box<Query>, call: &str, fields: &Fields) -> Result<Query> {
    let said = quoted(SAID);
    let added = fields_of(&said, fields);
    let mut outer = made_up(&format!("SELECT *, {added} FROM (SELECT *, {call} AS {said} FROM t) AS predict"))?;
    let select = select_of(&mut outer)?;
    if let Some(all) = select.projection.first_mut() {
        let excluded = ExcludeSelectItem::Single(ObjectName::from(vec![said]));
        let options = WildcardAdditionalOptions { opt_exclude: Some(excluded), ..Default::default() };
        *all = SelectItem::Wildcard(options);
    }
    read_from(relation_of(select)?, rows)?;
    Ok(outer)
}

/// `SELECT said.a AS a, … FROM (SELECT model(columns) AS said FROM rows)`.
fn only_answers(rows: Box<Query>, call: &str, fields: &Fields) -> Result<Query> {
    let said = quoted(SAID);
    let columns = fields_of(&said, fields);
    let mut outer = made_up(&format!("SELECT {columns} FROM (SELECT {call} AS {said} FROM t) AS transform"))?;
    read_from(relation_of(select_of(&mut outer)?)?, rows)?;
    Ok(outer)
}

/// `(SELECT array_agg({column: "column", …}) FROM set)`: it is computed once, and all rows have the same.
fn background_of(set: &str, reads: &[String]) -> String {
    let field = |name: &String| format!("'{}', {}", name.replace('\'', "''"), quoted(name));
    let fields: Vec<String> = reads.iter().map(field).collect();
    format!("(SELECT array_agg(named_struct({})) FROM {})", fields.join(", "), quoted(set))
}

/// The fields of a struct as columns.
fn fields_of(said: &Ident, fields: &Fields) -> String {
    let column = |field: &Arc<Field>| {
        let (key, name) = (field.name().replace('\'', "''"), quoted(field.name()));
        format!("get_field({said}, '{key}') AS {name}")
    };
    fields.iter().map(column).collect::<Vec<_>>().join(", ")
}

/// Has a subquery that was made up read these rows.
fn read_from(subquery: &mut TableFactor, rows: Box<Query>) -> Result<()> {
    if let TableFactor::Derived { subquery: inner, .. } = subquery {
        let alias = Some(alias_of("rows"));
        *relation_of(select_of(inner)?)? = TableFactor::Derived { lateral: false, subquery: rows, alias, sample: None };
    }
    Ok(())
}
