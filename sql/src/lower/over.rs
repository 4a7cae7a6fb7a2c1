//! OVER: window functions as operators, one for each PARTITION BY and ORDER BY of a SELECT.

use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{NullTreatment, Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Expr, Window, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use tidemill_plans::expr::StreamExpr;
use tidemill_plans::node::{NodeKind, OverEmit, OverWindowNode};

use super::expression::{resolve, unaliased};
use super::stream::{Relation, with_fields};
use super::top_n::{WindowInput, whole_number};
use crate::catalog::StreamInfo;
use crate::error::{Result, SqlError};
use crate::interval::scalar_micros;
use crate::planner::QueryPlanner;

/// Functions that say nothing without an order.
pub(crate) const ORDERED_FUNCTIONS: &[&str] = &["lag", "lead", "first_value", "last_value", "nth_value"];

/// How far behind a row its frames reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Reach {
    rows: u64,
    micros: i64,
}

impl QueryPlanner<'_> {
    pub(super) fn lower_window(&mut self, window: &Window) -> Result<Relation> {
        let schema = window.input.schema();
        let relation = self.lower(&window.input)?;
        let mut relation = self.assign_windows(relation)?;
        let ttl = self.state_ttl_of(&window.input);
        let own = relation.columns.len();
        let calls = window.window_expr.iter().map(window_function).collect::<Result<Vec<_>>>()?;
        let mut behind = Vec::new();
        for group in alike(&calls) {
            let calls: Vec<&WindowFunction> = group.iter().map(|index| calls[*index]).collect();
            let fields = group.iter().map(|index| window.schema.field(schema.fields().len() + index));
            relation = self.over_window(relation, schema, &calls, fields.collect(), ttl)?;
            behind.extend(group);
        }
        // The plan has the functions in the order in which they were written.
        let place = |call: usize| behind.iter().position(|other| *other == call).map(|place| own + place);
        let values = (0..calls.len()).filter_map(place).collect::<Vec<_>>();
        let columns = (0..own).chain(values).map(|column| relation.columns[column]).collect();
        Ok(Relation { columns, ..relation })
    }

    /// Appends the values of functions with one PARTITION BY and ORDER BY.
    fn over_window(
        &mut self,
        relation: Relation,
        schema: &DFSchema,
        calls: &[&WindowFunction],
        fields: Vec<&Arc<Field>>,
        ttl: Option<i64>,
    ) -> Result<Relation> {
        let Some(first) = calls.first() else { return Ok(relation) };
        let resolved = calls.iter().map(|call| resolve_call(call, &relation, schema)).collect::<Result<Vec<_>>>()?;
        let input = self.window_input(relation, schema, &first.params.partition_by, &first.params.order_by, ttl)?;
        let width = input.stream.width();
        let emit = input.over_emit(calls);
        let times = match emit {
            OverEmit::InOrder { time, .. } => vec![time],
            OverEmit::OnUpdate | OverEmit::AtEnd => Vec::new(),
        };
        // Under the functions' names.
        let values = calls.iter().zip(fields);
        let values =
            values.map(|(call, field)| Field::new(call.fun.name(), field.data_type().clone(), field.is_nullable()));
        let info = StreamInfo {
            schema: with_fields(input.stream.schema(), values),
            changelog: emit == OverEmit::OnUpdate,
            upsert_keys: Vec::new(),
            ..input.stream.info.with_times(times)
        };
        let kind = NodeKind::OverWindow(OverWindowNode {
            partition: input.partition.clone(),
            order_by: input.order_by.clone(),
            functions: resolved,
            emit,
            gather_ms: if emit == OverEmit::OnUpdate { self.gather_ms() } else { None },
            ttl: input.time_to_live(),
        });
        let stream = self.add_grouped(&input.stream, kind, input.partition.clone(), info);
        let columns = input.fields.into_iter().chain(width..stream.width()).collect();
        Ok(Relation { columns, ..Relation::all(stream) })
    }
}

impl WindowInput {
    /// When the values of these functions can be emitted without being taken back.
    fn over_emit(&self, calls: &[&WindowFunction]) -> OverEmit {
        let info = &self.stream.info;
        let reach = calls.iter().map(|call| reach(call)).collect::<Option<Vec<Reach>>>();
        match (self.order_by.first(), reach) {
            (Some(first), Some(reach))
                if !info.changelog && !first.descending && info.times.contains(&first.column) =>
            {
                OverEmit::InOrder {
                    time: first.column,
                    rows_ahead: reach.iter().map(|reach| reach.rows).max().unwrap_or_default(),
                    micros_ahead: reach.iter().map(|reach| reach.micros).max().unwrap_or_default(),
                }
            }
            _ => OverEmit::OnUpdate,
        }
    }
}

fn window_function(expr: &Expr) -> Result<&WindowFunction> {
    let Expr::WindowFunction(call) = unaliased(expr) else {
        return Err(SqlError::unsupported(format!("'{expr}' with OVER"), "write a window function"));
    };
    let name = call.fun.name();
    if call.params.order_by.is_empty() && ORDERED_FUNCTIONS.contains(&name) {
        return Err(no_order(name));
    }
    Ok(call)
}

/// The error about a function that needs an order.
pub(crate) fn no_order(function: &str) -> SqlError {
    let hint = "say in which order: OVER (PARTITION BY k ORDER BY ts)";
    SqlError::unsupported(format!("{function}() without ORDER BY in OVER"), hint)
}

/// The places of calls with one PARTITION BY and ORDER BY, together.
fn alike(calls: &[&WindowFunction]) -> Vec<Vec<usize>> {
    let same = |a: &WindowFunctionParams, b: &WindowFunctionParams| {
        a.partition_by == b.partition_by && a.order_by == b.order_by
    };
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let found = groups.iter_mut().find(|group| same(&calls[group[0]].params, &call.params));
        match found {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups
}

/// A call over the stream's fields, without PARTITION BY: the operator sees one partition at a time.
fn resolve_call(call: &WindowFunction, relation: &Relation, schema: &DFSchema) -> Result<StreamExpr> {
    let resolve = |expr: &Expr| resolve(expr, relation, schema);
    let params = &call.params;
    let sort = |sort: &Sort| Ok(Sort { expr: resolve(&sort.expr)?, ..sort.clone() });
    let resolved = WindowFunction {
        fun: call.fun.clone(),
        params: WindowFunctionParams {
            args: params.args.iter().map(resolve).collect::<Result<_>>()?,
            partition_by: Vec::new(),
            order_by: params.order_by.iter().map(sort).collect::<Result<_>>()?,
            filter: params.filter.as_deref().map(resolve).transpose()?.map(Box::new),
            ..params.clone()
        },
    };
    Ok(StreamExpr(Expr::from(resolved)))
}

/// How far behind a row its value depends on others; `None` if that is the end of its partition, or not
/// known before it is computed.
fn reach(call: &WindowFunction) -> Option<Reach> {
    let params = &call.params;
    if params.null_treatment == Some(NullTreatment::IgnoreNulls) {
        return None;
    }
    let WindowFunctionDefinition::WindowUDF(function) = &call.fun else { return frame_reach(&params.window_frame) };
    match function.name() {
        "row_number" | "rank" | "dense_rank" => Some(Reach::default()),
        "first_value" | "last_value" | "nth_value" => frame_reach(&params.window_frame),
        name @ ("lag" | "lead") => {
            let offset = params.args.get(1).map_or(Some(1), whole_number)?;
            let ahead = if name == "lead" { offset } else { offset.checked_neg()? };
            Some(Reach { rows: u64::try_from(ahead).unwrap_or(0), micros: 0 })
        }
        _ => None,
    }
}

fn frame_reach(frame: &WindowFrame) -> Option<Reach> {
    match (frame.units, &frame.end_bound) {
        (WindowFrameUnits::Groups, _) => None,
        (_, WindowFrameBound::Preceding(_) | WindowFrameBound::CurrentRow) => Some(Reach::default()),
        (WindowFrameUnits::Rows, WindowFrameBound::Following(ScalarValue::UInt64(rows))) => {
            Some(Reach { rows: (*rows)?, micros: 0 })
        }
        (WindowFrameUnits::Range, WindowFrameBound::Following(time)) => {
            Some(Reach { rows: 0, micros: scalar_micros(time)? })
        }
        _ => None,
    }
}
