//! Computes the columns of the output from each row.

use crate::expr::StreamExpr;

/// One output column.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct Projection {
    /// The column's name in the output.
    pub name: String,
    /// Its value, over the input's fields.
    pub expr: StreamExpr,
}

/// A projection. The changelog column of an updating input stays, last.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct ProjectNode {
    /// The output's columns in order.
    pub columns: Vec<Projection>,
}
