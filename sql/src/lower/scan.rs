//! Leaves of a plan: sources, views, window functions, predictions and temporal tables.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::TableScan;
use tidemill_plans::change::with_change_column;
use tidemill_plans::connector::{VIEW_CONNECTOR, VIEW_FOLLOW};
use tidemill_plans::expr::{StreamExpr, StreamSchema};
use tidemill_plans::graph::Node;
use tidemill_plans::ids::OperatorId;
use tidemill_plans::node::{NodeKind, Projection, SourceNode};
use tidemill_plans::partitions::partition_columns;
use tidemill_plans::pushed::is_pushed;

use super::expression::column;
use super::stream::{Relation, Stream, WINDOW_COLUMNS, WindowKind, Windows, with_windows};
use crate::catalog::{Detail, Object, StreamInfo};
use crate::error::{Position, Result, SqlError};
use crate::job::{JobBuilder, RunningView};
use crate::planner::QueryPlanner;

/// What a made-up table name stands for.
#[derive(Debug, Clone)]
pub(crate) enum Leaf {
    /// A stream as it is.
    Stream(Stream),
    /// A stream in windows, over one of its event-time columns.
    Windowed(Stream, WindowKind, usize),
    /// The versions that a temporal join looks up.
    Temporal(Stream),
    /// A table that a look-up join asks.
    Lookup(Box<SourceNode>),
}

impl Leaf {
    /// A windowed stream; the names of the window columns must be free.
    pub(crate) fn windowed(stream: Stream, window: WindowKind, time: usize) -> Result<Self> {
        match WINDOW_COLUMNS.iter().find(|name| stream.schema().column_with_name(name).is_some()) {
            None => Ok(Self::Windowed(stream, window, time)),
            Some(taken) => Err(SqlError::invalid(format!(
                "the input of a window function has a column '{taken}' already; give it another name"
            ))),
        }
    }

    /// The columns that a query sees.
    pub(crate) fn schema(&self) -> SchemaRef {
        match self {
            Self::Stream(stream) | Self::Temporal(stream) => Arc::clone(stream.schema()),
            Self::Windowed(stream, ..) => with_windows(stream.schema()),
            Self::Lookup(source) => Arc::clone(&source.columns.0),
        }
    }

    fn relation(&self) -> Result<Relation> {
        Ok(match self {
            Self::Stream(stream) | Self::Temporal(stream) => Relation::all(stream.clone()),
            Self::Lookup(source) => return Err(not_read(&source.table)),
            Self::Windowed(stream, kind, time) => {
                let columns = (0..stream.width() + WINDOW_COLUMNS.len()).collect();
                let input = Arc::clone(stream.schema());
                let windows = Some(Windows { kind: kind.clone(), time: *time, filters: Vec::new(), input });
                Relation { stream: stream.clone(), columns, windows }
            }
        })
    }
}

/// Whether a source is a table that is asked by key, and no stream.
pub(crate) fn is_lookup(source: &SourceNode) -> bool {
    source.connector == "postgres" || source.options.iter().any(|(key, value)| key == "lookup" && value == "true")
}

fn not_read(table: &str) -> SqlError {
    let hint = format!("look its rows up: JOIN {table} FOR SYSTEM_TIME AS OF PROCTIME() ON a.k = {table}.k");
    SqlError::unsupported(format!("reading '{table}' as a stream"), hint)
}

impl QueryPlanner<'_> {
    pub(crate) fn lower_scan(&mut self, scan: &TableScan) -> Result<Relation> {
        let name = scan.table_name.table();
        let mut relation = match self.leaves.get(name) {
            Some(leaf) => leaf.relation()?,
            None => Relation::all(self.catalog_stream(name)?),
        };
        if let Some(projection) = &scan.projection {
            relation.columns = projection.iter().filter_map(|column| relation.columns.get(*column).copied()).collect();
        }
        for filter in &scan.filters {
            relation = self.filter(relation, &scan.projected_schema, filter)?;
        }
        Ok(relation)
    }

    /// The stream of a source or view, built at its first use and shared by all others.
    pub(crate) fn catalog_stream(&mut self, name: &str) -> Result<Stream> {
        let Some(object) = self.catalog_object(name) else {
            return Err(self.catalog.unknown("source or view", name, Position::UNKNOWN, |_| true));
        };
        self.note_use(name);
        self.object_stream(&object)
    }

    /// The stream of an object.
    pub(crate) fn object_stream(&mut self, object: &Arc<Object>) -> Result<Stream> {
        if let Some(stream) = self.builder.built_stream(object) {
            return Ok(stream);
        }
        let outer = self.builder.begin_object(&object.name);
        let stream = self.build_object(object);
        self.builder.begin_object(&outer);
        let stream = stream?;
        self.builder.remember_stream(object, &stream);
        Ok(stream)
    }

    fn build_object(&mut self, object: &Arc<Object>) -> Result<Stream> {
        object.check_restored()?;
        Ok(match &object.detail {
            Detail::Source(node, _) if is_lookup(node) => return Err(not_read(&object.name)),
            Detail::Source(node, _) if !partition_columns(&node.options).is_empty() => {
                let hint = "it is for queries of tables that end, without clauses of streams: SET execution = 'batch' says why not";
                return Err(SqlError::unsupported(
                    format!("'{}' in a stream: its folders say columns", object.name),
                    hint,
                ));
            }
            Detail::Source(node, info) => {
                // Without event time nothing but the order in which rows are read orders them: one task
                // reads, so that files, sums of floats and the first rows are the same in every run.
                let is_one = info.times.is_empty() || is_pushed(&node.connector);
                let parallelism = if is_one { 1 } else { self.builder.settings.parallelism };
                let kind = NodeKind::Source(node.as_ref().clone());
                match node.upsert_key.is_empty() {
                    true => self.builder.add_operator(kind, parallelism, info.clone()),
                    false => self.builder.add_normalized(kind, parallelism, info),
                }
            }
            Detail::View(query, info) => match self.builder.view_to_read(&object.name) {
                Some(view) => self.view_as_it_is(&object.name, view, info),
                None => self.builder.within_view(|builder| {
                    let whole = self.catalog.whole();
                    let mut planner = QueryPlanner::new(builder, &whole);
                    let plan = planner.plan(query)?;
                    planner.lower_to_stream(&plan, "a view")
                })?,
            },
            Detail::Sink(_) | Detail::Model(_) | Detail::Function(_) | Detail::Lost(_) => {
                let message = format!("'{}' is a {}; only sources and views have rows", object.name, object.kind);
                return Err(SqlError::invalid(message));
            }
        })
    }

    /// What a running view has at the newest epoch.
    fn view_as_it_is(&mut self, name: &str, view: RunningView, info: &StreamInfo) -> Stream {
        self.builder.add_whole_source(name, VIEW_CONNECTOR, place_of(view), view.parallelism, &info.schema)
    }
}

/// The options that say where a view is.
fn place_of(RunningView { job, operator, .. }: RunningView) -> Vec<(String, String)> {
    vec![(String::from("job"), job.0.to_string()), (String::from("operator"), operator.0.to_string())]
}

impl JobBuilder {
    /// A source of what a view has, and of its changes from there on, as long as it is there.
    pub(crate) fn add_followed(&mut self, name: &str, view: RunningView, info: &StreamInfo) -> Stream {
        let mut options = place_of(view);
        options.push((VIEW_FOLLOW.to_owned(), String::from("true")));
        let schema = if info.changelog { with_change_column(&info.schema) } else { Arc::clone(&info.schema) };
        let names = || info.schema.fields().iter().map(|field| field.name().clone());
        let node = SourceNode {
            table: name.to_owned(),
            connector: VIEW_CONNECTOR.to_owned(),
            options,
            declared: names().collect(),
            columns: StreamSchema(schema),
            projection: names().map(|name| Projection { expr: StreamExpr(column(&name)), name }).collect(),
            event_time: None,
            upsert_key: Vec::new(),
        };
        let info = StreamInfo { times: Vec::new(), window_times: Vec::new(), bounded: false, ..info.clone() };
        self.add_operator(NodeKind::Source(node), view.parallelism, info)
    }

    /// A source with these options that the graph has already.
    pub(super) fn source_like(&self, connector: &str, options: &[(String, String)]) -> Option<OperatorId> {
        let is_like = |node: &&Node| match &node.kind {
            NodeKind::Source(source) => source.connector == connector && source.options == options,
            _ => false,
        };
        self.graph.nodes.iter().find(is_like).map(|node| node.id)
    }

    /// A source of rows that are there already: all columns as they are, in no order.
    pub(super) fn add_whole_source(
        &mut self,
        table: &str,
        connector: &str,
        options: Vec<(String, String)>,
        parallelism: u32,
        schema: &SchemaRef,
    ) -> Stream {
        let names = || schema.fields().iter().map(|field| field.name().clone());
        let node = SourceNode {
            table: table.to_owned(),
            connector: connector.to_owned(),
            options,
            declared: names().collect(),
            columns: StreamSchema(Arc::clone(schema)),
            projection: names().map(|name| Projection { expr: StreamExpr(column(&name)), name }).collect(),
            event_time: None,
            upsert_key: Vec::new(),
        };
        self.add_operator(NodeKind::Source(node), parallelism, StreamInfo::untimed(Arc::clone(schema), true))
    }
}
