//! A job's graph at another parallelism.
//!
//! What is partitioned by keys can have any number of instances, and what is chained to it follows. A source keeps
//! its own: its instances have dealt out among themselves what there is to read. Operators stay in their stages, so
//! the state of each stage is read by the same stage.

use crate::change::change_column_index;
use crate::error::{PlanError, Result};
use crate::graph::{DataflowGraph, Partitioning};
use crate::ids::OperatorId;
use crate::stage::Stages;

/// The graph with so many instances of the operators that can be spread. An error says what cannot.
pub fn rescaled(graph: &DataflowGraph, parallelism: u32) -> Result<DataflowGraph> {
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
    let operators = |stages: Stages| stages.stages.into_iter().map(|stage| stage.operators).collect::<Vec<_>>();
    if operators(Stages::of(graph)?) != operators(Stages::of(&changed)?) {
        return Err(refuse(String::from("its operators would be chained in another way")));
    }
    Ok(changed)
}

/// How many instances a node gets, given those of the nodes before it; as many as it has if nothing is said.
fn instances(graph: &DataflowGraph, node: OperatorId, parallelism: u32) -> Option<u32> {
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

fn refuse(reason: String) -> PlanError {
    PlanError::InvalidOption(format!("the parallelism of this job cannot be changed: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

    use super::*;
    use crate::expr::StreamSchema;
    use crate::node::{NodeKind, SourceNode, UnionNode};

    fn source(schema: &SchemaRef) -> SourceNode {
        SourceNode {
            table: String::from("t"),
            connector: String::from("datagen"),
            options: vec![],
            declared: vec![],
            columns: StreamSchema(Arc::clone(schema)),
            projection: vec![],
            event_time: None,
            upsert_key: Vec::new(),
        }
    }

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

    #[test]
    fn what_is_partitioned_is_spread_and_what_follows_it_goes_along() {
        let schema = Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true)]));
        let mut graph = DataflowGraph::default();
        let source = graph.add_node(NodeKind::Source(source(&schema)), 2, Arc::clone(&schema));
        let mut add = |parallelism| graph.add_node(NodeKind::Union(UnionNode {}), parallelism, Arc::clone(&schema));
        let (project, keyed, sink, total) = (add(2), add(2), add(2), add(1));
        graph.add_edge(source, project, 0, Partitioning::Forward);
        graph.add_edge(project, keyed, 0, Partitioning::Hash(vec![0]));
        graph.add_edge(keyed, sink, 0, Partitioning::Forward);
        graph.add_edge(keyed, total, 0, Partitioning::Rebalance);
        let wider = rescaled(&graph, 4).unwrap();
        assert_eq!(shown(&wider), "2 2 4 4 1 | forward hash forward rebalance");
        assert_eq!(shown(&rescaled(&wider, 1).unwrap()), "2 2 1 1 1 | forward hash forward rebalance");
        assert_eq!(rescaled(&wider, 2).unwrap(), graph);
    }
}
