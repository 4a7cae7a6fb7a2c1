//! A job's graph at another parallelism.
//!
//! What is partitioned by keys can have any number of instances, and what is chained to it follows, unless it has
//! to see all rows. A source keeps its own: its instances have dealt out among themselves what there is to read.
//! Operators stay in their stages, so the state of each stage is read by the same stage.

use crate::change::change_column_index;
use crate::connector::writes_in_parallel;
use crate::error::{PlanError, Result};
use crate::graph::{DataflowGraph, Node, Partitioning};
use crate::ids::OperatorId;
use crate::node::NodeKind;
use crate::spread::spread_by;
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
    check_views(graph, &changed)?;
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

/// An error if other instances of a view would not find what it has where its changes come.
fn check_views(graph: &DataflowGraph, changed: &DataflowGraph) -> Result<()> {
    for (node, before) in changed.nodes.iter().zip(&graph.nodes).filter(|(node, _)| node.is_view()) {
        let is_updating = change_column_index(&node.schema.0).is_some();
        if is_updating && node.parallelism != before.parallelism && spread_by(changed, node.id).is_none() {
            return Err(refuse(format!("what {} has is not spread by columns of its own", node.name)));
        }
    }
    Ok(())
}

/// How many instances a node gets, given those of the nodes before it; as many as it has if nothing is said.
fn instances(graph: &DataflowGraph, node: OperatorId, parallelism: u32) -> Option<u32> {
    if graph.node(node).is_ok_and(is_single) {
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
fn is_single(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Aggregate(node) => node.keys.is_empty(),
        NodeKind::WindowAggregate(node) => node.keys.is_empty(),
        NodeKind::SessionWindow(node) => node.keys.is_empty(),
        NodeKind::SessionAssign(node) => node.keys.is_empty(),
        NodeKind::IntervalJoin(node) => node.left_keys.is_empty(),
        NodeKind::TopN(node) => node.partition.is_empty(),
        NodeKind::OverWindow(node) => node.partition.is_empty(),
        NodeKind::Train(_) | NodeKind::Fit(_) => true,
        NodeKind::Sink(_) if node.is_view() => is_single_view(node),
        NodeKind::Sink(node) => !writes_in_parallel(&node.connector, !node.upsert_keys.is_empty()),
        _ => false,
    }
}

/// A view that is updated and has no key takes changes from one instance alone.
fn is_single_view(node: &Node) -> bool {
    let is_keyed = matches!(&node.kind, NodeKind::Sink(sink) if !sink.upsert_keys.is_empty());
    change_column_index(&node.schema.0).is_some() && !is_keyed
}

fn refuse(reason: String) -> PlanError {
    PlanError::InvalidOption(format!("the parallelism of this job cannot be changed: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
    use datafusion::logical_expr::col;

    use super::*;
    use crate::change::with_change_column;
    use crate::connector::VIEW_CONNECTOR;
    use crate::expr::{StreamExpr, StreamSchema};
    use crate::node::{
        AggregateEmit, AggregateNode, ProjectNode, Projection, SinkNode, SourceNode, TopNEmit, TopNNode, UnionNode,
    };

    /// The instances and edges of a graph.
    fn shown(graph: &DataflowGraph) -> String {
        let nodes: Vec<String> = graph.nodes.iter().map(|node| node.parallelism.to_string()).collect();
        let edges = graph.edges.iter().map(|edge| match &edge.partitioning {
            Partitioning::Hash(_) => "hash",
            Partitioning::Forward => "forward",
            Partitioning::Rebalance => "rebalance",
            Partitioning::Broadcast => "broadcast",
            Partitioning::First => "first",
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

    /// An aggregate, a projection that turns its columns round, and a view of that.
    fn viewed(keys: Vec<usize>) -> DataflowGraph {
        let field = |name: &str| Field::new(name, DataType::Int64, true);
        let plain = |names: &[&str]| Arc::new(Schema::new(names.iter().map(|name| field(name)).collect::<Vec<_>>()));
        let (grouped, turned) =
            (with_change_column(&plain(&["a", "b", "n"])), with_change_column(&plain(&["n", "b", "a"])));
        let aggregate = AggregateNode {
            keys: vec![1, 0],
            time: None,
            aggregates: Vec::new(),
            emit: AggregateEmit::OnUpdate,
            gather_ms: None,
            ttl: None,
        };
        let passed = |name: &str| Projection { name: name.to_owned(), expr: StreamExpr(col(name)) };
        let project = ProjectNode { columns: ["n", "b", "a"].map(passed).into() };
        let sink = SinkNode {
            table: String::from("v"),
            connector: VIEW_CONNECTOR.to_owned(),
            options: Vec::new(),
            time: None,
            upsert_keys: keys,
            order_by: Vec::new(),
            limit: None,
            live: false,
        };
        let mut graph = DataflowGraph::default();
        let source = graph.add_node(source(), 2, plain(&["b", "a"]));
        let aggregate = graph.add_node(NodeKind::Aggregate(aggregate), 2, grouped);
        let project = graph.add_node(NodeKind::Project(project), 2, Arc::clone(&turned));
        let sink = graph.add_node(NodeKind::Sink(sink), 2, turned);
        graph.add_edge(source, aggregate, 0, Partitioning::Hash(vec![1, 0]));
        graph.add_edge(aggregate, project, 0, Partitioning::Forward);
        graph.add_edge(project, sink, 0, Partitioning::Forward);
        graph
    }

    #[test]
    fn a_view_of_changes_goes_along_if_it_has_a_key() {
        let graph = viewed(vec![1, 2]);
        let view = graph.nodes[3].id;
        assert_eq!(spread_by(&graph, graph.nodes[1].id), Some(vec![0, 1]));
        // In the order of the hash, not of the view's key.
        assert_eq!(spread_by(&graph, view), Some(vec![2, 1]));
        assert_eq!(shown(&rescaled(&graph, 4).unwrap()), "2 4 4 4 | hash forward forward");
        assert!(rescaled(&viewed(Vec::new()), 4).unwrap_err().to_string().contains("takes changes from operators"));
        let mut gathered = graph;
        gathered.edges[0].partitioning = Partitioning::Rebalance;
        assert_eq!(spread_by(&gathered, view), None);
    }
}
