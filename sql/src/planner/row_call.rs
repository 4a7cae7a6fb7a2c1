//! `ml_predict(MODEL m, x, y, …)` as an expression of a stream: what a model says first of each row, its arguments being what
//! it reads, in the order of its query.
//!
//! DataFusion plans a call as that of a function which only marks where it stands; [`lower::row_predictions`] asks the
//! operator Predict in its place.
//!
//! [`lower::row_predictions`]: crate::lower::row_predictions

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, Ident, ObjectName, Query, VisitMut, VisitorMut};
use tidemill_plans::model_reference::ModelReference;
use tidemill_plans::prediction::Question;

use super::explain_predict::answered;
use crate::ast::{normalize, quoted};
use crate::batch::row_prediction::{check_arguments, row_prediction};
use crate::catalog::Catalog;
use crate::error::{Result, SqlError};

/// A model where it is called: a function that nobody computes.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowCall {
    /// The model's name, with its version if that is named.
    pub(crate) model: Ident,
    /// The columns that the arguments stand for.
    pub(crate) reads: Vec<(String, DataType)>,
    name: String,
    returns: DataType,
    signature: Signature,
}

/// The call of a model that an expression is.
pub(crate) fn asked_in(expr: &Expr) -> Option<(&RowCall, &[Expr])> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let asked: Option<&RowCall> = call.func.inner().downcast_ref::<RowCall>();
    asked.map(|asked| (asked, call.args.as_slice()))
}

/// The types of the parameters that are arguments of calls in a plan: those of the features.
pub(crate) fn parameters_in(plan: &LogicalPlan) -> Result<HashMap<String, DataType>> {
    let mut found = HashMap::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|inner| {
                let Some((asked, arguments)) = asked_in(inner) else { return Ok(TreeNodeRecursion::Continue) };
                for (argument, (_, data_type)) in arguments.iter().zip(&asked.reads) {
                    if let Expr::Placeholder(parameter) = argument {
                        found.insert(parameter.id.clone(), data_type.clone());
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// Puts functions that mark them in the place of a query's calls of models; returns them by their names.
pub(crate) fn replace_row_calls(query: &mut Query, catalog: &Catalog) -> Result<HashMap<String, Arc<ScalarUDF>>> {
    let mut calls = Calls { catalog, functions: HashMap::new() };
    match query.visit(&mut calls) {
        ControlFlow::Continue(()) => Ok(calls.functions),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Calls<'a> {
    catalog: &'a Catalog,
    functions: HashMap<String, Arc<ScalarUDF>>,
}

impl VisitorMut for Calls<'_> {
    type Break = SqlError;

    fn post_visit_expr(&mut self, expr: &mut SqlExpr) -> ControlFlow<SqlError> {
        match self.replace(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Calls<'_> {
    fn replace(&mut self, expr: &mut SqlExpr) -> Result<()> {
        let Some((call, model)) = row_prediction(expr)? else { return Ok(()) };
        let asked = RowCall::of(&model, self.catalog).map_err(|error| error.at(model.span))?;
        check_arguments(call, &model, asked.reads.iter().map(|(name, _)| name.as_str()))?;
        call.name = ObjectName::from(vec![quoted(&asked.name)]);
        self.functions.entry(asked.name.clone()).or_insert_with(|| Arc::new(ScalarUDF::from(asked)));
        Ok(())
    }
}

impl RowCall {
    /// What a model's statement promises, or a version that is named says.
    fn of(model: &Ident, catalog: &Catalog) -> Result<Self> {
        let (_, detail) = catalog.model_of(model)?;
        let name = normalize(model);
        let promised = || (detail.features.clone(), detail.outputs.first().cloned());
        let (reads, said): (Vec<(String, DataType)>, Option<Field>) = match catalog
            .trained_model(model, "a version in a stream")
        {
            _ if ModelReference::is_plain(&name) => promised(),
            Ok(trained) => {
                let said = answered(model, &trained, Question::Prediction)?.first().map(|field| field.as_ref().clone());
                let inputs = trained.inputs();
                let reads = inputs.fields().iter().map(|field| (field.name().clone(), field.data_type().clone()));
                (reads.collect(), said)
            }
            Err(_) if catalog.plans_again => promised(),
            Err(error) => return Err(error),
        };
        let returns = said.map_or(DataType::Null, |said| said.data_type().clone());
        // It gives another answer once the model has learnt more.
        let signature = match reads.len() {
            0 => Signature::nullary(Volatility::Stable),
            count => Signature::any(count, Volatility::Stable),
        };
        Ok(Self { name: format!("ml_predict({name})"), model: model.clone(), reads, returns, signature })
    }
}

impl ScalarUDFImpl for RowCall {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        Err(DataFusionError::NotImplemented(format!("{} only marks where a model is asked", self.name)))
    }
}
