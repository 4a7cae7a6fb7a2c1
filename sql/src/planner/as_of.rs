//! `__as_of(version_time, as_of)` and `__before(version_time, time)`: how a temporal join travels through
//! DataFusion's plan.
//!
//! A call in ON keeps the two time columns alive and says which they are. It takes any types, so that a
//! wrong as-of column gets this crate's own message, and no rule knows anything about it.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
};
use tidemill_plans::node::VersionBound;

static AS_OF: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(VersionBound::AtOrBefore));
static BEFORE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(VersionBound::Before));

fn function(bound: VersionBound) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(AsOf { name: name(bound), signature: Signature::any(2, Volatility::Immutable) }))
}

/// The functions' names, which no user would think of.
fn name(bound: VersionBound) -> &'static str {
    match bound {
        VersionBound::AtOrBefore => "__as_of",
        VersionBound::Before => "__before",
    }
}

/// The function of a name, for the planner's context.
pub(crate) fn find(function: &str) -> Option<Arc<ScalarUDF>> {
    [&AS_OF, &BEFORE].into_iter().find(|known| known.name() == function).map(|known| Arc::clone(known))
}

/// A call as syntax.
pub(crate) fn call(version_time: SqlExpr, as_of: SqlExpr, bound: VersionBound) -> SqlExpr {
    let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    let args = vec![argument(version_time), argument(as_of)];
    SqlExpr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name(bound))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The arguments of a call: the version's time, and the time that it is asked for.
pub(crate) fn arguments(expr: &Expr) -> Option<(&Expr, &Expr, VersionBound)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let bounds = [VersionBound::AtOrBefore, VersionBound::Before];
    let bound = bounds.into_iter().find(|bound| call.func.name() == name(*bound))?;
    match call.args.as_slice() {
        [version_time, as_of] => Some((version_time, as_of, bound)),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AsOf {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for AsOf {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(DataFusionError::NotImplemented(format!("{} only marks a join", self.name)))
    }
}
