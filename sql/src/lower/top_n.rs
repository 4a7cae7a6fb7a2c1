//! Top-N: a condition on ROW_NUMBER() says that only the first rows of each partition count.
//!
//! The shape is Flink's: a subquery numbers the rows, the query around it keeps the small numbers.
//! QUALIFY says the same in one query.

use arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{BinaryExpr, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Expr, Filter, LogicalPlan, Operator, Projection, SortExpr, Window, WindowFunctionDefinition,
};
use tidemill_plans::node::{NodeKind, SortColumn, TimeToLive, TopNEmit, TopNNode};

use super::aggregate::need;
use super::expression::{column, resolve, unaliased};
use super::project::{below_projection, with_fields_replaced};
use super::stream::{Relation, Stream, with_fields};
use crate::catalog::StreamInfo;
use crate::error::{Result, SqlError};
use crate::planner::QueryPlanner;

/// Conditions over a window function, with what stands between.
struct Ranked<'a> {
    window: &'a Window,
    /// The plans between the filter and the window function, the filter's input first.
    between: Vec<&'a LogicalPlan>,
    /// Over the window function's fields.
    conditions: Vec<Expr>,
    /// Which of the window function's fields are read above the filter.
    read: Vec<bool>,
}

/// A window over a stream that has exactly the columns that it and its readers need.
pub(super) struct WindowInput {
    pub(super) stream: Stream,
    /// The places of the plan's fields among the columns.
    pub(super) fields: Vec<usize>,
    pub(super) partition: Vec<usize>,
    pub(super) order_by: Vec<SortColumn>,
    /// How long partitions are kept, in microseconds of event time; `None` for ever.
    ttl: Option<i64>,
}

/// What a condition says of the rank.
#[derive(Debug, PartialEq, Eq)]
enum RankBound {
    /// It is at most this.
    AtMost(i64),
    /// It is this.
    Exactly(i64),
    /// Nothing: every rank is so.
    Any,
    /// It is no bound from above, or not about the rank alone.
    Other,
}

impl QueryPlanner<'_> {
    /// The projection over a Top-N, or nothing if it is not over one.
    pub(super) fn lower_projected_top_n(&mut self, projection: &Projection) -> Result<Option<Relation>> {
        let LogicalPlan::Filter(filter) = projection.input.as_ref() else { return Ok(None) };
        let reads = |field: &Column| projection.expr.iter().any(|expr| expr.column_refs().contains(field));
        match self.lower_top_n(filter, &reads)? {
            Some(relation) => self.project(relation, projection).map(Some),
            None => Ok(None),
        }
    }

    /// A filter over a window function as a Top-N, or nothing if it is none. `reads` says which of the
    /// filter's fields are read above it: a rank that nobody reads need not be kept up to date.
    pub(super) fn lower_top_n(&mut self, filter: &Filter, reads: &dyn Fn(&Column) -> bool) -> Result<Option<Relation>> {
        let Some(ranked) = Ranked::find(filter, reads)? else { return Ok(None) };
        let Some(function) = ranked.row_number() else { return Ok(None) };
        let Some((limit, above)) = ranked.limit() else { return Ok(None) };
        if limit < 1 {
            let message = "a ROW_NUMBER() below 1 is asked for, but rows are counted from 1";
            return Err(SqlError::invalid(message));
        }
        let rank_column = ranked.rank_column();
        let rank = ranked.read.last() == Some(&true) || above.iter().any(|c| c.column_refs().contains(&rank_column));
        // What only reads the partition's columns takes or leaves whole partitions.
        let (below, above): (Vec<Expr>, Vec<Expr>) =
            above.into_iter().partition(|condition| reads_only(condition, &function.partition_by));
        let schema = ranked.window.input.schema();
        let relation = self.lower(&ranked.window.input)?;
        let relation = self.filter_all(relation, schema, below)?;
        let ttl = self.state_ttl_of(&ranked.window.input);
        let input = self.window_input(relation, schema, &function.partition_by, &function.order_by, ttl)?;
        let relation = self.top_n(input, limit as u64, rank);
        let mut relation = self.filter_all(relation, &ranked.window.schema, above)?;
        for plan in ranked.between.into_iter().rev() {
            if let LogicalPlan::Projection(projection) = plan {
                relation = self.project(relation, projection)?;
            }
        }
        Ok(Some(relation))
    }

    /// Projects a window function's input to what it and its readers need.
    pub(super) fn window_input(
        &mut self,
        relation: Relation,
        schema: &DFSchema,
        partition_by: &[Expr],
        order_by: &[SortExpr],
        ttl: Option<i64>,
    ) -> Result<WindowInput> {
        let relation = self.assign_windows(relation)?;
        let mut needed = Vec::new();
        let fields = relation.columns.iter().map(|index| need(&mut needed, column(&relation.name(*index)))).collect();
        if let Some(time) = relation.stream.info.times.first().filter(|_| ttl.is_some()) {
            // From when a row's time to live counts.
            need(&mut needed, column(&relation.name(*time)));
        }
        let mut partition = Vec::new();
        for expr in partition_by {
            let key = need(&mut needed, resolve(expr, &relation, schema)?);
            if !partition.contains(&key) {
                partition.push(key);
            }
        }
        let mut sorts: Vec<SortColumn> = Vec::new();
        for sort in order_by {
            let place = need(&mut needed, resolve(&sort.expr, &relation, schema)?);
            // What is ordered by, or equal throughout the partition, orders no further.
            if sorts.is_empty() || !partition.contains(&place) && sorts.iter().all(|other| other.column != place) {
                sorts.push(SortColumn { column: place, descending: !sort.asc, nulls_first: sort.nulls_first });
            }
        }
        let stream = self.project_needed(relation, needed)?;
        Ok(WindowInput { stream, fields, partition, order_by: sorts, ttl })
    }

    fn top_n(&mut self, input: WindowInput, limit: u64, rank: bool) -> Relation {
        let width = input.stream.width();
        let emit = input.emit();
        let info = StreamInfo {
            schema: with_fields(input.stream.schema(), rank.then(|| Field::new("row_number", DataType::UInt64, false))),
            changelog: emit == TopNEmit::OnUpdate,
            upsert_keys: match (limit, rank) {
                (1, _) => input.partition.clone(),
                (_, true) => input.partition.iter().copied().chain([width]).collect(),
                (_, false) => Vec::new(),
            },
            ..input.stream.info.with_times(input.times_behind(emit))
        };
        let info = if info.changelog { info } else { StreamInfo { upsert_keys: Vec::new(), ..info } };
        let kind = NodeKind::TopN(TopNNode {
            partition: input.partition.clone(),
            order_by: input.order_by.clone(),
            limit,
            rank,
            emit,
            gather_ms: if emit == TopNEmit::OnUpdate { self.gather_ms() } else { None },
            ttl: if matches!(emit, TopNEmit::OnClose { .. }) { None } else { input.time_to_live() },
        });
        let stream = self.add_grouped(&input.stream, kind, input.partition.clone(), info);
        // A rank that nobody reads is in no column; any stands for it.
        let rank_column = if rank { width } else { 0 };
        let columns = input.fields.into_iter().chain([rank_column]).collect();
        Relation { columns, ..Relation::all(stream) }
    }
}

impl<'a> Ranked<'a> {
    /// Looks for a window function below a filter, through aliases, projections and further filters.
    fn find(filter: &'a Filter, reads: &dyn Fn(&Column) -> bool) -> Result<Option<Self>> {
        let mut plan = filter.input.as_ref();
        let mut conditions = conjunction(&filter.predicate);
        let mut read: Vec<bool> = plan.schema().columns().iter().map(reads).collect();
        let mut between = Vec::new();
        loop {
            between.push(plan);
            match plan {
                LogicalPlan::Window(window) => {
                    between.pop();
                    return Ok(Some(Self { window, between, conditions, read }));
                }
                LogicalPlan::SubqueryAlias(alias) => {
                    let rewritten = conditions.into_iter().map(|condition| below_alias(condition, plan, &alias.input));
                    conditions = rewritten.collect::<Result<_>>()?;
                    plan = &alias.input;
                }
                LogicalPlan::Projection(projection) => {
                    let rewritten = conditions.into_iter().map(|condition| below_projection(condition, projection));
                    conditions = rewritten.collect::<Result<_>>()?;
                    read = read_below(&read, projection);
                    plan = &projection.input;
                }
                LogicalPlan::Filter(inner) => {
                    conditions.extend(conjunction(&inner.predicate));
                    plan = &inner.input;
                }
                _ => return Ok(None),
            }
        }
    }

    /// The window function, if it is one ROW_NUMBER() and nothing else.
    fn row_number(&self) -> Option<&'a WindowFunctionParams> {
        let [only] = self.window.window_expr.as_slice() else { return None };
        let Expr::WindowFunction(function) = unaliased(only) else { return None };
        let WindowFunction { fun: WindowFunctionDefinition::WindowUDF(udf), params } = function.as_ref() else {
            return None;
        };
        (udf.name() == "row_number").then_some(params)
    }

    fn rank_column(&self) -> Column {
        let fields = self.window.schema.fields().len();
        Column::from(self.window.schema.qualified_field(fields - 1))
    }

    /// The greatest rank that all conditions allow, and the conditions that it does not cover.
    fn limit(&self) -> Option<(i64, Vec<Expr>)> {
        let rank = self.rank_column();
        let (mut limit, mut others) = (None::<i64>, Vec::new());
        for condition in &self.conditions {
            let least = |bound: i64| limit.map_or(bound, |limit| limit.min(bound));
            match rank_bound(condition, &rank) {
                RankBound::AtMost(bound) => limit = Some(least(bound)),
                RankBound::Exactly(bound) => {
                    limit = Some(least(bound));
                    if bound != 1 {
                        others.push(condition.clone());
                    }
                }
                RankBound::Any => {}
                RankBound::Other => others.push(condition.clone()),
            }
        }
        limit.map(|limit| (limit, others))
    }
}

impl WindowInput {
    /// How long a partition is kept that no row touches.
    pub(super) fn time_to_live(&self) -> Option<TimeToLive> {
        Some(TimeToLive { micros: self.ttl?, time: self.stream.info.times.first().copied() })
    }

    /// When rows can be emitted without being taken back.
    fn emit(&self) -> TopNEmit {
        let info = &self.stream.info;
        if info.changelog {
            return TopNEmit::OnUpdate;
        }
        if let Some(time) = self.partition.iter().find(|column| info.times.contains(column)) {
            return TopNEmit::OnClose { time: *time };
        }
        match self.order_by.first() {
            Some(first) if !first.descending && info.times.contains(&first.column) => {
                TopNEmit::InOrder { time: first.column }
            }
            _ => TopNEmit::OnUpdate,
        }
    }

    /// The event-time columns that still are such behind a Top-N: rows wait for one of them alone.
    fn times_behind(&self, emit: TopNEmit) -> Vec<usize> {
        match emit {
            TopNEmit::OnUpdate | TopNEmit::AtEnd => Vec::new(),
            TopNEmit::OnClose { time } | TopNEmit::InOrder { time } => vec![time],
        }
    }
}

fn conjunction(predicate: &Expr) -> Vec<Expr> {
    split_conjunction(predicate).into_iter().cloned().collect()
}

/// A condition over an alias's fields as one over its input's.
fn below_alias(condition: Expr, alias: &LogicalPlan, input: &LogicalPlan) -> Result<Expr> {
    let below = |field| Some(Expr::Column(Column::from(input.schema().qualified_field(field))));
    with_fields_replaced(condition, alias.schema(), below)
}

/// Which of a projection's input fields are read, if these of its own are.
fn read_below(read: &[bool], projection: &Projection) -> Vec<bool> {
    let exprs = projection.expr.iter().zip(read).filter(|(_, read)| **read).map(|(expr, _)| expr);
    let columns: Vec<&Column> = exprs.flat_map(|expr| expr.column_refs()).collect();
    projection.input.schema().columns().iter().map(|column| columns.contains(&column)).collect()
}

/// Whether an expression reads columns of PARTITION BY and no others.
fn reads_only(expr: &Expr, partition_by: &[Expr]) -> bool {
    let columns = expr.column_refs();
    !columns.is_empty() && columns.into_iter().all(|name| partition_by.contains(&Expr::Column(name.clone())))
}

/// What a condition says of the column `rank`.
fn rank_bound(condition: &Expr, rank: &Column) -> RankBound {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = unaliased(condition) else { return RankBound::Other };
    let (op, value) = match (is_rank(left, rank), whole_number(right), whole_number(left), is_rank(right, rank)) {
        (true, Some(value), ..) => (*op, value),
        (_, _, Some(value), true) => match op.swap() {
            Some(op) => (op, value),
            None => return RankBound::Other,
        },
        _ => return RankBound::Other,
    };
    match op {
        Operator::LtEq => RankBound::AtMost(value),
        Operator::Lt => RankBound::AtMost(value.saturating_sub(1)),
        Operator::Eq => RankBound::Exactly(value),
        Operator::GtEq if value <= 1 => RankBound::Any,
        Operator::Gt if value <= 0 => RankBound::Any,
        _ => RankBound::Other,
    }
}

/// Whether an expression is the rank, which comparisons may have cast to a wider type.
fn is_rank(expr: &Expr, rank: &Column) -> bool {
    match unaliased(expr) {
        Expr::Column(name) => name == rank,
        Expr::Cast(cast) => cast.field.data_type().is_numeric() && is_rank(&cast.expr, rank),
        _ => false,
    }
}

/// A literal that is a whole number.
pub(super) fn whole_number(expr: &Expr) -> Option<i64> {
    match unaliased(expr) {
        Expr::Literal(value, _) if value.data_type().is_numeric() => {
            let whole = value.cast_to(&DataType::Int64).ok()?;
            let back = whole.cast_to(&value.data_type()).ok()?;
            match whole {
                ScalarValue::Int64(Some(number)) if back == *value => Some(number),
                _ => None,
            }
        }
        _ => None,
    }
}
