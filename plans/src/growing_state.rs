//! Which operators keep more and more while a query runs: the one rule behind the warnings about them.
//!
//! State grows without bound where rows come for ever, and neither event time nor a time to live says what
//! can be forgotten. What a source that ends fills is bounded, and so is what windows and interval joins keep:
//! it is dropped as time passes. Joins as of a time drop all versions but the newest of each key.

use std::fmt;

use datafusion::logical_expr::Expr;

use crate::change::change_column_index;
use crate::connector::{is_bounded, reads_changes};
use crate::explain::input_names;
use crate::expr::StreamExpr;
use crate::graph::{DataflowGraph, Node};
use crate::ids::OperatorId;
use crate::node::{AggregateEmit, AggregateNode, JoinNode, NodeKind, NormalizeNode, OverEmit, OverWindowNode};
use crate::node::{SourceNode, TemporalJoinNode, TopNEmit, TopNNode};

/// Aggregates that keep every value that they have seen.
const KEEP_ALL_VALUES: &[&str] = &["array_agg", "string_agg", "median", "percentile_cont"];

/// How state gets a time to live.
const SET_TTL: &str = "SET state_ttl = '1d', or for one table SELECT /*+ STATE_TTL('table' = '1d') */";

/// An operator whose state grows without bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrowingState {
    /// The operator.
    pub operator: OperatorId,
    /// Its name as EXPLAIN prints it, such as `Join #3`.
    pub name: String,
    /// What it keeps.
    pub what: String,
    /// What would bound it.
    pub fix: String,
}

impl fmt::Display for GrowingState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the state of {} grows without bound: {}; {}", self.name, self.what, self.fix)
    }
}

/// The operators of a graph whose state grows without bound, in the graph's order.
#[must_use]
pub fn growing_state(graph: &DataflowGraph) -> Vec<GrowingState> {
    graph.nodes.iter().filter_map(|node| growth(graph, node)).collect()
}

/// What an operator keeps of rows that come for ever.
struct Kept {
    what: String,
    life: Life,
    /// What would bound it besides a time to live.
    instead: &'static str,
}

/// What a time to live does for an operator.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It is set.
    Set,
    /// It is not set, and would help.
    Unset,
    /// It drops the keys that nothing touches, and there are no keys.
    Useless,
}

impl Life {
    fn of(keys: &[usize], is_set: bool) -> Self {
        match (keys.is_empty(), is_set) {
            (true, _) => Self::Useless,
            (false, true) => Self::Set,
            (false, false) => Self::Unset,
        }
    }
}

fn growth(graph: &DataflowGraph, node: &Node) -> Option<GrowingState> {
    let endless: Vec<&SourceNode> = sources(graph, node, None).filter(|source| is_endless(source)).collect();
    if endless.is_empty() {
        return None;
    }
    let kept = match &node.kind {
        NodeKind::Normalize(normalize) => Some(of_normalize(graph, node, normalize)),
        NodeKind::Aggregate(aggregate) => of_aggregate(graph, node, aggregate),
        NodeKind::Join(join) => of_join(graph, node, join),
        NodeKind::TemporalJoin(join) => of_versions(graph, node, join),
        NodeKind::TopN(top) => of_top_n(graph, node, top),
        NodeKind::OverWindow(over) => of_over(graph, node, over),
        _ => None,
    }?;
    let fix = fix(&kept, &endless)?;
    let name = format!("{} #{}", node.kind.name(), node.id.0);
    Some(GrowingState { operator: node.id, name, what: kept.what, fix })
}

/// What would bound what an operator keeps of these sources; `None` if it is bounded.
fn fix(kept: &Kept, endless: &[&SourceNode]) -> Option<String> {
    let instead = kept.instead;
    // The watermark is that of all inputs: one without event time holds it up for ever.
    let timeless = endless.iter().find(|source| source.event_time.is_none());
    let Some(timeless) = timeless.filter(|_| kept.life != Life::Useless) else {
        return match kept.life {
            Life::Set => None,
            Life::Unset => Some(format!("{SET_TTL}, or {instead}")),
            Life::Useless => Some(String::from(instead)),
        };
    };
    let table = &timeless.table;
    Some(match kept.life {
        _ if reads_changes(&timeless.options) => format!(
            "a time to live counts event time, and {table} has none, for its rows are updated: delete those that are \
             done with"
        ),
        Life::Set => format!(
            "its time to live counts event time, and {table} has none: declare WATERMARK FOR, or a column AS PROCTIME()"
        ),
        _ => format!("{SET_TTL}, and give {table} event time (WATERMARK FOR, or a column AS PROCTIME()); or {instead}"),
    })
}

fn of_normalize(graph: &DataflowGraph, node: &Node, normalize: &NormalizeNode) -> Kept {
    Kept {
        what: format!("it keeps the last row of every ({})", input_names(graph, node, 0, &normalize.keys)),
        life: Life::of(&normalize.keys, normalize.ttl.is_some()),
        instead: "delete the rows that are done with",
    }
}

fn of_aggregate(graph: &DataflowGraph, node: &Node, aggregate: &AggregateNode) -> Option<Kept> {
    if aggregate.emit == AggregateEmit::AtEnd {
        return None;
    }
    if aggregate.keys.is_empty() {
        let call = aggregate.aggregates.iter().find(|call| keeps_values(call))?;
        let instead = "aggregate in windows (TUMBLE, HOP, SESSION)";
        return Some(Kept { what: format!("it keeps all values of {call}"), life: Life::Useless, instead });
    }
    Some(Kept {
        what: format!("it keeps a group for every ({})", input_names(graph, node, 0, &aggregate.keys)),
        life: Life::of(&aggregate.keys, aggregate.ttl.is_some()),
        instead: "group by windows (TUMBLE, HOP, SESSION)",
    })
}

fn keeps_values(call: &StreamExpr) -> bool {
    match &call.0 {
        Expr::AggregateFunction(call) => call.params.distinct || KEEP_ALL_VALUES.contains(&call.func.name()),
        _ => false,
    }
}

fn of_join(graph: &DataflowGraph, node: &Node, join: &JoinNode) -> Option<Kept> {
    let is_growing = |port: &u32| sources(graph, node, Some(*port)).any(is_endless);
    let growing: Vec<u32> = [0, 1].into_iter().filter(is_growing).collect();
    let unset: Vec<u32> = growing.iter().copied().filter(|port| join.ttl[*port as usize].is_none()).collect();
    let (life, kept) = if unset.is_empty() { (Life::Set, growing) } else { (Life::Unset, unset) };
    let side = |port: &u32| {
        let mut tables: Vec<&str> = sources(graph, node, Some(*port)).map(|source| source.table.as_str()).collect();
        tables.dedup();
        format!("its {} side ({})", if *port == 0 { "left" } else { "right" }, tables.join(", "))
    };
    Some(Kept {
        what: format!("it keeps every row of {}", kept.iter().map(side).collect::<Vec<_>>().join(" and of ")),
        life,
        instead: "bound the join in time (ON b.ts BETWEEN a.ts AND a.ts + INTERVAL '…')",
    })
}

fn of_versions(graph: &DataflowGraph, node: &Node, join: &TemporalJoinNode) -> Option<Kept> {
    if !sources(graph, node, Some(1)).any(is_endless) {
        return None;
    }
    Some(Kept {
        what: format!("it keeps the newest version of every ({})", input_names(graph, node, 1, &join.right_keys)),
        life: Life::of(&join.right_keys, join.ttl.is_some()),
        instead: "look the rows up in a table elsewhere (FOR SYSTEM_TIME AS OF PROCTIME())",
    })
}

fn of_top_n(graph: &DataflowGraph, node: &Node, top: &TopNNode) -> Option<Kept> {
    let partition = input_names(graph, node, 0, &top.partition);
    let what = match (top.emit, is_changelog(graph, node), top.partition.is_empty()) {
        (TopNEmit::OnUpdate, true, _) => String::from("it keeps every row of its updating input"),
        (TopNEmit::OnUpdate, false, false) if top.limit == 1 => format!("it keeps a row of every ({partition})"),
        (TopNEmit::OnUpdate, false, false) => format!("it keeps {} rows of every ({partition})", top.limit),
        (TopNEmit::InOrder { .. }, _, false) => format!("it keeps a count for every ({partition})"),
        _ => return None,
    };
    let life = Life::of(&top.partition, top.ttl.is_some());
    Some(Kept { what, life, instead: "rank in windows (window_start and window_end in PARTITION BY)" })
}

fn of_over(graph: &DataflowGraph, node: &Node, over: &OverWindowNode) -> Option<Kept> {
    let (what, instead) = match (over.emit, over.partition.is_empty()) {
        (OverEmit::OnUpdate, _) => {
            let instead = "order by event time (OVER (… ORDER BY ts)) over rows that do not change";
            (String::from("it keeps every row of its input"), instead)
        }
        (OverEmit::InOrder { .. }, false) => {
            let partition = input_names(graph, node, 0, &over.partition);
            (format!("it keeps values for every ({partition})"), "aggregate in windows (TUMBLE, HOP, SESSION)")
        }
        _ => return None,
    };
    Some(Kept { what, life: Life::of(&over.partition, over.ttl.is_some()), instead })
}

fn is_changelog(graph: &DataflowGraph, node: &Node) -> bool {
    let inputs = graph.input_schemas(node.id).unwrap_or_default();
    inputs.iter().any(|schema| change_column_index(schema).is_some())
}

/// The sources that an operator reads, through others too, in the graph's order: on one port, or on all.
fn sources<'a>(graph: &'a DataflowGraph, node: &Node, port: Option<u32>) -> impl Iterator<Item = &'a SourceNode> {
    let mut read = vec![false; graph.nodes.len()];
    let edges = graph.inputs(node.id).filter(|(_, edge)| port.is_none_or(|port| edge.port == port));
    let mut next: Vec<OperatorId> = edges.map(|(_, edge)| edge.from).collect();
    while let Some(operator) = next.pop() {
        if !std::mem::replace(&mut read[operator.0 as usize], true) {
            next.extend(graph.inputs(operator).map(|(_, edge)| edge.from));
        }
    }
    graph.nodes.iter().zip(read).filter(|(_, read)| *read).filter_map(|(node, _)| match &node.kind {
        NodeKind::Source(source) => Some(source),
        _ => None,
    })
}

fn is_endless(source: &SourceNode) -> bool {
    // Of a connector that is not known, nothing is.
    !is_bounded(&source.connector, &source.options).unwrap_or(true)
}
