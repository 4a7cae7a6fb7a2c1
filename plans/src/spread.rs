//! By which columns the rows that an operator emits are spread over its instances.
//!
//! What operators keep of rows that they only pass on, such as a view of what it has, is found again by other instances
//! where the changes of these rows will come: at the instance that has the hash of these columns.

use datafusion::logical_expr::Expr;

use crate::graph::{DataflowGraph, Edge, Partitioning};
use crate::ids::OperatorId;
use crate::node::{JoinKind, NodeKind, ProjectNode};

/// The columns of an operator's output (of its input, for a sink) whose hash says which instance has a row, in the order
/// of that hash; none if its rows are where they are for another reason.
#[must_use]
pub fn spread_by(graph: &DataflowGraph, operator: OperatorId) -> Option<Vec<usize>> {
    let first = |keys: &[usize]| place_all(&spread_of_input(graph, operator, 0)?, |column| place_in(keys, column));
    match &graph.node(operator).ok()?.kind {
        NodeKind::Aggregate(node) => first(&node.keys),
        NodeKind::WindowAggregate(node) => first(&node.keys),
        NodeKind::Filter(_)
        | NodeKind::Normalize(_)
        | NodeKind::TopN(_)
        | NodeKind::OverWindow(_)
        | NodeKind::Sink(_) => spread_of_input(graph, operator, 0),
        NodeKind::Project(project) => projected(graph, operator, project),
        NodeKind::Join(join) => match join.kind {
            JoinKind::Inner | JoinKind::LeftSemi | JoinKind::LeftAnti => spread_of_input(graph, operator, 0),
            JoinKind::RightSemi | JoinKind::RightAnti => spread_of_input(graph, operator, 1),
            // Beside NULLs a key is not in the output.
            _ => None,
        },
        _ => None,
    }
}

/// The columns by whose hash what comes to a port is spread.
fn spread_of_input(graph: &DataflowGraph, operator: OperatorId, port: u32) -> Option<Vec<usize>> {
    let mut edges = graph.edges.iter().filter(|edge| edge.to == operator && edge.port == port);
    let (edge, others) = (edges.next()?, edges.next());
    match (&edge.partitioning, others) {
        (Partitioning::Hash(columns), None) => Some(columns.clone()),
        (Partitioning::Forward, None) => spread_by(graph, edge.from),
        _ => None,
    }
}

/// Where a projection has the columns that its input is spread by.
fn projected(graph: &DataflowGraph, operator: OperatorId, project: &ProjectNode) -> Option<Vec<usize>> {
    let spread = spread_of_input(graph, operator, 0)?;
    let Edge { from, .. } = graph.edges.iter().find(|edge| edge.to == operator)?;
    let schema = &graph.node(*from).ok()?.schema.0;
    place_all(&spread, |column| {
        let name = schema.fields().get(column)?.name();
        let passes = |expr: &Expr| matches!(expr, Expr::Column(passed) if passed.name == *name);
        project.columns.iter().position(|projection| passes(&projection.expr.0))
    })
}

fn place_in(columns: &[usize], wanted: usize) -> Option<usize> {
    columns.iter().position(|column| *column == wanted)
}

fn place_all(columns: &[usize], place: impl Fn(usize) -> Option<usize>) -> Option<Vec<usize>> {
    columns.iter().map(|column| place(*column)).collect()
}
