//! `mod(a, b)`: PostgreSQL's and Flink's other way to write `a % b`, which DataFusion does not know.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, VisitMut, VisitorMut,
};

use crate::ast::dotted;

/// Writes every call of `mod` in a query or an expression as `%`.
pub(crate) fn replace_modulo(syntax: &mut impl VisitMut) {
    // Nothing in this visitor breaks off.
    let _ = syntax.visit(&mut Modulo);
}

struct Modulo;

impl VisitorMut for Modulo {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && let Some((left, right)) = operands(function)
        {
            let operand = |expr: &Expr| Box::new(Expr::Nested(Box::new(expr.clone())));
            let (left, right) = (operand(left), operand(right));
            *expr = Expr::Nested(Box::new(Expr::BinaryOp { left, op: BinaryOperator::Modulo, right }));
        }
        ControlFlow::Continue(())
    }
}

/// The operands of a call of `mod` with two.
fn operands(function: &Function) -> Option<(&Expr, &Expr)> {
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(left)), FunctionArg::Unnamed(FunctionArgExpr::Expr(right))]
            if dotted(&function.name) == "mod" =>
        {
            Some((left, right))
        }
        _ => None,
    }
}
