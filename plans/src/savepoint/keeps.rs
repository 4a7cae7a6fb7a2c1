//! What the state of an operator means, told so that a later release and an edited query can be compared with it.
//!
//! The words are part of the savepoints' format: where they change, state that is the same is refused. What only
//! says when results are emitted, or for how long state is kept, is no part of them.

use arrow::datatypes::Schema;

use super::Keeps;
use crate::connector::{INSERT_OPTION, STARTUP_MODE_OPTION};
use crate::explain::{input_names, list, sort_list};
use crate::expr::StreamExpr;
use crate::graph::{DataflowGraph, Node};
use crate::node::window_assign_micros as micros;
use crate::node::{JoinKind, LateWindows, ModelFreshness, NodeKind, TemporalJoinKind, VersionBound};
use crate::pushed::SEAM;

/// Options that say how fast or by whom something is read or written, and not what; and where a source began, or what a
/// sink's files are called, which mean nothing to one that goes on.
const PASSING_OPTIONS: &[&str] = &[
    "rows_per_second",
    "idle_timeout",
    "watermark_group",
    "watermark_max_drift",
    "user",
    "password",
    INSERT_OPTION,
    STARTUP_MODE_OPTION,
    SEAM,
];

/// What a node keeps; nothing if it has no state, or none but event times.
pub(super) fn of(graph: &DataflowGraph, node: &Node) -> Option<Keeps> {
    let what = what(graph, node)?;
    let ports = match &node.kind {
        NodeKind::Source(_) => 0,
        // The other one brings versions of a model, which have one schema.
        NodeKind::Predict(_) => 1,
        kind => kind.ports(),
    };
    let schemas = graph.input_schemas(node.id).unwrap_or_default();
    Some(Keeps { what, inputs: schemas.iter().take(ports).map(|schema| columns(schema)).collect() })
}

fn what(graph: &DataflowGraph, node: &Node) -> Option<String> {
    let input = |port, columns: &[usize]| input_names(graph, node, port, columns);
    Some(match &node.kind {
        NodeKind::Source(source) => {
            // What is made at another pace is made in other blocks.
            let is_generated = matches!(source.connector.as_str(), "datagen" | "nexmark");
            let pace = source.options.iter().find(|(key, _)| is_generated && key == "rows_per_second");
            let pace = pace.map(|(_, rate)| format!(" at {rate} rows a second")).unwrap_or_default();
            with_options("read from", &source.connector, &source.options) + &pace
        }
        NodeKind::Sink(sink) => with_options("written to", &sink.connector, &sink.options),
        NodeKind::Normalize(normalize) => format!("the last row of ({})", input(0, &normalize.keys)),
        NodeKind::SessionAssign(session) => {
            let (time, keys) = (input(0, &[session.time]), input(0, &session.keys));
            format!("SESSION(gap={}) on {time} by ({keys})", micros(session.gap))
        }
        NodeKind::WindowAggregate(node) => {
            let (time, keys) = (input(0, &[node.time]), input(0, &node.keys));
            format!("{} on {time} by ({keys}): {}", node.window, calls(&node.aggregates))
        }
        NodeKind::SessionWindow(node) => {
            let (time, keys) = (input(0, &[node.time]), input(0, &node.keys));
            format!("SESSION(gap={}) on {time} by ({keys}): {}", micros(node.gap), calls(&node.aggregates))
        }
        NodeKind::Aggregate(node) => format!("by ({}): {}", input(0, &node.keys), calls(&node.aggregates)),
        NodeKind::Join(join) => {
            let (left, right) = (input(0, &join.left_keys), input(1, &join.right_keys));
            format!("{} join of ({left}) = ({right}){}", join.kind.name(), condition(join.filter.as_ref()))
        }
        NodeKind::IntervalJoin(join) => {
            let (left, right) = (input(0, &join.left_keys), input(1, &join.right_keys));
            let kind = if join.kind == JoinKind::Inner { "" } else { join.kind.name() };
            let (from, to) = (input(0, &[join.left_time]), input(1, &[join.right_time]));
            let bounds = format!("{to} - {from} in [{}, {}]", micros(join.lower), micros(join.upper));
            format!("{kind} join of ({left}) = ({right}), {bounds}{}", condition(join.filter.as_ref()))
        }
        NodeKind::TemporalJoin(join) => {
            let (left, right) = (input(0, &join.left_keys), input(1, &join.right_keys));
            let kind = if join.kind == TemporalJoinKind::Left { "left " } else { "" };
            let bound = if join.bound == VersionBound::Before { "before" } else { "as of" };
            let (at, version) = (input(0, &[join.left_time]), input(1, &[join.right_time]));
            format!("{kind}join of ({left}) = ({right}), newest {version} {bound} {at}")
        }
        NodeKind::TopN(top) => {
            let order = sort_list(&top.order_by, |column| input(0, &[column]));
            format!("the first {} by ({}) ordered by {order}", top.limit, input(0, &top.partition))
        }
        NodeKind::OverWindow(over) => {
            let functions = list(over.functions.iter().map(ToString::to_string));
            format!("by ({}): {functions}", input(0, &over.partition))
        }
        NodeKind::Train(train) => {
            let label = train.label.map(|label| format!("of {} ", input(0, &[label]))).unwrap_or_default();
            format!("{} {label}from ({})", train.model_type, input(0, &train.features))
        }
        NodeKind::Fit(fit) => {
            let label = fit.label.map(|label| format!("{} from ", input(0, &[label]))).unwrap_or_default();
            format!("rows of {label}({}) for {}", input(0, &fit.features), fit.model)
        }
        NodeKind::Predict(predict) if predict.freshness == ModelFreshness::Live => {
            format!("the versions of {} and since when each answers", predict.model)
        }
        NodeKind::Predict(predict) => format!("rows for {} and its versions", predict.model),
        NodeKind::LateSplit(split) => match &split.windows {
            LateWindows::Fixed(window) => format!("{window} on {}", input(0, &[split.time])),
            LateWindows::Session { keys, gap } => {
                format!("SESSION(gap={}) on {} by ({})", micros(*gap), input(0, &[split.time]), input(0, keys))
            }
        },
        NodeKind::Project(_)
        | NodeKind::Filter(_)
        | NodeKind::WindowAssign(_)
        | NodeKind::LookupJoin(_)
        | NodeKind::Union(_)
        | NodeKind::Unnest(_) => return None,
    })
}

fn calls(aggregates: &[StreamExpr]) -> String {
    list(aggregates.iter().map(ToString::to_string))
}

fn condition(filter: Option<&StreamExpr>) -> String {
    filter.map(|filter| format!(" where {filter}")).unwrap_or_default()
}

fn with_options(verb: &str, connector: &str, options: &[(String, String)]) -> String {
    let kept = options.iter().filter(|(key, _)| !PASSING_OPTIONS.contains(&key.as_str()));
    let mut kept: Vec<String> = kept.map(|(key, value)| format!("{key} '{value}'")).collect();
    kept.sort();
    let options = if kept.is_empty() { String::new() } else { format!(" ({})", kept.join(", ")) };
    format!("{verb} {connector}{options}")
}

fn columns(schema: &Schema) -> Vec<(String, String)> {
    schema.fields().iter().map(|field| (field.name().clone(), field.data_type().to_string())).collect()
}
