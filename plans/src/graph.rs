//! The dataflow graph of a job: operators and the edges between them.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use crate::connector::{RESULT_CONNECTOR, VIEW_CONNECTOR};
use crate::error::{PlanError, Result};
use crate::expr::StreamSchema;
use crate::ids::OperatorId;
use crate::node::NodeKind;

/// How rows travel along an edge.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum Partitioning {
    /// Subtask i to subtask i; both ends have the same parallelism, and the operators are chained.
    Forward,
    /// By the key group of these columns of the sending operator's output.
    Hash(Vec<usize>),
    /// Batches in turn to every subtask.
    Rebalance,
    /// Every batch to every subtask.
    Broadcast,
    /// Every batch to the first subtask, which tells the others what they have to know.
    First,
}

/// An operator of the graph.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct Node {
    /// Its place in [`DataflowGraph::nodes`].
    pub id: OperatorId,
    /// What it is called, in this graph and in those that are planned from the same statements later, though its
    /// place may be another: the object that it belongs to and what it does, such as `hot.Aggregate`.
    pub name: String,
    /// What it does.
    pub kind: NodeKind,
    /// How many instances run.
    pub parallelism: u32,
    /// The schema of its output (of its input, for a sink).
    pub schema: StreamSchema,
}

impl Node {
    /// Whether it takes the rows of a SELECT to whoever asked.
    #[must_use]
    pub fn is_result(&self) -> bool {
        matches!(&self.kind, NodeKind::Sink(sink) if sink.connector == RESULT_CONNECTOR)
    }

    /// Whether it holds what a materialized view has.
    #[must_use]
    pub fn is_view(&self) -> bool {
        matches!(&self.kind, NodeKind::Sink(sink) if sink.connector == VIEW_CONNECTOR)
    }
}

/// An edge of the graph.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Edge {
    /// The sending operator.
    pub from: OperatorId,
    /// The receiving operator.
    pub to: OperatorId,
    /// The receiver's port.
    pub port: u32,
    /// How rows are spread.
    pub partitioning: Partitioning,
}

/// How many operators may stand one behind the other. Chained operators call each other, and whoever prints a graph calls
/// itself, on threads with 2 MiB of stack.
const LEVELS_MAX: usize = 256;

/// A job's operators and edges. Nodes are in topological order: an edge always goes to a larger id.
#[derive(Debug, Clone, PartialEq, Default, bincode::Encode, bincode::Decode)]
pub struct DataflowGraph {
    /// The operators; [`OperatorId`] is an index into them.
    pub nodes: Vec<Node>,
    /// The edges; [`crate::ids::ChannelId::edge`] is an index into them.
    pub edges: Vec<Edge>,
}

impl DataflowGraph {
    /// Adds an operator behind those that exist, which belongs to no object.
    pub fn add_node(&mut self, kind: NodeKind, parallelism: u32, schema: SchemaRef) -> OperatorId {
        self.add_operator_of("", kind, parallelism, schema)
    }

    /// Adds an operator behind those that exist, which belongs to an object. Of several that do the same for it,
    /// all but the first have a number.
    pub fn add_operator_of(&mut self, object: &str, kind: NodeKind, parallelism: u32, schema: SchemaRef) -> OperatorId {
        let id = OperatorId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let base = if object.is_empty() { kind.name().to_owned() } else { format!("{object}.{}", kind.name()) };
        let mut name = base.clone();
        let mut number = 1;
        while self.nodes.iter().any(|node| node.name == name) {
            number += 1;
            name = format!("{base}_{number}");
        }
        self.nodes.push(Node { id, name, kind, parallelism, schema: StreamSchema(schema) });
        id
    }

    /// Adds an edge.
    pub fn add_edge(&mut self, from: OperatorId, to: OperatorId, port: u32, partitioning: Partitioning) {
        self.edges.push(Edge { from, to, port, partitioning });
    }

    /// The operator of this id.
    pub fn node(&self, id: OperatorId) -> Result<&Node> {
        self.nodes.get(id.0 as usize).ok_or_else(|| PlanError::InvalidGraph(format!("no node {id}")))
    }

    /// The schema of an operator's output.
    pub fn schema(&self, id: OperatorId) -> Result<SchemaRef> {
        Ok(Arc::clone(&self.node(id)?.schema.0))
    }

    /// The edges into an operator, with their indexes.
    pub fn inputs(&self, id: OperatorId) -> impl Iterator<Item = (usize, &Edge)> {
        self.edges.iter().enumerate().filter(move |(_, edge)| edge.to == id)
    }

    /// The edges out of an operator, with their indexes.
    pub fn outputs(&self, id: OperatorId) -> impl Iterator<Item = (usize, &Edge)> {
        self.edges.iter().enumerate().filter(move |(_, edge)| edge.from == id)
    }

    /// The schemas that an operator's ports receive, port 0 first. Of several edges into a port, the
    /// first names the columns; one is nullable if it is on any of them.
    pub fn input_schemas(&self, id: OperatorId) -> Result<Vec<SchemaRef>> {
        let ports = self.node(id)?.kind.ports();
        (0..ports)
            .map(|port| {
                let mut edges = self.inputs(id).map(|(_, edge)| edge).filter(|edge| edge.port as usize == port);
                let first = edges.next();
                let first = first.ok_or_else(|| PlanError::InvalidGraph(format!("{id} has nothing on port {port}")))?;
                edges.try_fold(self.schema(first.from)?, |known, edge| Ok(join_nulls(known, &self.schema(edge.from)?)))
            })
            .collect()
    }

    /// Checks the rules that the rest of the engine relies on.
    pub fn validate(&self) -> Result<()> {
        for (index, node) in self.nodes.iter().enumerate() {
            if node.id.0 as usize != index {
                return Err(PlanError::InvalidGraph(format!("node {index} calls itself {}", node.id)));
            }
            if node.parallelism == 0 || node.parallelism > crate::key_group::KEY_GROUPS {
                let name = node.kind.name();
                return Err(PlanError::InvalidGraph(format!(
                    "{name} {} has parallelism {}; 1 to {} is valid",
                    node.id,
                    node.parallelism,
                    crate::key_group::KEY_GROUPS
                )));
            }
            self.input_schemas(node.id)?;
        }
        self.edges.iter().try_for_each(|edge| self.validate_edge(edge))?;
        let levels = self.levels();
        match levels > LEVELS_MAX {
            true => Err(PlanError::TooDeep { levels, max: LEVELS_MAX }),
            false => Ok(()),
        }
    }

    /// How many operators stand one behind the other, at most.
    fn levels(&self) -> usize {
        let mut edges: Vec<&Edge> = self.edges.iter().collect();
        edges.sort_by_key(|edge| edge.to);
        // An edge goes to a larger id, so all that leads to its start has been looked at.
        let mut levels = vec![1; self.nodes.len()];
        for edge in edges {
            let (from, to) = (edge.from.0 as usize, edge.to.0 as usize);
            levels[to] = levels[to].max(levels[from] + 1);
        }
        levels.into_iter().max().unwrap_or(0)
    }

    fn validate_edge(&self, edge: &Edge) -> Result<()> {
        let (from, to) = (self.node(edge.from)?, self.node(edge.to)?);
        let invalid = |why: String| Err(PlanError::InvalidGraph(format!("edge {} to {}: {why}", edge.from, edge.to)));
        if edge.from >= edge.to {
            return invalid(String::from("edges go from lower to higher ids"));
        }
        if edge.port as usize >= to.kind.ports() {
            return invalid(format!("{} has no port {}", to.kind.name(), edge.port));
        }
        match &edge.partitioning {
            Partitioning::Forward if from.parallelism != to.parallelism => {
                invalid(format!("forward from parallelism {} to {}", from.parallelism, to.parallelism))
            }
            Partitioning::Hash(keys) if keys.is_empty() => invalid(String::from("hash without keys")),
            Partitioning::Hash(keys) if keys.iter().any(|key| *key >= from.schema.fields().len()) => {
                invalid(format!("hash keys {keys:?} exceed the schema"))
            }
            _ => Ok(()),
        }
    }
}

/// The first schema, with the columns nullable that are so in the other.
fn join_nulls(first: SchemaRef, other: &SchemaRef) -> SchemaRef {
    let nullable = |index: usize| other.fields().get(index).is_some_and(|field| field.is_nullable());
    if first.fields().iter().enumerate().all(|(index, field)| field.is_nullable() || !nullable(index)) {
        return first;
    }
    let fields = first.fields().iter().enumerate();
    let fields =
        fields.map(|(index, field)| field.as_ref().clone().with_nullable(field.is_nullable() || nullable(index)));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;
    use crate::node::{ProjectNode, UnionNode};

    fn column() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]))
    }

    #[test]
    fn levels_are_those_of_the_longest_way() {
        let mut graph = DataflowGraph::default();
        let first = graph.add_node(NodeKind::Union(UnionNode {}), 1, column());
        let mut last = first;
        for _ in 0..3 {
            let next = graph.add_node(NodeKind::Project(ProjectNode { columns: vec![] }), 1, column());
            graph.add_edge(last, next, 0, Partitioning::Forward);
            last = next;
        }
        let joined = graph.add_node(NodeKind::Union(UnionNode {}), 1, column());
        graph.add_edge(last, joined, 0, Partitioning::Forward);
        graph.add_edge(first, joined, 0, Partitioning::Forward);
        assert_eq!((graph.levels(), DataflowGraph::default().levels()), (5, 0));
    }
}
