//! Scripts in, graphs and errors out.

mod access;
mod batch;
mod clients;
mod errors;
mod explain;
mod flights;
mod functions;
mod growing_state;
mod joins;
mod over;
mod prune;
mod savepoints;
mod session;
mod state_ttl;
mod table_functions;
mod transform;
mod unnest;

use arrow::array::{AsArray, RecordBatch};
use arrow::util::pretty::pretty_format_batches;
use expect_test::Expect;
use tidemill_plans::graph::DataflowGraph;

use crate::{JobBuilder, Outcome, Result, Session, parse_script};

/// Two streams and what can be done with them.
const SOURCES: &str = "
CREATE SOURCE bids (auction BIGINT, bidder VARCHAR, price DOUBLE, ts TIMESTAMP NOT NULL,
                    WATERMARK FOR ts AS ts - INTERVAL '4 seconds')
  WITH (connector = 'files', path = 'bids', format = 'parquet');
CREATE SOURCE auctions (id BIGINT, seller VARCHAR, opened TIMESTAMP, rating INT, WATERMARK FOR opened AS opened)
  WITH (connector = 'files', path = 'auctions', format = 'csv', header = true);
CREATE SOURCE plain (auction BIGINT, at_time TIMESTAMP, \"Odd\" INT)
  WITH (connector = 'files', path = 'plain', format = 'json');
";

/// Runs a script; the outcomes of its statements.
pub(crate) fn execute(session: &mut Session, sql: &str) -> Result<Vec<Outcome>> {
    parse_script(sql)?.iter().map(|statement| session.execute(statement)).collect()
}

/// A session with [`SOURCES`].
pub(crate) fn session() -> Session {
    let mut session = Session::default();
    execute(&mut session, SOURCES).unwrap();
    session
}

/// What EXPLAIN prints of a query over [`SOURCES`], after some preparation.
pub(crate) fn explain_after(preparation: &str, sql: &str) -> String {
    let mut session = session();
    execute(&mut session, preparation).unwrap();
    let outcomes = execute(&mut session, &format!("EXPLAIN {sql}"));
    match outcomes.as_ref().map(Vec::as_slice) {
        Ok([Outcome::Rows(rows)]) => lines(rows),
        Ok(other) => panic!("no rows: {other:?}"),
        Err(error) => format!("error: {error}"),
    }
}

fn check_explain(sql: &str, expect: Expect) {
    expect.assert_eq(&explain_after("", sql));
}

/// The error of a script's first statement that fails.
fn error(session: &mut Session, sql: &str) -> String {
    match execute(session, sql) {
        Ok(outcomes) => panic!("no error: {outcomes:?}"),
        // The line's end makes expect-test write the text in a form that rustfmt leaves alone.
        Err(error) => format!("{error}\n"),
    }
}

fn check_error(sql: &str, expect: Expect) {
    expect.assert_eq(&error(&mut session(), sql));
}

pub(crate) fn lines(rows: &RecordBatch) -> String {
    let column = rows.column(0).as_string::<i32>();
    column.iter().flatten().map(|line| format!("{line}\n")).collect()
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done(message) | Outcome::Created { message, .. } | Outcome::Dropped { message, .. } => message.clone(),
        Outcome::Rows(rows) => pretty_format_batches(std::slice::from_ref(rows)).unwrap().to_string(),
        Outcome::JobCommand(command) => format!("{command:?}"),
        Outcome::Alias(command) => format!("{command:?}"),
        Outcome::Export(command) => format!("{command:?}"),
        Outcome::Access(command) => command.to_string(),
        Outcome::Migration { settings, .. } => format!("migration from {}", settings.from_savepoint),
        Outcome::Job(job) => format!("job: {}", job.text()),
    }
}

/// One graph of all jobs of a script.
pub(crate) fn graph(session: &mut Session, sql: &str) -> Result<DataflowGraph> {
    let mut builder = JobBuilder::new(session);
    for outcome in execute(session, sql)? {
        if let Outcome::Job(job) = outcome {
            builder.add(&job)?;
        }
    }
    builder.finish()
}

/// Every expression of a graph can be evaluated over the schema that it will see.
fn check_expressions(graph: &DataflowGraph) {
    use tidemill_plans::node::NodeKind;
    for node in &graph.nodes {
        let inputs = graph.input_schemas(node.id).unwrap();
        let check = |expr: &tidemill_plans::expr::StreamExpr, schema: &arrow::datatypes::Schema| {
            expr.to_physical(schema).unwrap_or_else(|error| panic!("{}: {expr}: {error}", node.id));
        };
        match &node.kind {
            NodeKind::Source(source) => {
                source.projection.iter().for_each(|column| check(&column.expr, &source.columns));
                source.event_time.iter().for_each(|time| check(&time.watermark, &node.schema));
            }
            NodeKind::Project(project) => project.columns.iter().for_each(|column| check(&column.expr, &inputs[0])),
            NodeKind::Filter(filter) => check(&filter.predicate, &inputs[0]),
            NodeKind::IntervalJoin(join) => join.filter.iter().for_each(|filter| check(filter, &join.pairs)),
            NodeKind::WindowAggregate(aggregate) => check_aggregates(&aggregate.aggregates, &inputs[0]),
            NodeKind::SessionWindow(session) => check_aggregates(&session.aggregates, &inputs[0]),
            NodeKind::Aggregate(aggregate) => check_aggregates(&aggregate.aggregates, &inputs[0]),
            _ => {}
        }
    }
}

fn check_aggregates(aggregates: &[tidemill_plans::expr::StreamExpr], schema: &arrow::datatypes::Schema) {
    use datafusion::common::DFSchema;
    use datafusion::execution::context::ExecutionProps;
    use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
    use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
    let logical = DFSchema::try_from(schema.clone()).unwrap();
    let (props, planning) = (ExecutionProps::new(), PhysicalPlanningContext::default());
    for aggregate in aggregates {
        LoweredAggregateBuilder::new(&aggregate.0, &logical, schema, &props, &planning).build().unwrap();
    }
}
