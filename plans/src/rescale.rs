//! A job's graph at another parallelism.
//!
//! What is partitioned by keys can have any number of instances, and what is chained to it follows, unless it has
//! to see all rows. A source keeps its own: its instances have dealt out among themselves what there is to read.
//! Operators stay in their stages, so the state of each stage is read by the same stage.

use crate::change::change_column_index;
use crate::connector::writes_in_parallel;
use crate::error::{PlanError, Result};
use crate::graph::{DataflowGraph, Partitioning};
use crate::ids::OperatorId;
use crate::node::NodeKind;
use crate::stage::Stages;

/// The graph with so many instances of the operators that can be spread. An error says what cannot.
pub fn rescaled(graph: &DataflowGraph, parallelism: u32) -> Result<DataflowGraph> {
    let changed = spread(graph, parallelism)?;
    let operators = |stages: Stages| stages.stages.into_iter().map(|stage| stage.operators).collect::<Vec<_>>();
    if operators(Stages::of(graph)?) != operators(Stages::of(&changed)?) {
        let is_narrow = graph.nodes.iter().all(|node| node.parallelism == 1);
        let hint = if is_narrow { "; of one that begins with SET parallelism = 2 it can be" } else { "" };
        return Err(refuse(format!("its operators would be chained in another way{hint}")));
    }
    Ok(changed)
}

/// The graph with so many instances of some of its sources, given by their places, and of what is chained to them.
pub fn with_sources(graph: &DataflowGraph, sources: &[(usize, u32)], parallelism: u32) -> Result<DataflowGraph> {
    let mut changed = graph.clone();
    for (place, instances) in sources {
        changed.nodes[*place].parallelism = *instances;
    }
    if changed == *graph { Ok(changed) } else { spread(&changed, parallelism) }
}

/// The graph with so many instances of what is partitioned by keys, and what follows from that and from the sources
/// for all others.
fn spread(graph: &DataflowGraph, parallelism: u32) -> Result<DataflowGraph> {
    let mut changed = graph.clone();
    for index in 0..graph.nodes.len() {
        if let Some(instances) = instances(&changed, graph.nodes[index].id, parallelism) {
            changed.nodes[index].parallelism = instances;
        }
    }
    for index in 0..changed.edges.len() {
        let edge = &changed.edges[index];
        let (from, to) = (changed.node(edge.from)?, changed.node(edge.to)?);
        if edge.partitioning != Partitioning::Forward || from.parallelism == to.parallelism {
            continue;
        }
        // Spread anew, the changes of a row could overtake each other.
        if change_column_index(&from.schema.0).is_some() {
            return Err(refuse(format!("{} takes changes from operators that would differ in number", to.kind.name())));
        }
        changed.edges[index].partitioning = Partitioning::Rebalance;
    }
    Ok(changed)
}

/// How many instances a node gets, given those of the nodes before it; as many as it has if nothing is said.
fn instances(graph: &DataflowGraph, node: OperatorId, parallelism: u32) -> Option<u32> {
    if graph.node(node).is_ok_and(|node| is_single(&node.kind)) {
        return None;
    }
    let inputs: Vec<_> = graph.edges.iter().filter(|edge| edge.to == node).collect();
    let is_partitioned = inputs.iter().any(|edge| matches!(edge.partitioning, Partitioning::Hash(_)));
    if is_partitioned {
        return Some(parallelism);
    }
    let forward = inputs.iter().filter(|edge| edge.partitioning == Partitioning::Forward);
    let before: Vec<u32> = forward.filter_map(|edge| graph.node(edge.from).ok()).map(|from| from.parallelism).collect();
    // Of several that differ, the operator goes on with what it has.
    before.first().copied().filter(|first| before.iter().all(|other| other == first))
}

/// Whether there is one instance of an operator at any parallelism, for it has to see all rows.
fn is_single(kind: &NodeKind) -> bool {
    match kind {
        NodeKind::Aggregate(node) => node.keys.is_empty(),
        NodeKind::WindowAggregate(node) => node.keys.is_empty(),
        NodeKind::SessionWindow(node) => node.keys.is_empty(),
        NodeKind::SessionAssign(node) => node.keys.is_empty(),
        NodeKind::IntervalJoin(node) => node.left_keys.is_empty(),
        NodeKind::TopN(node) => node.partition.is_empty(),
        NodeKind::OverWindow(node) => node.partition.is_empty(),
        NodeKind::Train(_) => true,
        NodeKind::Sink(node) => !writes_in_parallel(&node.connector, !node.upsert_keys.is_empty()),
        _ => false,
    }
}

fn refuse(reason: String) -> PlanError {
    PlanError::InvalidOption(format!("the parallelism of this job cannot be changed: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

    use super::*;
    use crate::expr::StreamSchema;
    use crate::node::{SourceNode, TopNEmit, TopNNode, UnionNode};

    /// The instances and edges of a graph.
    fn shown(graph: &DataflowGraph) -> String {
        let nodes: Vec<String> = graph.nodes.iter().map(|node| node.parallelism.to_string()).collect();
        let edges = graph.edges.iter().map(|edge| match &edge.partitioning {
            Partitioning::Hash(_) => "hash",
            Partitioning::Forward => "forward",
            Partitioning::Rebalance => "rebalance",
            Partitioning::Broadcast => "broadcast",
        });
        format!("{} | {}", nodes.join(" "), edges.collect::<Vec<_>>().join(" "))
    }

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true)]))
    }

    fn source() -> NodeKind {
        NodeKind::Source(SourceNode {
            table: String::from("t"),
            connector: String::from("files"),
            options: Vec::new(),
            declared: vec![String::from("k")],
            columns: StreamSchema(schema()),
            projection: Vec::new(),
            event_time: None,
            upsert_key: Vec::new(),
        })
    }

    fn union() -> NodeKind {
        NodeKind::Union(UnionNode {})
    }

    #[test]
    fn what_is_partitioned_is_spread_and_what_follows_it_goes_along() {
        let mut graph = DataflowGraph::default();
        let mut add = |kind, parallelism| graph.add_node(kind, parallelism, schema());
        let (source, project, keyed) = (add(source(), 2), add(union(), 2), add(union(), 2));
        let (sink, total) = (add(union(), 2), add(union(), 1));
        graph.add_edge(source, project, 0, Partitioning::Forward);
        graph.add_edge(project, keyed, 0, Partitioning::Hash(vec![0]));
        graph.add_edge(keyed, sink, 0, Partitioning::Forward);
        graph.add_edge(keyed, total, 0, Partitioning::Rebalance);
        let wider = rescaled(&graph, 4).unwrap();
        assert_eq!(shown(&wider), "2 2 4 4 1 | forward hash forward rebalance");
        assert_eq!(shown(&rescaled(&wider, 1).unwrap()), "2 2 1 1 1 | forward hash forward rebalance");
        assert_eq!(rescaled(&wider, 2).unwrap(), graph);
    }

    /// A source, an operator with keys, and one behind it that ranks all rows.
    fn ranked(parallelism: u32) -> DataflowGraph {
        let mut graph = DataflowGraph::default();
        let mut add = |kind, parallelism| graph.add_node(kind, parallelism, schema());
        let (source, keyed) = (add(source(), parallelism), add(union(), parallelism));
        let top = TopNNode {
            partition: Vec::new(),
            order_by: Vec::new(),
            limit: 1,
            rank: false,
            emit: TopNEmit::OnUpdate,
            gather_ms: None,
            ttl: None,
        };
        let top = add(NodeKind::TopN(top), 1);
        graph.add_edge(source, keyed, 0, Partitioning::Hash(vec![0]));
        let gathered = if parallelism == 1 { Partitioning::Forward } else { Partitioning::Rebalance };
        graph.add_edge(keyed, top, 0, gathered);
        graph
    }

    #[test]
    fn what_has_to_see_all_rows_stays_one() {
        assert_eq!(shown(&rescaled(&ranked(2), 4).unwrap()), "2 4 1 | hash rebalance");
        let refused = rescaled(&ranked(1), 4).unwrap_err().to_string();
        assert!(refused.contains("chained in another way; of one that begins with SET parallelism = 2"), "{refused}");
        assert_eq!(rescaled(&ranked(1), 1).unwrap(), ranked(1));
    }
}
