//! Jobs: statements that run, put together in one graph that shares sources, views and models.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tidemill_plans::batch::{BatchQuery, Destination, Wanted};
use tidemill_plans::change::{with_change_column, with_op_column};
use tidemill_plans::connector::{RESULT_CONNECTOR, VIEW_CONNECTOR};
use tidemill_plans::graph::{DataflowGraph, Node, Partitioning};
use tidemill_plans::growing_state::growing_state;
use tidemill_plans::ids::{JobId, OperatorId};
use tidemill_plans::node::{AggregateEmit, NodeKind, OverEmit, SinkNode, TopNEmit};
use tidemill_plans::settings::{ResultOrder, Settings};

use crate::batch::{BatchPlan, Becomes, VIEWS_MAX};
use crate::catalog::{Catalog, Detail, Object, StreamInfo};
use crate::error::{Position, Result, SqlError};
use crate::lower::prune::prune_sources;
use crate::lower::sink::why_silent;
use crate::lower::stream::Stream;
use crate::lower::write::{Target, Write};
use crate::planner::QueryPlanner;
use crate::pushed::PushTarget;
use crate::session::Session;
use crate::stack::on_deep_stack;
use crate::statement::StreamQuery;

/// What becomes of a materialized view's rows where nobody can ask for them: they are counted.
const COUNTING_CONNECTOR: &str = "blackhole";

/// A statement that has to run, with the catalog it was planned with.
#[derive(Debug, Clone)]
pub struct JobStatement {
    pub(crate) catalog: Catalog,
    pub(crate) settings: Settings,
    pub(crate) position: Position,
    pub(crate) text: String,
    pub(crate) message: String,
    pub(crate) kind: JobKind,
    /// Whether its object was created with it.
    pub(crate) is_new: bool,
    pub(crate) is_analyzed: bool,
    /// The name of the result that workers hand out, if they do.
    pub(crate) result: Option<String>,
}

impl JobStatement {
    /// Has the workers hand out the result, each its part, under this name: for a SELECT whose [`ResultColumns`] say that
    /// it has parts.
    #[must_use]
    pub fn handed_out_as(self, result: String) -> Self {
        Self { result: Some(result), ..self }
    }

    /// The statement as the user wrote it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What to say when it has started, such as `CREATE SINK late`; nothing for a SELECT.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The object that it writes or trains.
    #[must_use]
    pub fn object(&self) -> Option<&str> {
        self.kind.object()
    }

    /// The object that was created with it, if it does not write to an older one.
    #[must_use]
    pub fn created(&self) -> Option<&str> {
        self.object().filter(|_| self.is_new)
    }

    /// Whether it is run to see what its operators do (EXPLAIN ANALYZE): the rows of its result are not
    /// printed.
    #[must_use]
    pub fn is_analyzed(&self) -> bool {
        self.is_analyzed
    }

    /// The source whose log it appends its rows to, and the columns that they have there, if it does so.
    #[must_use]
    pub fn appends(&self) -> Option<(&PushTarget, &[String])> {
        match &self.kind {
            JobKind::Append { target, columns, .. } => Some((target, columns)),
            _ => None,
        }
    }

    /// Whether it writes rows that stand in it.
    #[must_use]
    pub fn writes_values(&self) -> bool {
        matches!(&self.kind, JobKind::Write { query, .. } if query.rows().is_some())
    }

    /// Whether it is a SELECT or a SUBSCRIBE, whose rows the session waits for.
    #[must_use]
    pub fn is_select(&self) -> bool {
        matches!(self.kind, JobKind::Select(_) | JobKind::Batch(..) | JobKind::Subscribe(_)) && !self.writes_whole()
    }

    /// Whether it runs as a whole, and its rows become those of an object: whoever asks waits until they are.
    #[must_use]
    pub fn writes_whole(&self) -> bool {
        match &self.kind {
            JobKind::Batch(_, plan) => plan.becomes.is_some() && plan.query.wanted == Wanted::Rows,
            JobKind::Train(_, whole) => whole.is_some(),
            _ => false,
        }
    }

    /// The table that is there once its rows are.
    #[must_use]
    pub fn new_table(&self) -> Option<&str> {
        match &self.kind {
            JobKind::Batch(_, plan) if self.writes_whole() => match &plan.becomes {
                Some(Becomes::Table { object, .. }) => Some(&object.name),
                _ => None,
            },
            _ => None,
        }
    }

    /// What is to be run as a whole, if that is so: then nothing is to be added to a graph, or later
    /// ([`Self::behind_its_rows`]).
    #[must_use]
    pub fn batch(&self) -> Option<&BatchQuery> {
        match &self.kind {
            JobKind::Batch(_, plan) | JobKind::Append { whole: Some(plan), .. } | JobKind::Train(_, Some(plan)) => {
                Some(&plan.query)
            }
            _ => None,
        }
    }

    /// What a session gets of a query that runs as a whole, from an operator that stands for its result.
    #[must_use]
    pub fn batch_columns(&self, query: &BatchQuery, operator: OperatorId) -> ResultColumns {
        let has_rows = query.wanted == Wanted::Rows && query.destination == Destination::Asker;
        let live = self.settings.result_order == ResultOrder::Arrival && has_rows;
        ResultColumns { schema: query.schema(), operator, limit: None, live, ends: true, parts: 1 }
    }

    /// The settings that hold where it stands.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// What runs.
#[derive(Debug, Clone)]
pub(crate) enum JobKind {
    Select(StreamQuery),
    /// A query that runs as a whole.
    Batch(StreamQuery, Box<BatchPlan>),
    /// CREATE SINK with a query, and INSERT INTO.
    Write {
        target: Target,
        declared: Option<SchemaRef>,
        query: StreamQuery,
    },
    /// INSERT INTO a source whose rows are pushed: a SELECT, whose rows the session appends.
    Append {
        target: PushTarget,
        columns: Vec<String>,
        query: StreamQuery,
        /// If it runs as a whole.
        whole: Option<Box<BatchPlan>>,
    },
    MaterializedView(Arc<Object>),
    /// CREATE MODEL, with the query as a whole that writes its training set first, if it has one.
    Train(Arc<Object>, Option<Box<BatchPlan>>),
    /// SUBSCRIBE TO a materialized view.
    Subscribe(Arc<Object>),
}

impl JobKind {
    /// What rows are inserted into.
    pub(crate) fn target(&self) -> Option<&str> {
        match self {
            Self::Append { target, .. } => Some(&target.table),
            Self::Batch(_, plan) => match &plan.becomes {
                Some(Becomes::RowsOf(name)) => Some(name),
                _ => None,
            },
            other => other.object(),
        }
    }

    /// The object that the job writes or trains.
    pub(crate) fn object(&self) -> Option<&str> {
        match self {
            Self::Select(_) | Self::Batch(..) | Self::Append { .. } | Self::Subscribe(_) => None,
            Self::Write { target, .. } => Some(&target.table),
            Self::MaterializedView(object) | Self::Train(object, _) => Some(&object.name),
        }
    }
}

/// What a statement has added to a graph.
#[derive(Debug, Clone, Default)]
pub struct Added {
    /// For a SELECT: how to find its rows.
    pub result: Option<ResultColumns>,
    /// The names of the sinks that it writes to, which come into the graph last.
    writes: Vec<String>,
    /// The names of the objects that it reads, and of those that late rows are written to.
    pub(crate) uses: Vec<String>,
    /// For a materialized view that can be read: the sink that holds what it has, and its instances.
    pub view: Option<(OperatorId, u32)>,
}

impl Added {
    /// The sinks of the statement, in the graph that is finished.
    #[must_use]
    pub fn sinks(&self, graph: &DataflowGraph) -> Vec<OperatorId> {
        let is_written = |node: &&Node| match &node.kind {
            NodeKind::Sink(sink) => sink.connector != RESULT_CONNECTOR && self.writes.contains(&sink.table),
            _ => false,
        };
        let written = graph.nodes.iter().filter(is_written).map(|node| node.id);
        self.result.iter().map(|result| result.operator).chain(written).collect()
    }
}

/// Where a running materialized view can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningView {
    /// Its job.
    pub job: JobId,
    /// The sink that holds what it has.
    pub operator: OperatorId,
    /// The sink's instances.
    pub parallelism: u32,
}

impl RunningView {
    /// A view whose job is over, and what it held is gone. Jobs count from 1.
    pub(crate) const ENDED: Self = Self { job: JobId(0), operator: OperatorId(0), parallelism: 1 };
}

/// The rows of a SELECT.
#[derive(Debug, Clone)]
pub struct ResultColumns {
    /// Its columns. Changes that come as changes have one more in front, `op`: +I, -U, +U or -D.
    pub schema: SchemaRef,
    /// The sink that carries them.
    pub operator: OperatorId,
    /// At most so many rows come.
    pub limit: Option<u64>,
    /// Whether rows come as they are known, for there may be no end, or nobody wants an order. Else all come at the end.
    pub live: bool,
    /// Whether there is an end.
    pub ends: bool,
    /// How many parts it has, whose rows may come in any order: the instances of what makes them.
    pub parts: u32,
}

/// A graph under construction.
#[derive(Debug, Clone)]
pub struct JobBuilder {
    pub(crate) graph: DataflowGraph,
    pub(crate) settings: Settings,
    /// The object whose operators are being added.
    object: String,
    /// What has been built of the catalog, by identity: a name may mean another object later.
    streams: Vec<(Arc<Object>, Stream)>,
    /// What is written, for the sinks that the graph gets last.
    pub(crate) writes: Vec<Write>,
    results: usize,
    /// Where each statement stands, with the number of operators before it.
    statements: Vec<(usize, Position)>,
    /// Why the rows of a SELECT do not come before an interrupt, and where it stands.
    silent: Vec<(Position, String)>,
    /// The settings of the first statement: those of the whole job are taken from there.
    job_settings: Option<Settings>,
    /// The materialized views that run already, by name.
    running: BTreeMap<String, RunningView>,
    /// Whether they are read as they are; else they are computed anew.
    reads_views: bool,
    /// Whether the materialized views of this graph are to be read by others.
    keeps_views: bool,
    /// How many views are being planned, each for the one before.
    open_views: usize,
}

impl JobBuilder {
    /// An empty graph.
    #[must_use]
    pub fn new(session: &Session) -> Self {
        Self {
            graph: DataflowGraph::default(),
            settings: session.settings.clone(),
            object: String::new(),
            streams: Vec::new(),
            writes: Vec::new(),
            results: 0,
            statements: Vec::new(),
            silent: Vec::new(),
            job_settings: None,
            running: session.running.clone(),
            reads_views: false,
            keeps_views: session.keeps_views,
            open_views: 0,
        }
    }

    /// Plans a view for whoever reads it. An error if so many stand on each other that their planning is too deep.
    pub(crate) fn within_view<T>(&mut self, plan: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.open_views == VIEWS_MAX {
            let message = format!("more than {VIEWS_MAX} views stand on each other; read a sink's files in between");
            return Err(SqlError::invalid(message));
        }
        self.open_views += 1;
        let planned = plan(self);
        self.open_views -= 1;
        planned
    }

    /// Whether nothing has been added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.graph.nodes.is_empty()
    }

    /// The settings that hold for the whole job.
    #[must_use]
    pub fn job_settings(&self) -> &Settings {
        self.job_settings.as_ref().unwrap_or(&self.settings)
    }

    /// Adds a statement, with the settings that were in force where it stands. After an error the
    /// builder is of no more use.
    pub fn add(&mut self, statement: &JobStatement) -> Result<Added> {
        let first = self.job_settings.get_or_insert_with(|| statement.settings.clone());
        if let Some(name) = first.other_job_setting(&statement.settings) {
            let message = format!(
                "the setting {name} was changed behind the first query; all queries of a script are one job, so SET \
                 it before the first"
            );
            return Err(SqlError::invalid(message).at(statement.position));
        }
        self.settings = statement.settings.clone();
        self.statements.push((self.graph.nodes.len(), statement.position));
        let before = self.writes_of_each();
        let (added, uses) = on_deep_stack(|| self.build(statement)).map_err(|error| error.at(statement.position))?;
        let after = self.writes_of_each().into_iter();
        let writes = after.filter(|write| !before.contains(write)).map(|(table, _)| table).collect();
        Ok(Added { writes, uses, ..added })
    }

    /// What the user should know before the job runs, each with the statement that it is about: which rows
    /// come at an interrupt only, and of which operators the state grows without bound.
    #[must_use]
    pub fn warnings(&self) -> Vec<(Position, String)> {
        let position = |operator: OperatorId| {
            let before = self.statements.partition_point(|(first, _)| *first <= operator.0 as usize);
            before.checked_sub(1).map_or(Position::UNKNOWN, |statement| self.statements[statement].1)
        };
        let growing = growing_state(&self.graph).into_iter();
        let growing = growing.map(|growing| (position(growing.operator), growing.to_string()));
        self.silent.iter().cloned().chain(growing).collect()
    }

    /// Why the rows of SELECTs come at an interrupt only, and where these stand.
    pub(crate) fn silent(&self) -> &[(Position, String)] {
        &self.silent
    }

    /// The graph, checked.
    pub fn finish(mut self) -> Result<DataflowGraph> {
        self.finish_writes();
        prune_sources(&mut self.graph)?;
        self.graph.validate()?;
        // Each graph of this crate's tests also comes back from its document.
        #[cfg(test)]
        crate::document::tests::check_round_trip(&self.graph);
        Ok(self.graph)
    }

    /// Adds a statement; also says which objects it reads.
    pub(crate) fn build(&mut self, statement: &JobStatement) -> Result<(Added, Vec<String>)> {
        if let JobKind::Select(query) | JobKind::Batch(query, _) | JobKind::Append { query, .. } = &statement.kind {
            return self.build_select(query, statement);
        }
        if let JobKind::Subscribe(view) = &statement.kind {
            return self.build_subscription(view, statement);
        }
        self.begin_object(statement.object().unwrap_or_default());
        let mut planner = QueryPlanner::new(self, &statement.catalog);
        match &statement.kind {
            JobKind::Select(_) | JobKind::Batch(..) | JobKind::Append { .. } | JobKind::Subscribe(_) => {}
            JobKind::Write { target, declared, query } => {
                planner.write(query, target.clone(), declared.as_ref())?;
                planner.check_late()?;
                planner.check_state_ttls()?;
            }
            JobKind::MaterializedView(object) => {
                let stream = planner.object_stream(object)?;
                if planner.builder.keeps_views {
                    let view = Some(planner.builder.add_view(&stream, object));
                    return Ok((Added { view, ..Added::default() }, planner.uses()));
                }
                let (table, connector) = (object.name.clone(), COUNTING_CONNECTOR.to_owned());
                let target = Target { table, connector, options: Vec::new(), key: Vec::new() };
                planner.builder.add_write(&stream, target)?;
            }
            JobKind::Train(object, _) => {
                if let Detail::Model(model) = &object.detail {
                    planner.train_operator(object, model)?;
                }
            }
        }
        Ok((Added::default(), planner.uses()))
    }

    /// Adds a SELECT. One that ends if it reads running views as they are now does so; any other follows
    /// them, and for that computes them itself.
    fn build_select(&mut self, query: &StreamQuery, statement: &JobStatement) -> Result<(Added, Vec<String>)> {
        if !self.running.is_empty() {
            let mut reading = Self { reads_views: true, ..self.clone() };
            if let Ok((added, uses, true)) = reading.add_select(query, statement) {
                *self = Self { reads_views: false, ..reading };
                return Ok((added, uses));
            }
        }
        let (added, uses, _) = self.add_select(query, statement)?;
        Ok((added, uses))
    }

    /// Adds a SELECT; also says which objects it reads, and whether it ends.
    fn add_select(&mut self, query: &StreamQuery, statement: &JobStatement) -> Result<(Added, Vec<String>, bool)> {
        let name = format!("select_{}", self.results + 1);
        self.begin_object(&name);
        let mut planner = QueryPlanner::new(self, &statement.catalog);
        let sink = planner.select(query, name, statement)?;
        planner.check_late()?;
        planner.check_state_ttls()?;
        let uses = planner.uses();
        self.results += 1;
        if sink.info.bounded {
            self.emit_at_end(sink.node);
        }
        let silence = why_silent(self.result_sink(&sink)?, &sink.info);
        self.silent.extend(silence.filter(|_| !statement.is_analyzed).map(|why| (statement.position, why)));
        let result = Some(self.result_columns(&sink)?);
        Ok((Added { result, ..Added::default() }, uses, sink.info.bounded))
    }

    /// Adds what a running view has, and its changes from there on.
    fn build_subscription(&mut self, view: &Object, statement: &JobStatement) -> Result<(Added, Vec<String>)> {
        let Detail::View(_, info) = &view.detail else {
            return Err(SqlError::invalid(format!("'{}' is no view", view.name)));
        };
        let running = self.running.get(&view.name).copied().unwrap_or(RunningView::ENDED);
        let name = format!("select_{}", self.results + 1);
        self.begin_object(&name);
        let stream = self.add_followed(&view.name, running, info);
        let sink = QueryPlanner::new(self, &statement.catalog).subscription(&stream, name);
        self.results += 1;
        let result = Some(self.result_columns(&sink)?);
        Ok((Added { result, ..Added::default() }, vec![view.name.clone()]))
    }

    fn result_sink(&self, sink: &Stream) -> Result<&SinkNode> {
        match &self.graph.node(sink.node).map_err(SqlError::Graph)?.kind {
            NodeKind::Sink(node) => Ok(node),
            _ => Err(SqlError::invalid("a result has no sink")),
        }
    }

    /// The instances of the operator in front of a sink.
    fn inputs_of(&self, sink: OperatorId) -> u32 {
        let before = self.graph.inputs(sink).filter_map(|(_, edge)| self.graph.node(edge.from).ok());
        before.map(|node| node.parallelism).max().unwrap_or(1)
    }

    /// What a session gets from a result's sink.
    fn result_columns(&self, sink: &Stream) -> Result<ResultColumns> {
        let node = self.result_sink(sink)?;
        let changes = node.live && sink.info.changelog;
        let schema = if changes { with_op_column(sink.schema()) } else { Arc::clone(sink.schema()) };
        let ends = sink.info.bounded;
        let parts = if ends && node.live && node.limit.is_none() { self.inputs_of(sink.node) } else { 1 };
        Ok(ResultColumns { schema, operator: sink.node, limit: node.limit, live: node.live, ends, parts })
    }

    /// The sink that holds what a view has. A row and its changes meet in one instance if they have a key;
    /// else there is one instance.
    fn add_view(&mut self, stream: &Stream, object: &Object) -> (OperatorId, u32) {
        let info = stream.info.clone();
        let parallelism = if info.changelog && info.upsert_keys.is_empty() { 1 } else { stream.parallelism };
        let node = NodeKind::Sink(SinkNode {
            table: object.name.clone(),
            connector: VIEW_CONNECTOR.to_owned(),
            options: Vec::new(),
            time: None,
            upsert_keys: info.upsert_keys.clone(),
            order_by: Vec::new(),
            limit: None,
            live: false,
        });
        let sink = self.add_operator(node, parallelism, info);
        self.connect(stream, &sink, 0);
        (sink.node, parallelism)
    }

    /// A SELECT over bounded input prints final rows only, so its aggregations need not emit before the
    /// end. Those of views may have other readers and are left as they are.
    fn emit_at_end(&mut self, operator: OperatorId) {
        let shared = |id: OperatorId| self.streams.iter().any(|(_, stream)| stream.node == id);
        let inputs: Vec<OperatorId> =
            self.graph.inputs(operator).map(|(_, edge)| edge.from).filter(|id| !shared(*id)).collect();
        for input in inputs {
            match self.graph.nodes.get_mut(input.0 as usize).map(|node| &mut node.kind) {
                Some(NodeKind::Aggregate(aggregate)) => aggregate.emit = AggregateEmit::AtEnd,
                Some(NodeKind::TopN(top)) if top.emit == TopNEmit::OnUpdate => {
                    top.emit = TopNEmit::AtEnd;
                    // It, too, needs no more than the last state of its input.
                    self.emit_at_end(input);
                }
                Some(NodeKind::OverWindow(over)) if over.emit == OverEmit::OnUpdate => {
                    over.emit = OverEmit::AtEnd;
                    self.emit_at_end(input);
                }
                Some(NodeKind::Project(_) | NodeKind::Filter(_) | NodeKind::Union(_)) => self.emit_at_end(input),
                _ => {}
            }
        }
    }

    /// How long state is kept that nothing touches, in microseconds of event time; `None` for ever.
    pub(crate) fn state_ttl(&self) -> Option<i64> {
        let millis = i64::try_from(self.settings.state_ttl_ms).unwrap_or(i64::MAX);
        Some(millis.saturating_mul(1000)).filter(|ttl| *ttl > 0)
    }

    /// Where a view is to be read as it is.
    pub(crate) fn view_to_read(&self, name: &str) -> Option<RunningView> {
        self.running.get(name).filter(|_| self.reads_views).copied()
    }

    /// What has been built of an object.
    pub(crate) fn built_stream(&self, object: &Arc<Object>) -> Option<Stream> {
        self.streams.iter().find(|(built, _)| Arc::ptr_eq(built, object)).map(|(_, stream)| stream.clone())
    }

    pub(crate) fn remember_stream(&mut self, object: &Arc<Object>, stream: &Stream) {
        self.streams.push((Arc::clone(object), stream.clone()));
    }

    /// Adds an operator without inputs yet.
    pub(crate) fn add_operator(&mut self, kind: NodeKind, parallelism: u32, info: StreamInfo) -> Stream {
        let schema = if info.changelog { with_change_column(&info.schema) } else { Arc::clone(&info.schema) };
        let node = self.graph.add_operator_of(&self.object, kind, parallelism, schema);
        Stream { node, parallelism, info }
    }

    /// The operators that are added from now on belong to this object; returns the one before.
    pub(crate) fn begin_object(&mut self, name: &str) -> String {
        std::mem::replace(&mut self.object, name.to_owned())
    }

    /// Adds an operator behind another, with its parallelism.
    pub(crate) fn add_chained(&mut self, input: &Stream, kind: NodeKind, info: StreamInfo) -> Stream {
        let output = self.add_operator(kind, input.parallelism, info);
        self.connect(input, &output, 0);
        output
    }

    /// Joins two operators where it does not matter which instance gets a row.
    pub(crate) fn connect(&mut self, from: &Stream, to: &Stream, port: u32) {
        let partitioning =
            if from.parallelism == to.parallelism { Partitioning::Forward } else { Partitioning::Rebalance };
        self.graph.add_edge(from.node, to.node, port, partitioning);
    }
}
