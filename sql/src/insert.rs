//! INSERT INTO: as a whole where that is possible, else as a stream.
//!
//! What runs as a whole shows all rows or none, and whoever asks waits for them. INSERTs of one text into one sink stay one
//! job: alone, each would put its rows in the place of the others'.

use arrow::datatypes::SchemaRef;
use tidemill_plans::batch::{CopyFormat, CopyLayout, CopyTarget, Destination};
use tidemill_plans::bucket::store_options;
use tidemill_plans::connector::option;
use tidemill_plans::node::{SinkNode, SourceNode};
use tidemill_plans::partitions::partition_columns;
use tidemill_plans::settings::{Execution, ResultOrder, Settings};

use crate::access::{Privilege, Securable};
use crate::append::columns;
use crate::batch::{self, BatchPlan, Becomes};
use crate::catalog::{Detail, SinkObject};
use crate::error::{Result, SqlError};
use crate::job::JobKind;
use crate::planner::source::column_names;
use crate::session::Session;
use crate::statement::{Insert, Name};

/// The connector whose sinks show all rows at the end, or none, though there are no checkpoints.
const FILES: &str = "files";

/// Options of a table of CSV files that say how they are written, and what DataFusion calls them.
const FORMAT_OPTIONS: [(&str, &str); 3] =
    [("header", "has_header"), ("delimiter", "delimiter"), ("null_value", "null_value")];

impl Session {
    /// What an INSERT runs.
    pub(crate) fn insert(&self, insert: &Insert) -> Result<JobKind> {
        let object = self.catalog.get(&insert.sink)?;
        if self.is_pushed(&object.name) {
            return self.append(insert);
        }
        let at = insert.sink.at;
        object.check_restored().map_err(|error| error.at(at))?;
        let allowed = || self.require(Privilege::Insert, Securable::Object(object.name.clone())).map_err(|e| e.at(at));
        match &object.detail {
            Detail::Sink(sink) => allowed().and_then(|()| self.insert_into_sink(insert, sink)),
            Detail::Source(source, info) if source.connector == FILES && info.times.is_empty() => {
                allowed().and_then(|()| self.insert_into_files(insert, source).map_err(|error| error.at(at)))
            }
            _ => {
                let message = format!(
                    "'{}' is a {} of another kind; rows can be inserted into sinks, into tables WITH (connector = \
                     'table'), and into tables of files in a folder",
                    object.name, object.kind
                );
                Err(SqlError::invalid(message).at(at))
            }
        }
    }

    fn insert_into_sink(&self, insert: &Insert, sink: &SinkObject) -> Result<JobKind> {
        let name = &insert.sink.text;
        if sink.has_query {
            let message = format!("sink '{name}' has a query of its own; create a sink without one to insert into");
            return Err(SqlError::invalid(message).at(insert.sink.at));
        }
        if let Some(first) = insert.columns.first() {
            check_columns(&insert.columns, sink).map_err(|error| error.at(first.at))?;
        }
        let kind = match self.whole_insert(insert, sink)? {
            Some(plan) => {
                self.require_uses(&plan.uses)?;
                JobKind::Batch(insert.query.clone(), Box::new(plan))
            }
            None => {
                let (target, declared) = (sink.target(name), sink.schema.clone());
                let kind = JobKind::Write { target, declared, query: insert.query.clone() };
                let uses = self.try_job(&kind).map_err(|error| self.why_neither(&insert.query, error))?;
                self.require_uses(&uses)?;
                kind
            }
        };
        Ok(kind)
    }

    /// An INSERT into a sink as a whole, if it can be that.
    fn whole_insert(&self, insert: &Insert, sink: &SinkObject) -> Result<Option<BatchPlan>> {
        let reasons = [
            (!self.runs_batches, "where nothing runs queries as a whole"),
            (insert.is_of_job, "beside others into the same sink, or from a savepoint,"),
            (insert.query.rows().is_some(), "of VALUES"),
            (sink.connector != FILES, "into a sink that is not of files"),
        ];
        let why_not = reasons.into_iter().find(|(is_so, _)| *is_so).map(|(_, why)| why);
        match (why_not, self.settings.execution) {
            (None, _) => batch::inferred(&self.settings, || self.plan_insert(insert, sink)),
            (Some(why), Execution::Batch) if insert.query.rows().is_none() => {
                let what = format!("INSERT INTO {why} with execution = 'batch'");
                Err(SqlError::unsupported(what, "SET execution = 'inferred'").at(insert.sink.at))
            }
            (Some(_), _) => Ok(None),
        }
    }

    fn plan_insert(&self, insert: &Insert, sink: &SinkObject) -> Result<BatchPlan> {
        let table = insert.sink.text.clone();
        // Which row of a key is the last one must not be chance.
        let order = if sink.key.is_empty() { self.settings.result_order } else { ResultOrder::Canonical };
        let settings = Settings { result_order: order, ..self.settings.clone() };
        let mut plan = self.whole(&insert.query, &settings)?;
        if let Some(declared) = &sink.schema {
            plan = plan.with_declared(declared, &format!("sink '{table}'"))?;
        }
        let keys = sink.key.iter().map(|key| plan.columns().index_of(key).map_err(|error| wrong_key(&error)));
        let upsert_keys = keys.collect::<Result<_>>()?;
        let options = sink.options.clone();
        let node = SinkNode { options, upsert_keys, ..SinkNode::new(&table, &sink.connector) };
        Ok(plan.going_to(Destination::Sink(Box::new(node)), Becomes::RowsOf(table)))
    }

    /// An INSERT into a table of files: one more file in its folder.
    fn insert_into_files(&self, insert: &Insert, source: &SourceNode) -> Result<JobKind> {
        let table = &source.table;
        if !self.runs_batches || self.settings.execution == Execution::Streaming {
            let hint = "INSERT INTO a sink takes rows of streams; else SET execution = 'inferred'";
            return Err(SqlError::unsupported("INSERT INTO a table of files as a stream", hint));
        }
        let target = files_of(source)?;
        let plan = self.whole(&insert.query, &self.settings)?;
        let names = columns(insert, &source.columns.0, plan.columns())?;
        let plan = plan.with_named(&source.columns.0, &names, &format!("table '{table}'"))?;
        self.require_uses(&plan.uses)?;
        let plan = plan.going_to(Destination::Files(target), Becomes::RowsOf(table.clone()));
        Ok(JobKind::Batch(insert.query.clone(), Box::new(plan)))
    }
}

impl BatchPlan {
    /// The same whose rows go there, and become that.
    pub(crate) fn going_to(mut self, destination: Destination, becomes: Becomes) -> Self {
        self.query.destination = destination;
        self.becomes = Some(becomes);
        self
    }
}

/// One more file for a table.
fn files_of(source: &SourceNode) -> Result<CopyTarget> {
    let options = &source.options;
    let (path, named) = (option(options, "path").unwrap_or_default(), option(options, "format").unwrap_or_default());
    let refused = |what: String, hint: &str| Err(SqlError::unsupported(format!("INSERT INTO {what}"), hint));
    if path.contains(['*', '?', '[']) {
        let hint = "create the table with the path of a folder";
        return refused(format!("the table '{}', whose path '{path}' is a pattern,", source.table), hint);
    }
    if !partition_columns(options).is_empty() {
        let hint = "CREATE OR REPLACE TABLE with all rows, or COPY … PARTITIONED BY into another folder";
        return refused(format!("the table '{}', whose folders say columns,", source.table), hint);
    }
    let Some(format) = written_format(named) else {
        return refused(format!("a table of files of the format '{named}'"), "use parquet, csv, json or arrow");
    };
    let (path, layout) = (path.to_owned(), CopyLayout::Addition);
    let (partition_by, store) = (Vec::new(), store_options(options));
    Ok(CopyTarget { path, format, layout, options: format_options(options), partition_by, store })
}

/// The format of a table's files, if rows can be written so.
pub(crate) fn written_format(name: &str) -> Option<CopyFormat> {
    // In one of upserts or changes a line is no row.
    CopyFormat::named(name).filter(|format| format.extension() == name)
}

/// How files are written that are read with these options of a table.
pub(crate) fn format_options(options: &[(String, String)]) -> Vec<(String, String)> {
    let given = |(ours, theirs): &(&str, &str)| Some(((*theirs).to_owned(), option(options, ours)?.to_owned()));
    FORMAT_OPTIONS.iter().filter_map(given).collect()
}

/// A column list of an INSERT must be the sink's own: sinks have no defaults to fill in.
fn check_columns(columns: &[Name], sink: &SinkObject) -> Result<()> {
    let Some(schema) = &sink.schema else {
        let hint = "the sink declares no columns; leave the list out";
        return Err(SqlError::unsupported("a column list", hint));
    };
    if is_in_order(columns, schema) {
        return Ok(());
    }
    Err(SqlError::unsupported(
        "another order or choice of columns",
        format!("give all of them: {}", column_names(schema)),
    ))
}

fn is_in_order(columns: &[Name], schema: &SchemaRef) -> bool {
    schema.fields().iter().map(|field| field.name()).eq(columns.iter().map(|column| &column.text))
}

fn wrong_key(error: &arrow::error::ArrowError) -> SqlError {
    SqlError::invalid(format!("the key of the sink is not in its rows: {error}"))
}
