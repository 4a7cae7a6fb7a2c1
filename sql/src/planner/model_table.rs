//! ML.WEIGHTS and its like: what a model knows, as a table of the version that has learnt most. They are part of queries as
//! a whole.

use arrow::array::RecordBatch;
use datafusion::sql::sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, Ident, Spanned, TableFactor};
use tidemill_plans::error::chain;
use tidemill_plans::prediction::ModelTable;

use super::table_function::wrong_call;
use crate::ast::dotted;
use crate::catalog::Catalog;
use crate::dialect::MODEL_MARKER;
use crate::error::{Result, SqlError};

/// The table and the model of such a call, if a factor is one.
pub(crate) fn model_table_call(factor: &TableFactor) -> Result<Option<(ModelTable, Ident)>> {
    let TableFactor::Table { name, args: Some(args), .. } = factor else { return Ok(None) };
    let function = dotted(name);
    let own = function.strip_prefix("ml.").or_else(|| function.strip_prefix("ml_"));
    let Some(table) = own.and_then(ModelTable::named) else { return Ok(None) };
    let arguments: Vec<&FunctionArg> = args.args.iter().collect();
    let model = only_model(&arguments)?.ok_or_else(|| wrong_call(&format!("{table}(MODEL m)")).at(name.span()))?;
    Ok(Some((table, model.clone())))
}

/// The model that is the only argument of a call, if it is so.
pub(super) fn only_model<'a>(arguments: &[&'a FunctionArg]) -> Result<Option<&'a Ident>> {
    match arguments {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Prefixed { prefix, value }))]
            if prefix.value == MODEL_MARKER =>
        {
            match value.as_ref() {
                Expr::Identifier(model) => Ok(Some(model)),
                other => {
                    let hint = "name the model alone; its newest version answers";
                    Err(SqlError::unsupported(format!("model '{other}'"), hint).at(other.span()))
                }
            }
        }
        _ => Ok(None),
    }
}

/// The rows of such a table.
pub(crate) fn rows_of_model(catalog: &Catalog, table: ModelTable, model: &Ident) -> Result<RecordBatch> {
    let trained = catalog.trained_model(model, &table.to_string())?;
    trained
        .table(table)
        .map_err(|error| SqlError::invalid(format!("model '{model}': {}", chain(&error))).at(model.span))
}
