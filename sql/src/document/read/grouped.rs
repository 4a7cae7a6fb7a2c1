//! Operators that put rows of a key together: aggregations, Top-N, window functions.

use arrow::datatypes::{DataType, Field};
use datafusion::logical_expr::Expr;
use tidemill_plans::expr::StreamExpr;
use tidemill_plans::node::{
    AggregateEmit, AggregateNode, NodeKind, OverEmit, OverWindowNode, SessionWindowNode, SortColumn, TopNEmit,
    TopNNode, WindowAggregateNode, WindowSpec,
};

use super::rows::{by_keys, positive, sorts, time_to_live, window};
use super::{Built, Inputs, fields_of, info_of};
use crate::catalog::StreamInfo;
use crate::document::columns::Places;
use crate::document::operator::{
    AggregateDocument, Call, ChangesDocument, OverEmitDocument, OverWindowDocument, SessionWindowDocument,
    TopNDocument, TopNEmitDocument, WindowAggregateDocument,
};
use crate::lower::stream::window_fields;
use crate::problem::{Problem, Read, Within, each};

/// Calls of aggregate functions, and their columns.
fn aggregates(calls: &[Call], input: &StreamInfo) -> Read<(Vec<StreamExpr>, Vec<Field>)> {
    let is_aggregate = |expr: &Expr| matches!(expr, Expr::AggregateFunction(_));
    let read = each(calls, |call| call.read(&input.schema, "call of an aggregate function", is_aggregate));
    Ok(read.within("aggregates")?.into_iter().unzip())
}

/// What comes out of an aggregation by keys.
fn keyed(keys: &[usize], others: impl IntoIterator<Item = Field>, input: &StreamInfo) -> StreamInfo {
    let keys = keys.iter().map(|key| input.schema.field(*key).clone());
    info_of(keys.chain(others).collect(), input)
}

pub(super) fn window_aggregate(aggregate: &WindowAggregateDocument, inputs: &Inputs<'_>) -> Read<Built> {
    inputs.refuse_updating("an aggregation within windows")?;
    let input = inputs.info(0);
    let keys = Places(input).of_all(&aggregate.keys).within("keys")?;
    let time = Places(input).of_time(&aggregate.time).within("time")?;
    let window = window(&aggregate.window).within("window")?;
    let (aggregates, fields) = aggregates(&aggregate.aggregates, input)?;
    let updates_within = aggregate.updates_within;
    if updates_within < 0 {
        return Err(Problem::new(format!("it is {updates_within}, and cannot be negative"))).within("updates_within");
    }
    let mut times = match window {
        // The window is the instant itself.
        WindowSpec::Tumble { size: 1, .. } => vec![keys.len()],
        _ => Vec::new(),
    };
    times.extend([keys.len() + 1, keys.len() + 2]);
    if updates_within > 0 {
        // Updates come when all of these times are past.
        times.clear();
    }
    let info = StreamInfo {
        window_times: times.clone(),
        times,
        changelog: updates_within > 0,
        ..keyed(&keys, window_fields().chain(fields), input)
    };
    let spread = by_keys(keys.clone());
    let kind = NodeKind::WindowAggregate(WindowAggregateNode { keys, time, window, aggregates, updates_within });
    Ok(Built { kind, info, spread })
}

pub(super) fn session_window(session: &SessionWindowDocument, inputs: &Inputs<'_>) -> Read<Built> {
    inputs.refuse_updating("an aggregation within sessions")?;
    let input = inputs.info(0);
    let keys = Places(input).of_all(&session.keys).within("keys")?;
    let time = Places(input).of_time(&session.time).within("time")?;
    let gap = positive(session.gap).within("gap")?;
    let (aggregates, fields) = aggregates(&session.aggregates, input)?;
    let times = vec![keys.len() + 1, keys.len() + 2];
    let info = StreamInfo { window_times: times.clone(), times, ..keyed(&keys, window_fields().chain(fields), input) };
    let spread = by_keys(keys.clone());
    Ok(Built { kind: NodeKind::SessionWindow(SessionWindowNode { keys, time, gap, aggregates }), info, spread })
}

pub(super) fn aggregate(aggregate: &AggregateDocument, inputs: &Inputs<'_>) -> Read<Built> {
    let input = inputs.info(0);
    let keys = Places(input).of_all(&aggregate.keys).within("keys")?;
    let time = aggregate.time.as_ref().map(|time| Places(input).of_time(time)).transpose().within("time")?;
    let (aggregates, fields) = aggregates(&aggregate.aggregates, input)?;
    let emit = match aggregate.emit {
        ChangesDocument::OnUpdate => AggregateEmit::OnUpdate,
        ChangesDocument::AtEnd => at_end(input, AggregateEmit::AtEnd)?,
    };
    let ttl = aggregate.ttl.map(positive).transpose().within("ttl")?;
    let info = StreamInfo { changelog: true, upsert_keys: (0..keys.len()).collect(), ..keyed(&keys, fields, input) };
    let spread = by_keys(keys.clone());
    let kind = NodeKind::Aggregate(AggregateNode { keys, time, aggregates, emit, gather_ms: aggregate.gather_ms, ttl });
    Ok(Built { kind, info, spread })
}

/// What is emitted once, when the input has ended, needs one that ends.
fn at_end<E>(input: &StreamInfo, emit: E) -> Read<E> {
    let endless = || Problem::new("the input does not end, so nothing would ever come out: on_update");
    input.bounded.then_some(emit).ok_or_else(endless).within("emit")
}

/// Refuses an order by event time of what has none, or of rows that may go.
fn in_order(time: &str, order_by: &[SortColumn], input: &StreamInfo) -> Read<usize> {
    let place = Places(input).of_time(time).within("time")?;
    match order_by.first() {
        Some(first) if first.column == place && !first.descending => Ok(place),
        _ => Err(Problem::new(format!("the order must begin with '{time}', oldest first"))).within("time"),
    }
}

pub(super) fn top_n(top: &TopNDocument, inputs: &Inputs<'_>) -> Read<Built> {
    let input = inputs.info(0);
    let partition = Places(input).of_all(&top.partition).within("partition")?;
    let order_by = sorts(&top.order_by, input).within("order_by")?;
    if top.limit == 0 {
        return Err(Problem::new("it is 0, and at least one row is kept")).within("limit");
    }
    let emit = match &top.emit {
        TopNEmitDocument::OnUpdate => TopNEmit::OnUpdate,
        TopNEmitDocument::AtEnd => at_end(input, TopNEmit::AtEnd)?,
        TopNEmitDocument::InOrder { time } => {
            let time = in_order(time, &order_by, input).within("in_order").within("emit")?;
            TopNEmit::InOrder { time }
        }
        TopNEmitDocument::OnClose { time } => {
            let place = Places(input).of_time(time).within("time").within("on_close").within("emit")?;
            if !partition.contains(&place) {
                let message = format!("'{time}' is not among the partition's columns");
                return Err(Problem::new(message)).within("time").within("on_close").within("emit");
            }
            TopNEmit::OnClose { time: place }
        }
    };
    let (times, changelog) = match emit {
        TopNEmit::OnUpdate | TopNEmit::AtEnd => (Vec::new(), true),
        TopNEmit::OnClose { time } | TopNEmit::InOrder { time } => (vec![time], false),
    };
    if !changelog {
        inputs.refuse_updating("a Top-N whose rows are final")?;
    }
    let rank = top.rank.iter().map(|name| Field::new(name, DataType::UInt64, false));
    let info = StreamInfo {
        window_times: input.window_times.iter().copied().filter(|time| times.contains(time)).collect(),
        times,
        changelog,
        ..info_of(fields_of(&input.schema).into_iter().chain(rank).collect(), input)
    };
    let ttl = time_to_live(top.ttl.as_ref(), input).within("ttl")?;
    let spread = by_keys(partition.clone());
    let (limit, rank, gather_ms) = (top.limit, top.rank.is_some(), top.gather_ms);
    Ok(Built {
        kind: NodeKind::TopN(TopNNode { partition, order_by, limit, rank, emit, gather_ms, ttl }),
        info,
        spread,
    })
}

pub(super) fn over_window(over: &OverWindowDocument, inputs: &Inputs<'_>) -> Read<Built> {
    let input = inputs.info(0);
    let partition = Places(input).of_all(&over.partition).within("partition")?;
    let order_by = sorts(&over.order_by, input).within("order_by")?;
    let is_window = |expr: &Expr| matches!(expr, Expr::WindowFunction(_));
    let read = each(&over.functions, |call| call.read(&input.schema, "call of a window function", is_window));
    let (functions, fields): (Vec<StreamExpr>, Vec<Field>) = read.within("functions")?.into_iter().unzip();
    let emit = match &over.emit {
        OverEmitDocument::OnUpdate => OverEmit::OnUpdate,
        OverEmitDocument::AtEnd => at_end(input, OverEmit::AtEnd)?,
        OverEmitDocument::InOrder { time, rows_ahead, micros_ahead } => OverEmit::InOrder {
            time: in_order(time, &order_by, input).within("in_order").within("emit")?,
            rows_ahead: *rows_ahead,
            micros_ahead: *micros_ahead,
        },
    };
    let (times, changelog) = match emit {
        OverEmit::OnUpdate | OverEmit::AtEnd => (Vec::new(), true),
        OverEmit::InOrder { time, .. } => (vec![time], false),
    };
    if !changelog {
        inputs.refuse_updating("a window function whose values are final")?;
    }
    let info = StreamInfo {
        window_times: input.window_times.iter().copied().filter(|time| times.contains(time)).collect(),
        times,
        changelog,
        ..info_of(fields_of(&input.schema).into_iter().chain(fields).collect(), input)
    };
    let ttl = time_to_live(over.ttl.as_ref(), input).within("ttl")?;
    let spread = by_keys(partition.clone());
    let kind =
        NodeKind::OverWindow(OverWindowNode { partition, order_by, functions, emit, gather_ms: over.gather_ms, ttl });
    Ok(Built { kind, info, spread })
}
