//! The tree that EXPLAIN prints: the graph that will run, sinks first, inputs below them, and of which
//! operators the state grows for ever. EXPLAIN ANALYZE prints it with what each operator did.

pub mod analyze;

use std::collections::HashSet;
use std::fmt::Write;

use datafusion::logical_expr::Expr;

use crate::graph::{DataflowGraph, Edge, Node, Partitioning};
use crate::growing_state::growing_state;
use crate::ids::OperatorId;
use crate::node::window_assign_micros as micros;
use crate::node::{
    AggregateEmit, JoinKind, LateWindows, ModelFreshness, NodeKind, NullEventTime, OverEmit, SortColumn,
    TemporalJoinKind, TopNEmit, UnnestColumn, VersionBound,
};
use crate::prediction::Question;

/// The column in which plans are shown, a line a row.
pub const PLAN_COLUMN: &str = "plan";

/// The graph as text, one line an operator: its name and id, what it does, how its input arrives and
/// at which parallelism. An operator with several consumers is printed once and referred to after.
#[must_use]
pub fn explain(graph: &DataflowGraph) -> String {
    let growing = growing_state(graph);
    let note = |node: &Node| {
        let growth = growing.iter().find(|growth| growth.operator == node.id)?;
        Some(format!("state grows without bound: {}", growth.what))
    };
    let mut tree = Tree::new(graph, &note);
    for node in graph.nodes.iter().rev().filter(|node| graph.outputs(node.id).next().is_none()) {
        tree.print(node, None, 0);
    }
    tree.text
}

/// A tree that is being printed.
struct Tree<'a> {
    graph: &'a DataflowGraph,
    /// What is known of an operator besides what it does: a line below its own.
    note: &'a dyn Fn(&Node) -> Option<String>,
    printed: HashSet<OperatorId>,
    text: String,
}

impl<'a> Tree<'a> {
    fn new(graph: &'a DataflowGraph, note: &'a dyn Fn(&Node) -> Option<String>) -> Self {
        Self { graph, note, printed: HashSet::new(), text: String::new() }
    }

    fn print(&mut self, node: &Node, edge: Option<&Edge>, depth: usize) {
        let graph = self.graph;
        let again = !self.printed.insert(node.id);
        let how = edge.map(|edge| format!(" -> {}", partitioning(graph, edge))).unwrap_or_default();
        let what = if again { String::from("(see above)") } else { describe(graph, node) };
        let (name, id, parallelism, indent) = (node.kind.name(), node.id.0, node.parallelism, depth * 2);
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:indent$}{name} #{id} {what} [x{parallelism}]{how}", "");
        if again {
            return;
        }
        if let Some(note) = (self.note)(node) {
            let _ = writeln!(self.text, "{:indent$}    ({note})", "");
        }
        for (_, edge) in graph.inputs(node.id) {
            self.print(&graph.nodes[edge.from.0 as usize], Some(edge), depth + 1);
        }
    }
}

fn partitioning(graph: &DataflowGraph, edge: &Edge) -> String {
    match &edge.partitioning {
        Partitioning::Forward => String::from("forward"),
        Partitioning::Hash(keys) => format!("hash({})", names(graph, edge.from, keys)),
        Partitioning::Rebalance => String::from("rebalance"),
        Partitioning::Broadcast => String::from("broadcast"),
        Partitioning::First => String::from("first"),
    }
}

/// The names of an operator's output columns.
fn names(graph: &DataflowGraph, operator: OperatorId, columns: &[usize]) -> String {
    let schema = &graph.nodes[operator.0 as usize].schema;
    let names: Vec<&str> =
        columns.iter().map(|c| schema.fields().get(*c).map_or("?", |field| field.name().as_str())).collect();
    names.join(", ")
}

/// The names of columns of an operator's input on `port`.
pub(crate) fn input_names(graph: &DataflowGraph, node: &Node, port: u32, columns: &[usize]) -> String {
    match graph.inputs(node.id).find(|(_, edge)| edge.port == port) {
        Some((_, edge)) => names(graph, edge.from, columns),
        None => String::from("?"),
    }
}

fn shown_ttl(ttl: Option<i64>) -> String {
    ttl.map(|ttl| format!(" ttl={}", micros(ttl))).unwrap_or_default()
}

/// How long a join keeps the rows of its sides.
fn shown_sides_ttl([left, right]: [Option<i64>; 2]) -> String {
    if left == right {
        return shown_ttl(left);
    }
    let side = |ttl: Option<i64>| ttl.map_or_else(|| String::from("none"), |ttl| micros(ttl).to_string());
    format!(" ttl=({}, {})", side(left), side(right))
}

fn shown_gathering(millis: Option<u64>) -> String {
    let every = millis.and_then(|millis| i64::try_from(millis).ok()?.checked_mul(1000));
    every.map(|every| format!(" every {}", micros(every))).unwrap_or_default()
}

pub(crate) fn list(items: impl IntoIterator<Item = String>) -> String {
    items.into_iter().collect::<Vec<_>>().join(", ")
}

pub(crate) fn sort_list(order_by: &[SortColumn], name: impl Fn(usize) -> String) -> String {
    list(order_by.iter().map(|sort| {
        let direction = if sort.descending { " desc" } else { "" };
        format!("{}{direction}", name(sort.column))
    }))
}

fn describe(graph: &DataflowGraph, node: &Node) -> String {
    let input = |port, columns: &[usize]| input_names(graph, node, port, columns);
    match &node.kind {
        NodeKind::Source(source) => {
            let time = source.event_time.as_ref().map(|time| {
                let skip = if time.on_null == NullEventTime::Skip { ", skips NULL" } else { "" };
                format!(" watermark({} AS {}){skip}", names(graph, node.id, &[time.column]), time.watermark)
            });
            let group = source.timing().ok().and_then(|timing| timing.watermark_group);
            let group = group.map(|group| format!(" keeps pace with group '{group}' of its worker"));
            format!(
                "{} from {}{}{}",
                source.table,
                source.connector,
                time.unwrap_or_default(),
                group.unwrap_or_default()
            )
        }
        NodeKind::Normalize(normalize) => {
            format!("last row of ({}){}", input(0, &normalize.keys), shown_ttl(normalize.ttl.map(|ttl| ttl.micros)))
        }
        NodeKind::Project(project) => list(project.columns.iter().map(|column| {
            let expr = column.expr.to_string();
            // SQL would quote a column that has a keyword's name.
            let passed_on = matches!(&column.expr.0, Expr::Column(passed) if passed.name == column.name);
            if passed_on || expr == column.name { column.name.clone() } else { format!("{expr} AS {}", column.name) }
        })),
        NodeKind::Filter(filter) => filter.predicate.to_string(),
        NodeKind::WindowAssign(assign) => format!("{} on {}", assign.window, input(0, &[assign.time])),
        NodeKind::SessionAssign(session) => format!(
            "SESSION(gap={}) on {} by ({})",
            micros(session.gap),
            input(0, &[session.time]),
            input(0, &session.keys)
        ),
        NodeKind::LateSplit(split) => match &split.windows {
            LateWindows::Fixed(window) => format!("{window} on {}", input(0, &[split.time])),
            LateWindows::Session { keys, gap } => {
                format!("SESSION(gap={}) on {} by ({})", micros(*gap), input(0, &[split.time]), input(0, keys))
            }
        },
        NodeKind::WindowAggregate(aggregate) => format!(
            "{} on {} by ({}): {}{}",
            aggregate.window,
            input(0, &[aggregate.time]),
            input(0, &aggregate.keys),
            list(aggregate.aggregates.iter().map(ToString::to_string)),
            match aggregate.updates_within {
                0 => String::new(),
                within => format!(", updated within {}", micros(within)),
            }
        ),
        NodeKind::SessionWindow(session) => format!(
            "SESSION(gap={}) on {} by ({}): {}",
            micros(session.gap),
            input(0, &[session.time]),
            input(0, &session.keys),
            list(session.aggregates.iter().map(ToString::to_string))
        ),
        NodeKind::Aggregate(aggregate) => format!(
            "by ({}): {} {}{}",
            input(0, &aggregate.keys),
            list(aggregate.aggregates.iter().map(ToString::to_string)),
            match aggregate.emit {
                AggregateEmit::OnUpdate => format!("updating{}", shown_gathering(aggregate.gather_ms)),
                AggregateEmit::AtEnd => String::from("at end"),
            },
            shown_ttl(aggregate.ttl)
        ),
        NodeKind::Join(join) => format!(
            "{} ({}) = ({}){}{}",
            join.kind.name(),
            input(0, &join.left_keys),
            input(1, &join.right_keys),
            join.filter.as_ref().map(|filter| format!(" where {filter}")).unwrap_or_default(),
            shown_sides_ttl(join.ttl)
        ),
        NodeKind::IntervalJoin(join) => format!(
            "{}({}) = ({}), {} - {} in [{}, {}]{}",
            if join.kind == JoinKind::Inner { String::new() } else { format!("{} ", join.kind.name()) },
            input(0, &join.left_keys),
            input(1, &join.right_keys),
            input(1, &[join.right_time]),
            input(0, &[join.left_time]),
            micros(join.lower),
            micros(join.upper),
            join.filter.as_ref().map(|filter| format!(" where {filter}")).unwrap_or_default()
        ),
        NodeKind::TemporalJoin(join) => format!(
            "{}({}) = ({}), newest {} {} {}{}",
            if join.kind == TemporalJoinKind::Left { "left " } else { "" },
            input(0, &join.left_keys),
            input(1, &join.right_keys),
            input(1, &[join.right_time]),
            if join.bound == VersionBound::Before { "before" } else { "as of" },
            input(0, &[join.left_time]),
            shown_ttl(join.ttl)
        ),
        NodeKind::TopN(top) => format!(
            "first {}{} by ({}) ordered by {} {}{}",
            top.limit,
            if top.rank { " with rank" } else { "" },
            input(0, &top.partition),
            sort_list(&top.order_by, |column| input(0, &[column])),
            match top.emit {
                TopNEmit::OnUpdate => format!("updating{}", shown_gathering(top.gather_ms)),
                TopNEmit::AtEnd => String::from("at end"),
                TopNEmit::OnClose { time } => format!("when {} has passed", input(0, &[time])),
                TopNEmit::InOrder { time } => format!("as {} passes", input(0, &[time])),
            },
            shown_ttl(top.ttl.map(|ttl| ttl.micros))
        ),
        NodeKind::OverWindow(over) => format!(
            "by ({}): {} {}{}",
            input(0, &over.partition),
            list(over.functions.iter().map(ToString::to_string)),
            match over.emit {
                OverEmit::OnUpdate => format!("updating{}", shown_gathering(over.gather_ms)),
                OverEmit::AtEnd => String::from("at end"),
                OverEmit::InOrder { time, rows_ahead, micros_ahead } => {
                    let rows = if rows_ahead > 0 { format!(", {rows_ahead} rows later") } else { String::new() };
                    let time_ahead =
                        if micros_ahead > 0 { format!(", {} later", micros(micros_ahead)) } else { String::new() };
                    format!("as {} passes{rows}{time_ahead}", input(0, &[time]))
                }
            },
            shown_ttl(over.ttl.map(|ttl| ttl.micros))
        ),
        NodeKind::LookupJoin(join) => format!(
            "{}({}) = ({}), {} in {}",
            if join.keeps_unmatched { "left " } else { "" },
            input(0, &join.input_keys),
            list(
                join.table
                    .keys
                    .iter()
                    .filter_map(|key| join.table.columns.fields().get(*key))
                    .map(|f| f.name().clone())
            ),
            join.table.name,
            join.table.connector
        ),
        NodeKind::Train(train) => format!(
            "{} {}{} time={} every {}: {}",
            train.model,
            train.model_type,
            train.label.map(|label| format!(" label={}", input(0, &[label]))).unwrap_or_default(),
            input(0, &[train.time]),
            micros(train.publish_every),
            input(0, &train.features)
        ),
        NodeKind::Fit(fit) => {
            let label = fit.label.map(|label| format!(" label={}", input(0, &[label]))).unwrap_or_default();
            let features = match &fit.transform {
                Some(transform) => transform.to_sql().join(", "),
                None => input(0, &fit.features),
            };
            format!("{} {}{label}: {features}", fit.model, fit.model_type)
        }
        NodeKind::Predict(predict) => format!(
            "{}{} {}: {}",
            question(predict.question),
            predict.model,
            match predict.freshness {
                ModelFreshness::Consistent => "consistent",
                ModelFreshness::Latest => "latest",
                ModelFreshness::Live => "live",
            },
            input(0, &predict.features)
        ),
        NodeKind::Union(_) => String::new(),
        NodeKind::Unnest(unnest) => {
            let mut unnested: Vec<usize> = Vec::new();
            for column in &unnest.columns {
                if let UnnestColumn::Elements(column) | UnnestColumn::Field { column, .. } = column
                    && !unnested.contains(column)
                {
                    unnested.push(*column);
                }
            }
            format!("{}{}", input(0, &unnested), if unnest.keeps_empty { ", empty ones too" } else { "" })
        }
        NodeKind::Sink(sink) => {
            let order = sort_list(&sink.order_by, |column| input(0, &[column]));
            let order = if order.is_empty() { order } else { format!(" ordered by {order}") };
            let limit = sink.limit.map(|limit| format!(" limit {limit}")).unwrap_or_default();
            format!("{} to {}{order}{limit}", sink.table, sink.connector)
        }
    }
}

/// What is asked of a model that is no prediction, as the beginning of a text.
fn question(question: Question) -> String {
    match question {
        Question::Prediction => String::new(),
        Question::Explanation { top_k_features } => format!("explanations by {top_k_features} features, "),
        Question::LocalExplanation { top_k_features, .. } => {
            format!("explanations by LIME, {top_k_features} features, ")
        }
        Question::Features => String::from("features, "),
        Question::ClassProbabilities => String::from("probabilities of all classes, "),
        Question::Anomaly { threshold: None } => String::from("anomalies, "),
        Question::Anomaly { threshold: Some(threshold) } => format!("anomalies above {}, ", f64::from(threshold)),
    }
}
