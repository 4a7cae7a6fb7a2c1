//! Columns and conditions: Project, Filter and WindowAssign operators, where one is needed at all.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, ExprSchemable, Filter, LogicalPlan, Projection as PlanProjection};
use datafusion::sql::utils::UNNEST_PLACEHOLDER;
use tidemill_plans::expr::StreamExpr;
use tidemill_plans::node::{FilterNode, NodeKind, ProjectNode, Projection, SessionAssignNode, WindowAssignNode};

use super::expression::{column, plain_column, resolve, resolve_with_calls, unaliased, window_use};
use super::row_predictions::call_in;
use super::stream::{
    Relation, Stream, WINDOW_COLUMNS, WindowKind, Windows, make_unique_beside, unique_names, with_windows,
};
use crate::catalog::StreamInfo;
use crate::error::{Result, SqlError};
use crate::planner::QueryPlanner;

/// A column that a Project operator computes.
pub(super) struct Computed {
    pub(super) name: String,
    /// Over the fields of the stream; a plain column is passed on.
    pub(super) expr: Expr,
}

impl QueryPlanner<'_> {
    pub(super) fn lower_projection(&mut self, projection: &PlanProjection) -> Result<Relation> {
        if let Some(relation) = self.lower_projected_top_n(projection)? {
            return Ok(relation);
        }
        let relation = self.lower(&projection.input)?;
        self.project(relation, projection)
    }

    pub(super) fn lower_filter(&mut self, filter: &Filter) -> Result<Relation> {
        if let Some(relation) = self.lower_top_n(filter, &|_| true)? {
            return Ok(relation);
        }
        let conditions = split_conjunction(&filter.predicate).into_iter().cloned().collect();
        self.lower_where(&filter.input, conditions)
    }

    /// Lowers a plan and keeps the rows for which all conditions hold. A join takes them over, also
    /// through a projection that only chooses columns.
    pub(super) fn lower_where(&mut self, plan: &LogicalPlan, conditions: Vec<Expr>) -> Result<Relation> {
        match plan {
            LogicalPlan::Join(join) => return self.lower_join(join, conditions),
            LogicalPlan::Filter(filter) => {
                let inner = split_conjunction(&filter.predicate).into_iter().cloned();
                return self.lower_where(&filter.input, inner.chain(conditions).collect());
            }
            LogicalPlan::Projection(projection) if chooses_from_join(projection) => {
                let below = conditions.into_iter().map(|condition| below_projection(condition, projection));
                let relation = self.lower_where(&projection.input, below.collect::<Result<_>>()?)?;
                return self.project(relation, projection);
            }
            _ => {}
        }
        let relation = self.lower(plan)?;
        self.filter_all(relation, plan.schema(), conditions)
    }

    /// Keeps the rows for which all conditions, over the plan's `schema`, are true.
    pub(super) fn filter_all(
        &mut self,
        relation: Relation,
        schema: &DFSchema,
        conditions: Vec<Expr>,
    ) -> Result<Relation> {
        match conditions.into_iter().reduce(Expr::and) {
            Some(predicate) => self.filter(relation, schema, &predicate),
            None => Ok(relation),
        }
    }

    pub(super) fn project(&mut self, relation: Relation, projection: &PlanProjection) -> Result<Relation> {
        let (input, expr) = (projection.input.schema(), &projection.expr);
        let plain: Vec<Option<usize>> = expr.iter().map(|expr| plain_column(expr, &relation, input)).collect();
        if let Some(columns) = plain.iter().copied().collect::<Option<Vec<usize>>>() {
            return Ok(Relation { columns, ..relation });
        }
        let mut computed = expr.iter().zip(&plain).filter(|(_, plain)| plain.is_none());
        // A model is asked about rows in their windows.
        let in_windows = |expr| relation.windows.is_some() && call_in(expr).is_some();
        if computed.any(|(expr, _)| window_use(expr, &relation, input).0 || in_windows(expr)) {
            let relation = self.assign_windows(relation)?;
            return self.project(relation, projection);
        }
        let (mut new, mut columns, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for (field, (name, expr)) in unique_names(&projection.schema).into_iter().zip(expr).enumerate() {
            match plain.get(field).copied().flatten().filter(|index| relation.is_window_column(*index)) {
                Some(index) => waiting.push((field, index - relation.stream.width())),
                None => {
                    let expr = resolve_with_calls(expr, &relation, input)?;
                    new.push(Computed { name: readable(name, &expr), expr });
                }
            }
            columns.push(new.len().saturating_sub(1));
        }
        // Waiting windows need their time and keys, whether the query still sees them or not.
        if let Some(windows) = &relation.windows {
            for index in windows.kind.keys().iter().chain([&windows.time]) {
                let needed = column(&relation.name(*index));
                if !new.iter().any(|computed| computed.expr == needed) {
                    new.push(Computed { name: relation.name(*index), expr: needed });
                }
            }
        }
        let result = self.compute(&relation, new)?;
        for (field, window) in waiting {
            columns[field] = result.stream.width() + window;
        }
        Ok(Relation { columns, ..result })
    }

    /// A Project operator. The relation that comes out has all of its columns, and still waits for its
    /// windows if their time is among them.
    pub(super) fn compute(&mut self, relation: &Relation, columns: Vec<Computed>) -> Result<Relation> {
        if columns.iter().any(|computed| call_in(&computed.expr).is_some()) {
            let (names, exprs): (Vec<_>, Vec<_>) = columns.into_iter().map(|of| (of.name, of.expr)).unzip();
            let (stream, exprs) = self.with_predictions(relation.stream.clone(), exprs)?;
            let columns = names.into_iter().zip(exprs).map(|(name, expr)| Computed { name, expr }).collect();
            return self.compute(&Relation { stream, ..relation.clone() }, columns);
        }
        let stream = &relation.stream;
        let input = DFSchema::try_from(Arc::clone(stream.schema()))?;
        let passed: Vec<Option<usize>> = columns.iter().map(|computed| passed_column(&computed.expr, stream)).collect();
        // While windows wait, their columns' names are taken: conditions on them are by name.
        let reserved = if relation.windows.is_some() { &WINDOW_COLUMNS[..] } else { &[] };
        let names = make_unique_beside(reserved, columns.iter().map(|computed| computed.name.clone()));
        let (mut fields, mut projections) = (Vec::new(), Vec::new());
        for (name, Computed { expr, .. }) in names.into_iter().zip(columns) {
            fields.push(Field::new(&name, expr.get_type(&input)?, expr.nullable(&input)?));
            projections.push(Projection { name, expr: StreamExpr(expr) });
        }
        let place = |index: usize| passed.iter().position(|passed| *passed == Some(index));
        let info = kept_info(&stream.info, place, Schema::new(fields));
        let windows = relation.windows.clone().and_then(|windows| {
            Some(Windows { time: place(windows.time)?, kind: windows.kind.moved(place)?, ..windows })
        });
        let kind = NodeKind::Project(ProjectNode { columns: projections });
        let stream = self.builder.add_chained(stream, kind, info);
        Ok(Relation { windows, ..Relation::all(stream) })
    }

    /// Keeps the rows for which `predicate`, over the plan's `schema`, is true.
    pub(super) fn filter(&mut self, mut relation: Relation, schema: &DFSchema, predicate: &Expr) -> Result<Relation> {
        if relation.windows.is_some() && call_in(predicate).is_some() {
            let relation = self.assign_windows(relation)?;
            return self.filter(relation, schema, predicate);
        }
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for condition in split_conjunction(predicate) {
            refuse_before_sessions(condition, &relation, schema)?;
            match window_use(condition, &relation, schema) {
                (false, _) => now.push(resolve_with_calls(condition, &relation, schema)?),
                (true, false) => later.push(resolve(condition, &relation, schema)?),
                (true, true) => {
                    let relation = self.assign_windows(relation)?;
                    return self.filter(relation, schema, predicate);
                }
            }
        }
        if let Some(windows) = &mut relation.windows {
            windows.filters.append(&mut later);
        }
        let (stream, now) = self.with_predictions(relation.stream, now)?;
        relation.stream = self.filter_stream(stream, now);
        Ok(relation)
    }

    /// A Filter operator, if there is a condition.
    pub(super) fn filter_stream(&mut self, stream: Stream, conditions: Vec<Expr>) -> Stream {
        match conditions.into_iter().reduce(Expr::and) {
            None => stream,
            Some(predicate) => {
                let info = stream.info.clone();
                let kind = NodeKind::Filter(FilterNode { predicate: StreamExpr(predicate) });
                self.builder.add_chained(&stream, kind, info)
            }
        }
    }

    /// Puts the rows in their windows now: no aggregation takes the window function over.
    pub(super) fn assign_windows(&mut self, relation: Relation) -> Result<Relation> {
        let Some(windows) = relation.windows else { return Ok(relation) };
        let window = match windows.kind {
            WindowKind::Fixed(window) => window,
            WindowKind::Session { gap, keys } => {
                let assigned = self.assign_sessions(&relation.stream, keys, windows.time, gap);
                let stream = self.filter_stream(assigned, windows.filters);
                return Ok(Relation { stream, columns: relation.columns, windows: None });
            }
        };
        let stream = relation.stream;
        let schema = with_windows(stream.schema());
        // A row's windows end after it: what the watermark promises of the row holds for their ends too.
        let ends = [stream.width() + 1, stream.width() + 2];
        let times = stream.info.times.iter().copied().chain(ends).collect();
        let window_times = stream.info.window_times.iter().copied().chain(ends).collect();
        let info = StreamInfo { schema, times, window_times, ..stream.info.clone() };
        let kind = NodeKind::WindowAssign(WindowAssignNode { time: windows.time, window });
        let assigned = self.builder.add_chained(&stream, kind, info);
        debug_assert_eq!(assigned.width(), stream.width() + WINDOW_COLUMNS.len());
        let stream = self.filter_stream(assigned, windows.filters);
        // The window columns are real now, at the indexes that stood for them.
        Ok(Relation { stream, columns: relation.columns, windows: None })
    }

    /// Gives each row the bounds of its session, once that has closed: the row's own time is past then.
    fn assign_sessions(&mut self, input: &Stream, keys: Vec<usize>, time: usize, gap: i64) -> Stream {
        let times = vec![input.width() + 1, input.width() + 2];
        let schema = with_windows(input.schema());
        let info = StreamInfo { schema, window_times: times.clone(), times, ..input.info.clone() };
        let kind = NodeKind::SessionAssign(SessionAssignNode { keys: keys.clone(), time, gap });
        self.add_grouped(input, kind, keys, info)
    }

    /// A stream with exactly the relation's columns under these names.
    pub(crate) fn materialize(&mut self, relation: Relation, names: &[String]) -> Result<Stream> {
        let relation = self.assign_windows(relation)?;
        let schema = relation.stream.schema();
        let same_columns = relation.columns.iter().copied().eq(0..relation.stream.width());
        if same_columns && schema.fields().iter().map(|field| field.name()).eq(names) {
            return Ok(relation.stream);
        }
        let columns = relation.columns.iter().zip(names);
        let columns =
            columns.map(|(index, name)| Computed { name: name.clone(), expr: column(&relation.name(*index)) });
        let columns = columns.collect();
        Ok(self.compute(&relation, columns)?.stream)
    }
}

/// A column's name. DataFusion makes names up for lists that are computed in order to be unnested; nobody
/// should read them in EXPLAIN.
fn readable(name: String, expr: &Expr) -> String {
    if matches!(expr, Expr::Column(_)) || !name.starts_with(UNNEST_PLACEHOLDER) {
        return name;
    }
    StreamExpr(expr.clone()).to_string()
}

/// A condition stands above the windows but is checked before them. That changes no clock's windows; it
/// would change sessions, unless it takes or leaves whole keys.
fn refuse_before_sessions(condition: &Expr, relation: &Relation, schema: &DFSchema) -> Result<()> {
    let Some(Windows { kind: WindowKind::Session { keys, .. }, .. }) = &relation.windows else { return Ok(()) };
    let index = |name| schema.maybe_index_of_column(name).and_then(|field| relation.columns.get(field).copied());
    let known = |index: usize| relation.is_window_column(index) || keys.contains(&index);
    if condition.column_refs().into_iter().all(|name| index(name).is_some_and(known)) {
        return Ok(());
    }
    let what = format!("the condition {} on rows that SESSION has put together", condition.human_display());
    let hint = "filter in a view or subquery that SESSION reads, or in the aggregate: count(*) FILTER (WHERE …)";
    Err(SqlError::unsupported(what, hint))
}

/// Whether a projection over a join only chooses and renames columns.
fn chooses_from_join(projection: &PlanProjection) -> bool {
    let is_join = match projection.input.as_ref() {
        LogicalPlan::Join(_) => true,
        LogicalPlan::Projection(inner) => chooses_from_join(inner),
        _ => false,
    };
    is_join && projection.expr.iter().all(|expr| matches!(unaliased(expr), Expr::Column(_)))
}

/// A condition over a projection's fields as one over its input's.
pub(super) fn below_projection(condition: Expr, projection: &PlanProjection) -> Result<Expr> {
    with_fields_replaced(condition, &projection.schema, |field| projection.expr.get(field).map(unaliased).cloned())
}

/// A condition over the fields of `schema` with something else in the place of each.
pub(super) fn with_fields_replaced(
    condition: Expr,
    schema: &DFSchema,
    below: impl Fn(usize) -> Option<Expr>,
) -> Result<Expr> {
    let rewritten = condition.transform(|expr| match &expr {
        Expr::Column(name) => {
            let below = below(schema.index_of_column(name)?);
            Ok(below.map_or_else(|| Transformed::no(expr), Transformed::yes))
        }
        _ => Ok(Transformed::no(expr)),
    })?;
    Ok(rewritten.data)
}

/// The column of the stream that an expression over it passes on.
fn passed_column(expr: &Expr, stream: &Stream) -> Option<usize> {
    match expr {
        Expr::Column(name) => stream.schema().index_of(&name.name).ok(),
        _ => None,
    }
}

/// What is known of a stream after a projection; `place` says where one of its columns went.
fn kept_info(info: &StreamInfo, place: impl Fn(usize) -> Option<usize>, schema: Schema) -> StreamInfo {
    let upsert_keys = info.upsert_keys.iter().map(|key| place(*key)).collect::<Option<Vec<usize>>>();
    StreamInfo {
        schema: Arc::new(schema),
        times: info.times.iter().filter_map(|time| place(*time)).collect(),
        window_times: info.window_times.iter().filter_map(|time| place(*time)).collect(),
        bounded: info.bounded,
        changelog: info.changelog,
        upsert_keys: upsert_keys.unwrap_or_default(),
    }
}
