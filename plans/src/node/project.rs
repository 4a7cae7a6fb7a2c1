//! Computes the columns of the output from each row.

use datafusion::logical_expr::Expr;

use super::source::PROCTIME_COLUMN;
use crate::expr::StreamExpr;

/// One output column.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct Projection {
    /// The column's name in the output.
    pub name: String,
    /// Its value, over the input's fields.
    pub expr: StreamExpr,
}

impl Projection {
    /// Whether it is the time at which a source read the row.
    pub(crate) fn is_proctime(&self) -> bool {
        matches!(&self.expr.0, Expr::Column(column) if column.name == PROCTIME_COLUMN)
    }
}

/// A projection. The changelog column of an updating input stays, last.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct ProjectNode {
    /// The output's columns in order.
    pub columns: Vec<Projection>,
}
