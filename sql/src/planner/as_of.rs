//! `__as_of(version_time, as_of)`: how a temporal join travels through DataFusion's plan.
//!
//! A call in ON keeps the two time columns alive and says which they are. It takes any types, so that a
//! wrong as-of column gets this crate's own message, and no rule knows anything about it.

use arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
};

/// The function's name, which no user would think of.
pub(crate) const AS_OF: &str = "__as_of";

/// The function, for the planner's context.
pub(crate) fn function() -> ScalarUDF {
    ScalarUDF::from(AsOf { signature: Signature::any(2, Volatility::Immutable) })
}

/// A call of it as syntax.
pub(crate) fn call(version_time: SqlExpr, as_of: SqlExpr) -> SqlExpr {
    let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    let args = vec![argument(version_time), argument(as_of)];
    SqlExpr::Function(Function {
        name: ObjectName::from(vec![Ident::new(AS_OF)]),
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
pub(crate) fn arguments(expr: &Expr) -> Option<(&Expr, &Expr)> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == AS_OF => match call.args.as_slice() {
            [version_time, as_of] => Some((version_time, as_of)),
            _ => None,
        },
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AsOf {
    signature: Signature,
}

impl ScalarUDFImpl for AsOf {
    fn name(&self) -> &str {
        AS_OF
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(DataFusionError::NotImplemented(format!("{AS_OF} only marks a join")))
    }
}
