//! Leaves out of a source what nobody reads, once all readers are known.
//!
//! A connector does not decode a column that is left out, so a value in it that does not fit makes no
//! bad row. Columns that are declared NOT NULL are decoded and checked nevertheless: they say which
//! rows there are, and the optimiser has relied on them.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::logical_expr::Expr;
use tidemill_plans::expr::StreamSchema;
use tidemill_plans::graph::{DataflowGraph, Partitioning};
use tidemill_plans::ids::OperatorId;
use tidemill_plans::node::{NodeKind, add_columns};

use crate::error::Result;

/// Narrows all sources of a graph to what is read.
pub(crate) fn prune_sources(graph: &mut DataflowGraph) -> Result<()> {
    for index in 0..graph.nodes.len() {
        let (id, NodeKind::Source(source)) = (graph.nodes[index].id, &graph.nodes[index].kind) else { continue };
        let schema = graph.schema(id)?;
        let mut wanted = Wanted { schema: &schema, columns: vec![false; schema.fields().len()] };
        let mut followers = Vec::new();
        if !wanted.by_readers(graph, id, &mut followers)? {
            continue;
        }
        source.add_needed(&schema, &mut wanted.columns)?;
        if wanted.columns.contains(&false) {
            let columns = wanted.columns;
            narrow(graph, id, &followers, &columns);
        }
    }
    Ok(())
}

/// Which of a source's columns are wanted.
struct Wanted<'a> {
    schema: &'a SchemaRef,
    columns: Vec<bool>,
}

impl Wanted<'_> {
    /// Adds what the readers of an operator, which passes the source's columns on, read. False if one of
    /// them wants all columns in their places. `followers` are those that pass them on.
    fn by_readers(&mut self, graph: &DataflowGraph, id: OperatorId, followers: &mut Vec<OperatorId>) -> Result<bool> {
        for (_, edge) in graph.outputs(id) {
            if !matches!(edge.partitioning, Partitioning::Forward | Partitioning::Rebalance | Partitioning::Broadcast) {
                return Ok(false);
            }
            match &graph.node(edge.to)?.kind {
                NodeKind::Project(project) => project.columns.iter().for_each(|column| self.by_expr(&column.expr.0)),
                NodeKind::Filter(filter) => {
                    self.by_expr(&filter.predicate.0);
                    followers.push(edge.to);
                    if !self.by_readers(graph, edge.to, followers)? {
                        return Ok(false);
                    }
                }
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    fn by_expr(&mut self, expr: &Expr) {
        add_columns(expr, self.schema, &mut self.columns);
    }
}

/// Leaves the other columns out of a source and of the operators that pass its columns on.
fn narrow(graph: &mut DataflowGraph, id: OperatorId, followers: &[OperatorId], wanted: &[bool]) {
    for operator in followers.iter().chain([&id]) {
        let node = &mut graph.nodes[operator.0 as usize];
        node.schema = StreamSchema(chosen(&node.schema.0, |index| wanted[index]));
        if let NodeKind::Source(source) = &mut node.kind {
            source.narrow(wanted);
        }
    }
}

fn chosen(schema: &SchemaRef, is_chosen: impl Fn(usize) -> bool) -> SchemaRef {
    let fields = schema.fields().iter().enumerate().filter(|(index, _)| is_chosen(*index));
    Arc::new(Schema::new(fields.map(|(_, field)| Arc::clone(field)).collect::<Vec<_>>()))
}
