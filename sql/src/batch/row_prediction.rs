//! `ml_predict(MODEL m, x, y, …)` as an expression: what a model says first of each row, its arguments being what it reads,
//! in the order of [`TrainedModel::reads`].
//!
//! [`TrainedModel::reads`]: tidemill_plans::prediction::TrainedModel::reads

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, SelectItem, Spanned, Value,
};
use tidemill_plans::prediction::{Question, function};

use crate::ast::{dotted, made_up, quoted, select_of};
use crate::catalog::Catalog;
use crate::dialect::MODEL_MARKER;
use crate::error::{Result, SqlError};
use crate::model_versions::model_name;
use crate::planner::explain_predict::answered;

const USAGE: &str = "ml_predict(MODEL m, …) with all columns that the model reads";

/// The function that a call became, and the name of its model.
pub(super) struct RowPrediction {
    pub(super) function: ScalarUDF,
    pub(super) model: String,
}

/// Whether an expression is such a call.
pub(crate) fn is_row_prediction(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(call) if matches!(dotted(&call.name).as_str(), "ml_predict" | "ml.predict"))
}

/// Puts the model's function in the place of a call; none for other expressions.
pub(super) fn replace_row_prediction(expr: &mut Expr, catalog: &Catalog) -> Result<Option<RowPrediction>> {
    let Some((call, model)) = row_prediction(expr)? else { return Ok(None) };
    let trained = catalog.trained_model(&model, "ML.PREDICT")?;
    check_arguments(call, &model, trained.reads().iter().map(String::as_str))?;
    let fields = answered(&model, &trained, Question::Prediction)?;
    let said = fields.first().map(|field| field.name().clone()).unwrap_or_default();
    let function = function(trained, Question::Prediction);
    call.name = ObjectName::from(vec![quoted(function.name())]);
    let first = first_of(call.clone(), &said)?;
    *expr = first;
    Ok(Some(RowPrediction { function, model: model_name(&model) }))
}

/// Such a call, of which the model is taken out of its arguments; none for other expressions.
pub(crate) fn row_prediction(expr: &mut Expr) -> Result<Option<(&mut Function, Ident)>> {
    if !is_row_prediction(expr) {
        return Ok(None);
    }
    let Expr::Function(call) = expr else { return Ok(None) };
    let wrong = SqlError::invalid(format!("wrong arguments; write {USAGE}")).at(call.name.span());
    let FunctionArguments::List(list) = &mut call.args else { return Err(wrong) };
    let Some(model) = list.args.first().and_then(model_of) else { return Err(wrong) };
    list.args.remove(0);
    Ok(Some((call, model)))
}

/// Checks that a call whose model is taken out has an argument for each column that the model reads.
pub(crate) fn check_arguments<'a>(call: &Function, model: &Ident, reads: impl Iterator<Item = &'a str>) -> Result<()> {
    let reads: Vec<&str> = reads.collect();
    match &call.args {
        FunctionArguments::List(list) if list.args.len() == reads.len() => Ok(()),
        _ => {
            let message = format!("ml_predict of model '{model}' reads {}, in this order", reads.join(", "));
            Err(SqlError::invalid(message).at(call.name.span()))
        }
    }
}

/// The model that an argument names, as MODEL m or as text.
fn model_of(argument: &FunctionArg) -> Option<Ident> {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument else { return None };
    match expr {
        Expr::Prefixed { prefix, value } if prefix.value == MODEL_MARKER => match value.as_ref() {
            Expr::Identifier(model) => Some(model.clone()),
            _ => None,
        },
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(name) => Some(Ident { span: expr.span(), ..quoted(name) }),
            _ => None,
        },
        _ => None,
    }
}

/// `get_field(call, 'name')`.
fn first_of(call: Function, name: &str) -> Result<Expr> {
    let mut query = made_up(&format!("SELECT get_field(said, '{}')", name.replace('\'', "''")))?;
    let select = select_of(&mut query)?;
    let Some(SelectItem::UnnamedExpr(mut field)) = select.projection.pop() else {
        return Err(SqlError::invalid("there is no field"));
    };
    if let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = &mut field
        && let Some(said) = list.args.first_mut()
    {
        *said = FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(call)));
    }
    Ok(field)
}

/// What an expression outside of a query says of such a call.
pub(crate) fn outside_of_queries() -> SqlError {
    let hint = "SELECT ml_predict(MODEL m, …) FROM t asks the model about the rows of a query";
    SqlError::unsupported("ml_predict outside of a query", hint)
}

impl RowPrediction {
    /// The function by its name.
    pub(super) fn named(self) -> (String, Arc<ScalarUDF>) {
        (self.function.name().to_owned(), Arc::new(self.function))
    }
}
