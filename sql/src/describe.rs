//! What statements come to, before anything is done: clients ask for the columns of a result first.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use tidemill_plans::batch::{BatchQuery, Wanted};
use tidemill_plans::catalog::ObjectKind;
use tidemill_plans::ids::OperatorId;

use crate::access::AccessCommand;
use crate::catalog::{Detail, Object};
use crate::constant::constant_rows;
use crate::error::{Result, SqlError};
use crate::job::{JobBuilder, JobStatement, ResultColumns};
use crate::parameters::samples;
use crate::parser::ParsedStatement;
use crate::session::{Outcome, Session};
use crate::statement::JobCommand;

/// What the last statement of a text comes to.
#[derive(Debug)]
pub enum Description {
    /// A SELECT.
    Query {
        /// What is to run for it.
        job: Box<JobStatement>,
        /// Its columns.
        columns: ResultColumns,
        /// What the user should know of it.
        warnings: Vec<String>,
        /// Its rows, if they are known without running it.
        rows: Option<RecordBatch>,
    },
    /// EXPLAIN ANALYZE.
    Analysis(Box<JobStatement>),
    /// Rows that are known at once; the statement has no effect.
    Rows(RecordBatch),
    /// Rows about jobs, for whoever runs them.
    JobRows(JobCommand),
    /// Rows about roles, privileges, secrets or the audit log, for whoever keeps them.
    AccessRows(AccessCommand),
    /// The statement has an effect, or many, and says so.
    Effect,
}

/// An object that rows can be read from or written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ObjectKind,
    /// Its columns; none for a sink that takes any.
    pub columns: SchemaRef,
    /// The names of the columns that tell its rows apart, if they do.
    pub key: Vec<String>,
}

impl Session {
    /// What the statements of a text come to, each behind those before it. Nothing is done. Only the last one may have
    /// rows. The parameters of the statements have no values yet.
    pub fn describe(&self, statements: &[ParsedStatement]) -> Result<Description> {
        let mut scratch = self.clone();
        let Some((last, others)) = statements.split_last() else {
            return Err(SqlError::invalid("there is no statement"));
        };
        for statement in others {
            if statement.has_rows() {
                let hint = "rows come of the last statement of a text; send the statements one by one";
                return Err(
                    SqlError::unsupported("a statement with rows in front of others", hint).at(statement.position())
                );
            }
            scratch.execute_sample(statement)?;
        }
        Ok(match scratch.execute_sample(last)? {
            Outcome::Job(job) if job.is_analyzed() => Description::Analysis(job),
            Outcome::Job(job) if job.is_select() => scratch.describe_query(*job)?,
            Outcome::Rows(rows) => Description::Rows(rows),
            Outcome::JobCommand(command) if command.has_rows() => Description::JobRows(command),
            Outcome::Access(command) if command.has_rows() => Description::AccessRows(command),
            _ => Description::Effect,
        })
    }

    /// Executes a statement, with made-up values for its parameters.
    fn execute_sample(&mut self, statement: &ParsedStatement) -> Result<Outcome> {
        if statement.parameter_count() == 0 {
            return self.execute(statement);
        }
        let types = self.parameter_types(statement);
        let mut error = None;
        for sample in samples(statement, &types)? {
            match self.execute(&sample) {
                Ok(outcome) => return Ok(outcome),
                Err(failure) => error = error.or(Some(failure)),
            }
        }
        match error {
            // Which types a sink takes shows with the values; that it is not there, or not for whoever asks, does not.
            Some(error) if statement.has_rows() || is_about_names(&error) => Err(error),
            _ => Ok(Outcome::Done(String::new())),
        }
    }

    fn describe_query(&self, job: JobStatement) -> Result<Description> {
        if let Some(query) = job.batch() {
            return self.describe_batch(&job, query);
        }
        let mut builder = JobBuilder::new(self);
        let added = builder.add(&job)?;
        let columns = added.result.ok_or_else(|| SqlError::invalid("a result has no columns"))?;
        if let Some((at, why)) = builder.silent().first() {
            return Err(SqlError::unsupported("this query here", why.clone()).at(*at));
        }
        let warnings = builder.warnings().into_iter().map(|(at, warning)| format!("{at}{warning}")).collect();
        let rows = constant_rows(&builder.graph, columns.operator);
        Ok(Description::Query { job: Box::new(job), columns, warnings, rows })
    }

    /// A query that runs as a whole; one of constants is computed here, if that is possible.
    fn describe_batch(&self, job: &JobStatement, query: &BatchQuery) -> Result<Description> {
        let columns = job.batch_columns(query, OperatorId(0));
        let (warnings, mut rows) = (Vec::new(), None);
        if query.wanted == Wanted::Rows && query.tables()?.is_empty() {
            rows = self.constant_rows(job);
        }
        let columns = match &rows {
            Some(rows) => ResultColumns { schema: rows.schema(), ..columns },
            None => columns,
        };
        Ok(Description::Query { job: Box::new(job.clone()), columns, warnings, rows })
    }

    /// The rows of a query that reads no table, if it can be a stream of one row.
    fn constant_rows(&self, job: &JobStatement) -> Option<RecordBatch> {
        let mut builder = JobBuilder::new(self);
        let added = builder.add(job).ok()?;
        constant_rows(&builder.graph, added.result?.operator)
    }

    /// The objects that rows can be read from or written to, by name.
    #[must_use]
    pub fn tables(&self) -> Vec<TableInfo> {
        let mut tables: Vec<TableInfo> = self.catalog.objects().filter_map(|object| table(object)).collect();
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        tables
    }
}

/// Whether something is wrong whatever the values of parameters are.
fn is_about_names(error: &SqlError) -> bool {
    matches!(error, SqlError::Denied { .. } | SqlError::Unknown { .. })
}

fn table(object: &Object) -> Option<TableInfo> {
    let (columns, key) = match &object.detail {
        Detail::Source(_, info) | Detail::View(_, info) => {
            let name = |column: &usize| info.schema.field(*column).name().clone();
            (Arc::clone(&info.schema), info.upsert_keys.iter().map(name).collect())
        }
        Detail::Sink(sink) => (sink.schema.clone().unwrap_or_else(|| Arc::new(Schema::empty())), sink.key.clone()),
        Detail::Model(_) | Detail::Function(_) | Detail::Lost(_) => return None,
    };
    Some(TableInfo { name: object.name.clone(), kind: object.kind, columns, key })
}

/// The name of a type in SQL.
#[must_use]
pub fn sql_type_name(data_type: &DataType) -> String {
    crate::planner::source::type_name(data_type)
}
