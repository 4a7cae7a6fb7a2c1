//! Joins: which kind it is, and what each condition is for.
//!
//! Conditions come from ON and from the WHERE directly above. One that reads a single side filters
//! that side below the join, where this cannot change the result. What may be moved depends on the
//! kind: a row that a join keeps without a partner must not be filtered by ON, and the NULLs beside it
//! must be seen by WHERE.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinType, NullEquality, ScalarValue};
use datafusion::logical_expr::expr::BinaryExpr;
use datafusion::logical_expr::utils::{find_valid_equijoin_key_pair, split_conjunction};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Operator, lit};
use tidemill_plans::graph::Partitioning;
use tidemill_plans::node::{JoinKind, JoinSide};

use super::expression::{column, resolve, unaliased};
use super::interval_join::find_bounds;
use super::project::Computed;
use super::scan::Leaf;
use super::stream::{Relation, Stream, make_unique};
use crate::catalog::StreamInfo;
use crate::error::{Result, SqlError};
use crate::planner::QueryPlanner;

/// The conditions of a join by what is done with them.
#[derive(Default)]
pub(super) struct Conditions {
    /// Pairs of expressions, left and right, that must be equal.
    pub(super) keys: Vec<(Expr, Expr)>,
    /// What filters the left side below the join.
    pub(super) left: Vec<Expr>,
    pub(super) right: Vec<Expr>,
    /// What else decides whether two rows are partners.
    pub(super) both: Vec<Expr>,
    /// What filters the output.
    pub(super) above: Vec<Expr>,
}

/// A join of two streams whose inputs have been lowered.
pub(super) struct Inputs<'a> {
    pub(super) join: &'a Join,
    pub(super) kind: JoinKind,
    pub(super) conditions: Conditions,
    pub(super) left: Relation,
    pub(super) right: Relation,
    /// The plan's columns of both sides, which a semi or anti join's own schema lacks.
    pub(super) schema: DFSchemaRef,
}

/// One side of a join, with exactly the columns that the join needs.
pub(super) struct Side {
    pub(super) stream: Stream,
    /// The plan's fields, then hidden key columns: indexes into the stream.
    pub(super) relation: Relation,
    pub(super) keys: Vec<usize>,
}

impl QueryPlanner<'_> {
    /// Lowers a join; `above` are the conditions of the WHERE directly above it.
    pub(super) fn lower_join(&mut self, join: &Join, above: Vec<Expr>) -> Result<Relation> {
        let lowered = self.lower_kind_of_join(join, above);
        lowered.map_err(|error| match relation_name(&join.right).and_then(|name| self.joins.get(name)) {
            Some(position) => error.at(*position),
            None => error,
        })
    }

    fn lower_kind_of_join(&mut self, join: &Join, above: Vec<Expr>) -> Result<Relation> {
        if let Some(table) = self.looked_up(&join.right) {
            return self.lower_lookup_join(join, above, table);
        }
        if self.is_temporal(&join.right) {
            return self.lower_temporal_join(join, above);
        }
        let mut inputs = self.lower_inputs(join, above)?;
        let above = std::mem::take(&mut inputs.conditions.above);
        let mut relation = match find_bounds(&inputs)? {
            Some(bounds) => self.lower_interval_join(inputs, bounds)?,
            None => self.lower_updating_join(inputs)?,
        };
        for condition in &above {
            relation = self.filter(relation, &join.schema, condition)?;
        }
        Ok(relation)
    }

    fn lower_inputs<'a>(&mut self, join: &'a Join, above: Vec<Expr>) -> Result<Inputs<'a>> {
        let kind = join_kind(join)?;
        let mut conditions = Conditions::of(join, kind, above)?;
        let left = self.lower_side(&join.left, std::mem::take(&mut conditions.left))?;
        let right = self.lower_side(&join.right, std::mem::take(&mut conditions.right))?;
        let schema = match kind.pairs() {
            true => Arc::clone(&join.schema),
            false => Arc::new(join.left.schema().join(join.right.schema())?),
        };
        Ok(Inputs { join, kind, conditions, left, right, schema })
    }

    /// Whether a plan is the right side of a temporal join.
    fn is_temporal(&self, plan: &LogicalPlan) -> bool {
        match plan {
            LogicalPlan::TableScan(scan) => {
                matches!(self.leaves.get(scan.table_name.table()), Some(Leaf::Temporal(_)))
            }
            LogicalPlan::SubqueryAlias(alias) => self.is_temporal(&alias.input),
            LogicalPlan::Projection(projection) => self.is_temporal(&projection.input),
            _ => false,
        }
    }

    /// Lowers one input of a join, with conditions that read nothing else.
    pub(super) fn lower_side(&mut self, plan: &LogicalPlan, conditions: Vec<Expr>) -> Result<Relation> {
        let relation = self.lower_where(plan, conditions)?;
        self.assign_windows(relation)
    }

    /// Projects an input to its fields and keys. Fields keep their places, then come computed keys.
    pub(super) fn keyed_side(&mut self, relation: Relation, schema: &DFSchema, keys: &[&Expr]) -> Result<Side> {
        let fields = relation.columns.len();
        let mut needed: Vec<Computed> = Vec::new();
        for index in &relation.columns {
            let name = relation.name(*index);
            needed.push(Computed { expr: column(&name), name });
        }
        let mut places = Vec::new();
        for key in keys {
            let expr = resolve(key, &relation, schema)?;
            let place = needed.iter().position(|computed| computed.expr == expr);
            places.push(place.unwrap_or(needed.len()));
            if place.is_none() {
                needed.push(Computed { name: format!("__key{}", needed.len() - fields), expr });
            }
        }
        let whole = needed.len() == fields && relation.columns.iter().copied().eq(0..relation.stream.width());
        let relation = if whole { relation } else { self.compute(&relation, needed)? };
        let relation = Relation { columns: (0..fields).collect(), ..relation };
        Ok(Side { stream: relation.stream.clone(), relation, keys: places })
    }

    /// Adds the two edges of a join: by the hash of the keys, or to its one instance where there are none.
    pub(super) fn connect_sides(&mut self, left: &Side, right: &Side, join: &Stream) {
        for (port, side) in [(0, left), (1, right)] {
            if side.keys.is_empty() {
                self.builder.connect(&side.stream, join, port);
                continue;
            }
            let keys = Partitioning::Hash(side.keys.clone());
            self.builder.graph.add_edge(side.stream.node, join.node, port, keys);
        }
    }
}

/// The kind of a join between two streams.
fn join_kind(join: &Join) -> Result<JoinKind> {
    if join.null_aware {
        let hint = "write NOT EXISTS (SELECT … WHERE b.k = a.k), which says what is meant of NULL";
        return Err(SqlError::unsupported("NOT IN (SELECT …) over columns that may be NULL", hint));
    }
    if join.null_equality == NullEquality::NullEqualsNull {
        let hint = "compare with =, or give NULL a value with COALESCE";
        return Err(SqlError::unsupported("a join in which NULL equals NULL", hint));
    }
    Ok(match join.join_type {
        JoinType::Inner => JoinKind::Inner,
        JoinType::Left => JoinKind::Left,
        JoinType::Right => JoinKind::Right,
        JoinType::Full => JoinKind::Full,
        JoinType::LeftSemi => JoinKind::LeftSemi,
        JoinType::LeftAnti => JoinKind::LeftAnti,
        JoinType::RightSemi => JoinKind::RightSemi,
        JoinType::RightAnti => JoinKind::RightAnti,
        JoinType::LeftMark | JoinType::RightMark => {
            let hint = "a condition with EXISTS or IN (SELECT …) stands alone or behind AND";
            return Err(SqlError::unsupported("a subquery under OR", hint));
        }
    })
}

/// Refuses an input whose rows change.
pub(super) fn refuse_updating(relation: &Relation) -> Result<()> {
    if relation.stream.info.changelog {
        let hint = "join windowed views, whose rows do not change";
        return Err(SqlError::unsupported("a join with updating rows", hint));
    }
    Ok(())
}

/// The name under which a query knows a plan, if it is one relation.
fn relation_name(plan: &LogicalPlan) -> Option<&str> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => Some(alias.alias.table()),
        LogicalPlan::TableScan(scan) => Some(scan.table_name.table()),
        LogicalPlan::Projection(projection) => relation_name(&projection.input),
        LogicalPlan::Filter(filter) => relation_name(&filter.input),
        _ => None,
    }
}

impl Conditions {
    /// Sorts the conditions of ON and of the WHERE above.
    pub(super) fn of(join: &Join, kind: JoinKind, above: Vec<Expr>) -> Result<Self> {
        let mut conditions = Self { keys: join.on.clone(), ..Self::default() };
        for condition in join.filter.iter().flat_map(split_conjunction).cloned() {
            conditions.add_on(condition, kind, join)?;
        }
        for condition in above {
            match kind {
                JoinKind::Inner => conditions.add_on(condition, kind, join)?,
                _ => conditions.add_above(condition, kind, join),
            }
        }
        // Constants were folded: a condition that is never true has no keys left, and any will do.
        if conditions.keys.is_empty() && conditions.on().any(is_never_true) {
            conditions.keys.push((lit(true), lit(true)));
        }
        Ok(conditions)
    }

    /// The conditions that decide about partners, besides the keys.
    fn on(&self) -> impl Iterator<Item = &Expr> {
        self.both.iter().chain(&self.left).chain(&self.right)
    }

    /// A condition of ON decides whether rows are partners: those of a side that is kept without one stay.
    fn add_on(&mut self, condition: Expr, kind: JoinKind, join: &Join) -> Result<()> {
        let (left, right) = (join.left.schema(), join.right.schema());
        match (reads(&condition, left), reads(&condition, right)) {
            (_, false) if !kind.keeps_unmatched(JoinSide::Left) => self.left.push(condition),
            (false, _) if !kind.keeps_unmatched(JoinSide::Right) => self.right.push(condition),
            (true, true) => match equal_pair(&condition, left, right)? {
                Some(pair) => self.keys.push(pair),
                None => self.both.push(condition),
            },
            _ => self.both.push(condition),
        }
        Ok(())
    }

    /// A condition above an outer, semi or anti join filters its output. It may be checked below on a side
    /// whose columns come out as they went in and whose rows are all there is to say.
    fn add_above(&mut self, condition: Expr, kind: JoinKind, join: &Join) {
        let only = |side: JoinSide| kind.keeps_unmatched(side) || kind.single_side() == Some(side);
        match (reads(&condition, join.left.schema()), reads(&condition, join.right.schema())) {
            (true, false) if kind != JoinKind::Full && only(JoinSide::Left) => self.left.push(condition),
            (false, true) if kind != JoinKind::Full && only(JoinSide::Right) => self.right.push(condition),
            _ => self.above.push(condition),
        }
    }
}

/// Whether a condition is FALSE or NULL, whatever the rows.
fn is_never_true(condition: &Expr) -> bool {
    matches!(condition, Expr::Literal(ScalarValue::Boolean(Some(false) | None), _))
}

/// Whether a condition reads a column of `schema`.
fn reads(condition: &Expr, schema: &DFSchema) -> bool {
    condition.column_refs().iter().any(|column| schema.has_column(column))
}

/// The two sides of `a = b` if each reads one input.
fn equal_pair(condition: &Expr, left: &DFSchema, right: &DFSchema) -> Result<Option<(Expr, Expr)>> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left: l, op: Operator::Eq, right: r }) => {
            Ok(find_valid_equijoin_key_pair(unaliased(l), unaliased(r), left, right)?)
        }
        _ => Ok(None),
    }
}

/// The schema of a join's pairs, left columns then right ones, and how the plan's fields map to it.
pub(super) fn joined(left: &Side, right: &Side, plan: &DFSchema, kind: JoinKind) -> (SchemaRef, Vec<usize>) {
    let left_width = left.stream.width();
    let columns: Vec<usize> =
        left.relation.columns.iter().copied().chain(right.relation.columns.iter().map(|c| left_width + c)).collect();
    let fields_of = |side: &Side, padded: bool| {
        let fields = side.stream.schema().fields().iter().map(|field| field.as_ref().clone());
        fields.map(|field| if padded { field.with_nullable(true) } else { field }).collect::<Vec<Field>>()
    };
    let mut fields = fields_of(left, kind.pads(JoinSide::Left));
    fields.extend(fields_of(right, kind.pads(JoinSide::Right)));
    let plan_names = super::stream::unique_names(plan);
    let names = (0..fields.len()).map(|index| match columns.iter().position(|column| *column == index) {
        Some(field) => plan_names.get(field).cloned().unwrap_or_default(),
        None => fields.get(index).map(|field| field.name().clone()).unwrap_or_default(),
    });
    let names = make_unique(names);
    let renamed = fields.into_iter().zip(names).map(|(field, name)| field.with_name(name));
    (Arc::new(Schema::new(renamed.collect::<Vec<_>>())), columns)
}

/// What is known of a join's output.
pub(super) fn joined_info(left: &Stream, right: &Stream, schema: SchemaRef, times: Vec<usize>) -> StreamInfo {
    let bounded = left.info.bounded && right.info.bounded;
    let is_window_time = |time: &usize| match time.checked_sub(left.width()) {
        None => left.info.window_times.contains(time),
        Some(time) => right.info.window_times.contains(&time),
    };
    let window_times = times.iter().copied().filter(is_window_time).collect();
    StreamInfo { schema, times, window_times, bounded, changelog: false, upsert_keys: Vec::new() }
}

/// What a join gives: pairs, of which `times` are event times, or the rows of one side.
pub(super) fn output_of(
    kind: JoinKind,
    left: &Side,
    right: &Side,
    pairs: &SchemaRef,
    columns: Vec<usize>,
    times: Vec<usize>,
) -> (StreamInfo, Vec<usize>) {
    let Some(side) = kind.single_side() else {
        return (joined_info(&left.stream, &right.stream, Arc::clone(pairs), times), columns);
    };
    let only = if side == JoinSide::Left { left } else { right };
    let bounded = left.stream.info.bounded && right.stream.info.bounded;
    (StreamInfo { bounded, ..only.stream.info.with_times(times) }, only.relation.columns.clone())
}

/// The names of event-time columns as a message shows them.
pub(super) fn shown_times(relation: &Relation, schema: &DFSchema) -> String {
    let names = relation.stream.info.times.iter().map(|time| shown_time(relation, schema, *time));
    names.collect::<Vec<_>>().join(" or ")
}

/// A column of the stream with its table's name. A query that does not read it has no field for it.
pub(super) fn shown_time(relation: &Relation, schema: &DFSchema, column: usize) -> String {
    let field = relation.columns.iter().position(|c| *c == column).unwrap_or_default();
    let qualifier = schema.iter().nth(field).and_then(|(qualifier, _)| qualifier.cloned());
    // DataFusion's name for a subquery that has become a join.
    let qualifier = qualifier.filter(|qualifier| !qualifier.table().starts_with("__correlated_sq"));
    Column::new(qualifier, relation.name(column)).flat_name()
}
