//! Sinks that statements write to, put into the graph when all of them are known.
//!
//! Several INSERTs into one sink are one operator with several inputs: it alone writes the sink's
//! files, in one order. Two sinks must not write to one place, for each would destroy what the other
//! has written.

use arrow::datatypes::SchemaRef;
use tidemill_plans::connector;
use tidemill_plans::node::{NodeKind, SinkNode};

use super::stream::Stream;
use crate::error::{Result, SqlError};
use crate::job::JobBuilder;
use crate::planner::source::type_name;

/// Where rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The name of the sink.
    pub(crate) table: String,
    pub(crate) connector: String,
    pub(crate) options: Vec<(String, String)>,
    /// The columns that tell its rows apart, if it has to know.
    pub(crate) key: Vec<String>,
}

/// A sink and the streams that are written to it; never none.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    target: Target,
    inputs: Vec<Stream>,
}

impl JobBuilder {
    /// Writes a stream to a target.
    pub(crate) fn add_write(&mut self, stream: &Stream, target: Target) -> Result<()> {
        check_changes(stream, &target)?;
        check_key(stream, &target)?;
        if let Some(other) = self.writes.iter().find(|write| same_place(&write.target, &target)) {
            let (one, two) = (&other.target.table, &target.table);
            let message = format!("the sinks '{one}' and '{two}' write to the same path; give each its own");
            return Err(SqlError::invalid(message));
        }
        match self.writes.iter_mut().find(|write| write.target == target) {
            Some(_) if !target.key.is_empty() => {
                let message = format!(
                    "two queries write to sink '{}', whose rows replace each other by key: which one is last would be \
                     chance; use a sink for each",
                    target.table
                );
                return Err(SqlError::invalid(message));
            }
            Some(write) => {
                write.inputs.first().map_or(Ok(()), |first| check_alike(first, stream, &target.table))?;
                write.inputs.push(stream.clone());
            }
            None => self.writes.push(Write { target, inputs: vec![stream.clone()] }),
        }
        Ok(())
    }

    /// The sinks that are written to by name, each with how many streams are.
    pub(crate) fn writes_of_each(&self) -> Vec<(String, usize)> {
        self.writes.iter().map(|write| (write.target.table.clone(), write.inputs.len())).collect()
    }

    /// Adds the operators of all sinks, behind everything that they read.
    pub(crate) fn finish_writes(&mut self) {
        for Write { target, inputs } in std::mem::take(&mut self.writes) {
            let Some(first) = inputs.first() else { continue };
            let info = first.info.clone();
            let in_parallel = connector::writes_in_parallel(&target.connector, !target.key.is_empty());
            let parallelism = if in_parallel { first.parallelism } else { 1 };
            let upsert_keys = match places(&target.key, &info.schema) {
                Some(key) if !key.is_empty() => key,
                // With several inputs the same keys may come from each; and a key that may be declared has to be.
                _ if inputs.len() > 1 || connector::takes_key(&target.connector) => Vec::new(),
                _ => info.upsert_keys.clone(),
            };
            self.begin_object(&target.table);
            let node = NodeKind::Sink(SinkNode {
                table: target.table,
                connector: target.connector,
                options: target.options,
                time: info.times.first().copied(),
                upsert_keys,
                order_by: Vec::new(),
                limit: None,
                live: false,
            });
            let sink = self.add_operator(node, parallelism, info);
            for input in &inputs {
                self.connect(input, &sink, 0);
            }
        }
    }
}

/// Refuses updating rows where only new ones are taken.
fn check_changes(stream: &Stream, target: &Target) -> Result<()> {
    let has_key = connector::takes_key(&target.connector) && !target.key.is_empty();
    if !stream.info.changelog || has_key || connector::takes_changes(&target.connector, &target.options)? {
        return Ok(());
    }
    let format = target.options.iter().find(|(key, _)| key == "format");
    let format = format.map(|(_, format)| format!(" with format '{format}'")).unwrap_or_default();
    Err(SqlError::invalid(format!(
        "the rows for '{}' are updated, but the connector '{}'{format} only takes new rows; either aggregate over TUMBLE \
         or HOP, whose rows are final, or write to what takes updates: files with format 'debezium-json' or \
         'upsert-json', postgres with a PRIMARY KEY, print, blackhole",
        target.table, target.connector
    )))
}

/// Refuses rows that a sink could not tell apart by its key: a new row would replace another's.
fn check_key(stream: &Stream, target: &Target) -> Result<()> {
    if target.key.is_empty() {
        return Ok(());
    }
    let (table, names) = (&target.table, target.key.join(", "));
    let Some(key) = places(&target.key, stream.schema()) else {
        let columns = shown_columns(stream.schema());
        return Err(SqlError::invalid(format!("the key ({names}) of sink '{table}' is not in its rows: {columns}")));
    };
    if !stream.info.changelog {
        return check_last(stream, table);
    }
    let own = &stream.info.upsert_keys;
    if !own.is_empty() && own.iter().all(|column| key.contains(column)) {
        return Ok(());
    }
    let own: Vec<&str> = own.iter().map(|column| stream.schema().field(*column).name().as_str()).collect();
    let (told_apart, way_out) = match own.as_slice() {
        [] => (String::from("nothing tells them apart"), String::from("group them by the columns of the key")),
        own => {
            let own = own.join(", ");
            (format!("only ({own}) tells them apart"), format!("declare PRIMARY KEY ({own})"))
        }
    };
    Err(SqlError::invalid(format!(
        "the rows for sink '{table}' are updated, and {told_apart}: by the sink's key ({names}), rows would replace \
         others; either {way_out}, or write all changes with format 'debezium-json'"
    )))
}

/// Refuses new rows that nothing puts in order: which row of a key is the last one would be chance.
fn check_last(stream: &Stream, table: &str) -> Result<()> {
    if stream.parallelism == 1 || !stream.info.times.is_empty() {
        return Ok(());
    }
    let hint = "keep the event time among the query's columns, or SET parallelism = 1";
    Err(SqlError::invalid(format!("which row of a key is the last one for sink '{table}' is not known; {hint}")))
}

/// Where columns are; `None` if one is not there.
fn places(names: &[String], schema: &SchemaRef) -> Option<Vec<usize>> {
    names.iter().map(|name| schema.index_of(name).ok()).collect()
}

/// Whether two different sinks would write the same files.
fn same_place(one: &Target, two: &Target) -> bool {
    fn path(target: &Target) -> Option<&str> {
        let (_, path) = target.options.iter().find(|(key, _)| key == "path")?;
        Some(path.trim_start_matches("./").trim_end_matches('/'))
    }
    one.connector == two.connector && one.table != two.table && path(one).is_some() && path(one) == path(two)
}

/// Checks that two queries can be written to one sink.
fn check_alike(first: &Stream, other: &Stream, table: &str) -> Result<()> {
    let (one, two) = (shown_columns(first.schema()), shown_columns(other.schema()));
    let wrong = |what: String| Err(SqlError::invalid(format!("the queries for sink '{table}' differ: {what}")));
    if one != two {
        return wrong(format!("one gives ({one}), another ({two}); declare the sink's columns, or name them alike"));
    }
    if first.info.changelog != other.info.changelog {
        return wrong(String::from("one gives rows that are updated, another new rows only; use a sink for each"));
    }
    if first.info.times.first() != other.info.times.first() {
        return wrong(String::from("their event time is in different columns; use a sink for each"));
    }
    Ok(())
}

fn shown_columns(schema: &SchemaRef) -> String {
    let columns = schema.fields().iter().map(|field| format!("{} {}", field.name(), type_name(field.data_type())));
    columns.collect::<Vec<_>>().join(", ")
}
