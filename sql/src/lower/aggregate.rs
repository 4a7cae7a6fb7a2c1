//! GROUP BY: within windows where it stands over a window function and groups by its windows, or over
//! rows that are in windows already and groups by their ends; else updating.
//!
//! Only the columns that the aggregation reads are sent to it, keys first, by the hash of the keys.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Aggregate, Expr};
use tidemill_plans::expr::StreamExpr;
use tidemill_plans::functions;
use tidemill_plans::graph::Partitioning;
use tidemill_plans::node::{
    AggregateEmit, AggregateNode, NodeKind, SessionWindowNode, WindowAggregateNode, WindowSpec,
};

use super::expression::{column, plain_column, resolve, unaliased, window_use};
use super::late::LateRows;
use super::project::Computed;
use super::stream::{Relation, Stream, WINDOW_COLUMNS, WindowKind, Windows, make_unique, window_fields};
use crate::catalog::StreamInfo;
use crate::error::{Result, SqlError};
use crate::planner::QueryPlanner;

/// The windows of rows that are in windows already, over the column that tells them apart.
const INSTANT: WindowSpec = WindowSpec::Tumble { size: 1, offset: 0 };

/// Where a GROUP BY expression comes from.
enum Group {
    /// The key of this number.
    Key(usize),
    /// One of the window columns.
    Window(usize),
}

/// An aggregation's input, with what it is to do.
struct Grouped {
    input: Stream,
    /// The windows that the aggregation takes over.
    windows: Option<Windows>,
    late: LateRows,
    groups: Vec<Group>,
    /// Columns of the input.
    keys: Vec<usize>,
    time: Option<usize>,
    aggregates: Vec<StreamExpr>,
}

impl QueryPlanner<'_> {
    pub(super) fn lower_aggregate(&mut self, aggregate: &Aggregate) -> Result<Relation> {
        let mut relation = self.lower(&aggregate.input)?;
        if !groups_by_windows(&relation, aggregate) {
            relation = self.assign_windows(relation)?;
        }
        let instant = if relation.windows.is_none() { window_time(&relation, aggregate) } else { None };
        let grouped = self.group(relation, instant, aggregate)?;
        Ok(match grouped.windows.clone() {
            Some(windows) => self.window_aggregate(grouped, windows, aggregate),
            None => self.updating_aggregate(grouped, aggregate),
        })
    }

    /// Projects the input to what the aggregation reads: keys first, then arguments, then the time.
    /// Rows that are in windows already are grouped by `instant`, the column that tells the window: it is
    /// the start of a window of its own, as long as time's resolution.
    fn group(&mut self, relation: Relation, instant: Option<usize>, aggregate: &Aggregate) -> Result<Grouped> {
        let schema = aggregate.input.schema();
        let (mut groups, mut needed) = (Vec::new(), Vec::new());
        for expr in &aggregate.group_expr {
            match plain_column(expr, &relation, schema) {
                Some(index) if relation.is_window_column(index) => {
                    groups.push(Group::Window(index - relation.stream.width()));
                }
                Some(index) if Some(index) == instant => groups.push(Group::Window(0)),
                _ => {
                    refuse_window_use(expr, &relation, schema, "a GROUP BY expression")?;
                    groups.push(Group::Key(need(&mut needed, resolve(expr, &relation, schema)?)));
                }
            }
        }
        let keys: Vec<usize> = (0..needed.len()).collect();
        let mut aggregates = Vec::new();
        for expr in &aggregate.aggr_expr {
            refuse_window_use(expr, &relation, schema, "an aggregate's argument")?;
            let call = aggregate_call(expr, &relation, schema)?;
            need_columns(&mut needed, &call.0)?;
            aggregates.push(call);
        }
        let windows = match instant {
            Some(time) => {
                let input = Arc::clone(relation.stream.schema());
                Some(Windows { kind: WindowKind::Fixed(INSTANT), time, filters: Vec::new(), input })
            }
            None => relation.windows.clone(),
        };
        let time = match &windows {
            Some(windows) => Some(windows.time),
            None => relation.stream.info.times.first().copied(),
        };
        if let Some(time) = time {
            need(&mut needed, column(&relation.name(time)));
        }
        // A count of all rows reads no column, but a batch without columns does not travel well.
        if needed.is_empty() {
            need(&mut needed, column(&relation.name(0)));
        }
        check_session_keys(&relation, &needed[..keys.len()])?;
        let time = time.map(|time| relation.name(time));
        let late = match &relation.windows {
            Some(windows) => self.take_late(&windows.clone())?,
            None => LateRows::Drop,
        };
        let relation = match &late {
            LateRows::Into(sink) => self.split_late(relation, &mut needed[..keys.len()], sink)?,
            _ => relation,
        };
        let input = self.project_needed(relation, needed)?;
        // Names are unique in the input, and a key that is computed never has a plain column's name.
        let time = time.and_then(|time| input.schema().index_of(&time).ok());
        Ok(Grouped { input, windows, late, groups, keys, time, aggregates })
    }

    /// A stream of these expressions, unless the relation's stream is that already.
    pub(super) fn project_needed(&mut self, relation: Relation, needed: Vec<Expr>) -> Result<Stream> {
        let own = relation.stream.schema().fields().iter().map(|field| column(field.name()));
        if own.eq(needed.iter().cloned()) {
            return Ok(relation.stream);
        }
        // A computed key must not take the name of a column, by which the aggregates call it.
        let named = needed.into_iter().map(|expr| match (&expr, expr_name(&expr)) {
            (Expr::Column(_), name) => Computed { name, expr },
            (_, name) if relation.stream.schema().column_with_name(&name).is_some() => {
                Computed { name: format!("computed {name}"), expr }
            }
            (_, name) => Computed { name, expr },
        });
        let named = named.collect();
        Ok(self.compute(&relation, named)?.stream)
    }

    fn window_aggregate(&mut self, grouped: Grouped, windows: Windows, plan: &Aggregate) -> Relation {
        let keys = grouped.keys.len();
        let fields = grouped.key_fields().chain(window_fields()).chain(grouped.aggregate_fields(plan));
        self.note_window_close();
        let mut times = match windows.kind {
            WindowKind::Fixed(INSTANT) => vec![keys],
            _ => Vec::new(),
        };
        // The end first: from then on the aggregate is known.
        times.extend([keys + 1, keys + 2]);
        let updates_within = match grouped.late {
            LateRows::UpdateWithin(micros) => micros,
            _ => 0,
        };
        let mut upsert_keys = Vec::new();
        if updates_within > 0 {
            // Updates come when all of these times are past.
            times.clear();
            upsert_keys = (0..keys + 2).collect();
        }
        let info = StreamInfo {
            schema: unique_schema(fields),
            window_times: times.clone(),
            times,
            bounded: grouped.input.info.bounded,
            changelog: updates_within > 0,
            upsert_keys,
        };
        let (node_keys, time) = (grouped.keys.clone(), grouped.time.unwrap_or_default());
        let aggregates = grouped.aggregates;
        let kind = match windows.kind {
            WindowKind::Fixed(window) => NodeKind::WindowAggregate(WindowAggregateNode {
                keys: node_keys,
                time,
                window,
                aggregates,
                updates_within,
            }),
            WindowKind::Session { gap, .. } => {
                NodeKind::SessionWindow(SessionWindowNode { keys: node_keys, time, gap, aggregates })
            }
        };
        let output = match grouped.late {
            // The rows are where they belong since late ones were split off.
            LateRows::Into(_) => self.builder.add_chained(&grouped.input, kind, info),
            _ => self.add_grouped(&grouped.input, kind, grouped.keys, info),
        };
        let output = self.filter_stream(output, windows.filters);
        restore_order(output, &grouped.groups, keys, WINDOW_COLUMNS.len())
    }

    fn updating_aggregate(&mut self, grouped: Grouped, plan: &Aggregate) -> Relation {
        let keys = grouped.keys.len();
        let info = StreamInfo {
            schema: unique_schema(grouped.key_fields().chain(grouped.aggregate_fields(plan))),
            times: Vec::new(),
            window_times: Vec::new(),
            bounded: grouped.input.info.bounded,
            changelog: true,
            upsert_keys: (0..keys).collect(),
        };
        let kind = NodeKind::Aggregate(AggregateNode {
            keys: grouped.keys.clone(),
            time: grouped.time,
            aggregates: grouped.aggregates,
            emit: AggregateEmit::OnUpdate,
            gather_ms: self.gather_ms(),
            ttl: self.state_ttl_of(&plan.input),
        });
        let output = self.add_grouped(&grouped.input, kind, grouped.keys, info);
        restore_order(output, &grouped.groups, keys, 0)
    }

    /// Adds an operator behind a hash of its keys, or a single instance where there are none.
    pub(super) fn add_grouped(&mut self, input: &Stream, kind: NodeKind, keys: Vec<usize>, info: StreamInfo) -> Stream {
        if keys.is_empty() {
            let output = self.builder.add_operator(kind, 1, info);
            self.builder.connect(input, &output, 0);
            return output;
        }
        let output = self.builder.add_operator(kind, self.builder.settings.parallelism, info);
        self.builder.graph.add_edge(input.node, output.node, 0, Partitioning::Hash(keys));
        output
    }
}

/// Whether a GROUP BY has so many of the waiting windows' columns that its groups are in one window each.
fn groups_by_windows(relation: &Relation, aggregate: &Aggregate) -> bool {
    let Some(windows) = &relation.windows else { return false };
    let schema = aggregate.input.schema();
    let columns = aggregate.group_expr.iter().filter_map(|expr| plain_column(expr, relation, schema));
    let columns: Vec<usize> = columns.filter_map(|column| column.checked_sub(relation.stream.width())).collect();
    windows.kind.are_told_by(columns.contains(&0), columns.contains(&1) || columns.contains(&2))
}

/// The column of a GROUP BY that tells which window a row is in, if an earlier window function made one.
fn window_time(relation: &Relation, aggregate: &Aggregate) -> Option<usize> {
    let schema = aggregate.input.schema();
    let mut columns = aggregate.group_expr.iter().filter_map(|expr| plain_column(expr, relation, schema));
    columns.find(|column| relation.stream.info.window_times.contains(column))
}

/// Sessions are those of the keys of PARTITION BY: a GROUP BY of others would need them grouped anew.
fn check_session_keys(relation: &Relation, keys: &[Expr]) -> Result<()> {
    let Some(Windows { kind: WindowKind::Session { keys: wanted, .. }, .. }) = &relation.windows else { return Ok(()) };
    let wanted: Vec<String> = wanted.iter().map(|key| relation.name(*key)).collect();
    let same = keys.len() == wanted.len() && wanted.iter().all(|name| keys.contains(&column(name)));
    if same {
        return Ok(());
    }
    let what = match wanted.as_slice() {
        [] => String::from("a GROUP BY of more than the windows of SESSION without PARTITION BY"),
        names => format!("a GROUP BY of other keys than SESSION's PARTITION BY ({})", names.join(", ")),
    };
    let hint = "group by the columns of PARTITION BY, window_start and window_end: SESSION(TABLE t PARTITION BY k, …)";
    Err(SqlError::unsupported(what, hint))
}

/// An aggregate call over the stream's fields, without alias.
fn aggregate_call(expr: &Expr, relation: &Relation, schema: &DFSchema) -> Result<StreamExpr> {
    let Expr::AggregateFunction(call) = unaliased(expr) else {
        return Err(SqlError::unsupported(format!("'{expr}' as an aggregate"), "write an aggregate function"));
    };
    if !call.params.order_by.is_empty() {
        let hint = "the order of a stream's rows is not kept; leave it out";
        return Err(SqlError::unsupported("ORDER BY in an aggregate", hint));
    }
    if call.params.distinct && functions::find_registered(call.func.name()).is_some() {
        let hint = "SELECT DISTINCT in a subquery, and aggregate around it";
        return Err(SqlError::unsupported(format!("DISTINCT in {}, a function from Rust,", call.func.name()), hint));
    }
    Ok(StreamExpr(resolve(expr, relation, schema)?))
}

/// Window columns exist only behind the aggregation, so nothing before it can compute with them.
fn refuse_window_use(expr: &Expr, relation: &Relation, schema: &DFSchema, what: &str) -> Result<()> {
    if !window_use(expr, relation, schema).0 {
        return Ok(());
    }
    let hint = "group by window_start and window_end as they are, and compute with them in an outer SELECT";
    Err(SqlError::unsupported(format!("a window column inside {what}"), hint))
}

impl Grouped {
    fn key_fields(&self) -> impl Iterator<Item = Field> {
        self.keys.iter().map(|key| self.input.schema().field(*key).clone())
    }

    /// The aggregates' fields: the plan's types, and the calls as names.
    fn aggregate_fields(&self, plan: &Aggregate) -> impl Iterator<Item = Field> {
        let fields = plan.schema.fields().iter().skip(plan.schema.fields().len() - plan.aggr_expr.len());
        let names = self.aggregates.iter().map(|call| expr_name(&call.0));
        fields.zip(names).map(|(field, name)| Field::new(name, field.data_type().clone(), field.is_nullable()))
    }
}

/// The place of an expression among those that are needed, added if it is new.
pub(super) fn need(needed: &mut Vec<Expr>, expr: Expr) -> usize {
    let found = needed.iter().position(|other| *other == expr);
    found.unwrap_or_else(|| {
        needed.push(expr);
        needed.len() - 1
    })
}

/// Adds the columns that an expression reads, in the order in which it names them: a plan, and with it
/// the order of rows of equal time, is the same in every run.
fn need_columns(needed: &mut Vec<Expr>, expr: &Expr) -> Result<()> {
    expr.apply(|part| {
        if matches!(part, Expr::Column(_)) {
            need(needed, part.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// What a computed column is called until the query names it.
fn expr_name(expr: &Expr) -> String {
    match expr {
        Expr::Column(name) => name.name.clone(),
        other => StreamExpr(other.clone()).to_string(),
    }
}

fn unique_schema(fields: impl Iterator<Item = Field>) -> Arc<Schema> {
    let fields: Vec<Field> = fields.collect();
    let names = make_unique(fields.iter().map(|field| field.name().clone()));
    let renamed = fields.into_iter().zip(names).map(|(field, name)| field.with_name(name));
    Arc::new(Schema::new(renamed.collect::<Vec<_>>()))
}

/// The plan's order over the operator's: keys, window columns, aggregates.
fn restore_order(stream: Stream, groups: &[Group], keys: usize, windows: usize) -> Relation {
    let group_columns = groups.iter().map(|group| match group {
        Group::Key(key) => *key,
        Group::Window(column) => keys + column,
    });
    let columns = group_columns.chain(keys + windows..stream.width()).collect();
    Relation { columns, ..Relation::all(stream) }
}
