//! INSERT INTO a source whose rows are pushed: those of a query that ends are appended to its log.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

use crate::constant::constant_rows;
use crate::error::{Result, SqlError};
use crate::job::{JobBuilder, JobKind, ResultColumns};
use crate::planner::source::column_names;
use crate::pushed::PushTarget;
use crate::session::Session;
use crate::statement::Insert;

impl Session {
    /// What an INSERT into such a source runs.
    pub(crate) fn append(&self, insert: &Insert) -> Result<JobKind> {
        let at = insert.sink.at;
        if !self.keeps_views {
            let hint = "their rows are kept by a server (tidemill serve --data-dir); in a script, insert into a sink";
            return Err(SqlError::unsupported("INSERT INTO tables in a script", hint).at(at));
        }
        let target = self.push_target(&insert.sink.text).map_err(|error| error.at(at))?;
        let query = insert.query.clone();
        // Rows that stand in the statement need nobody who runs it.
        let whole = if query.rows().is_some() { None } else { self.batch_plan(&query)? };
        let (schema, uses) = match &whole {
            Some(plan) => (Arc::clone(&plan.query.columns), plan.uses.clone()),
            None => self.appended_stream(insert, &target)?,
        };
        let columns = columns(insert, &target.columns, &schema).map_err(|error| error.at(at))?;
        self.require_uses(&uses)?;
        Ok(JobKind::Append { target, columns, query, whole: whole.map(Box::new) })
    }

    /// The columns of a stream that is appended, and what it reads.
    fn appended_stream(&self, insert: &Insert, target: &PushTarget) -> Result<(SchemaRef, Vec<String>)> {
        let (target, query) = (target.clone(), insert.query.clone());
        let kind = JobKind::Append { target, columns: Vec::new(), query, whole: None };
        let (added, uses) = JobBuilder::new(self).build(&self.scratch_job(kind))?;
        let result = added.result.ok_or_else(|| SqlError::invalid("a result has no columns"))?;
        if !result.ends {
            let hint =
                "rows are there once all are known: CREATE MATERIALIZED VIEW, or a sink, takes those of a stream";
            return Err(SqlError::unsupported("INSERT INTO a table of a query without an end", hint).at(insert.sink.at));
        }
        Ok((result.schema, uses))
    }
}

/// The names of the columns that the query's are for, in its order.
pub(crate) fn columns(insert: &Insert, target: &Schema, given: &Schema) -> Result<Vec<String>> {
    let own = target.fields().iter().map(|field| field.name().clone());
    let (given, table) = (given.fields().len(), &insert.sink.text);
    let names: Vec<String> = match insert.columns.is_empty() {
        true => own.take(given).collect(),
        false => insert.columns.iter().map(|column| column.text.clone()).collect(),
    };
    let all = || column_names(target);
    if let Some(unknown) = names.iter().find(|name| target.index_of(name).is_err()) {
        return Err(SqlError::invalid(format!("'{table}' has no column '{unknown}'; there are: {}", all())));
    }
    if let Some((_, twice)) = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name)) {
        return Err(SqlError::invalid(format!("the column '{twice}' is named twice")));
    }
    match names.len() == given {
        true => Ok(names),
        false => Err(SqlError::invalid(format!(
            "the query gives {given} columns, and {} are to be inserted; '{table}' has: {}",
            names.len(),
            all()
        ))),
    }
}

impl JobBuilder {
    /// The rows of a result, if they are known without running anything.
    #[must_use]
    pub fn known_rows(&self, result: &ResultColumns) -> Option<RecordBatch> {
        constant_rows(&self.graph, result.operator)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use tidemill_plans::settings::Settings;

    use super::*;
    use crate::{Outcome, parse_script};

    const TABLES: &str = "CREATE TABLE t (a BIGINT NOT NULL, b VARCHAR, c TIMESTAMP) WITH (connector = 'table');
        CREATE SOURCE made (a BIGINT) WITH (connector = 'datagen');
        CREATE SOURCE rows (a BIGINT, b VARCHAR) WITH (connector = 'files', path = 'rows.csv', format = 'csv');";

    /// The columns that an INSERT is into, or why it cannot be.
    fn check(mut session: Session, sql: &str, expected: Expect) {
        let mut told = String::new();
        for statement in parse_script(&format!("{TABLES} {sql}")).unwrap() {
            match session.execute(&statement) {
                Ok(Outcome::Job(job)) => {
                    let (target, columns) = job.appends().unwrap();
                    told += &format!("{}: {} ({})\n", job.message(), target.table, columns.join(", "));
                }
                Ok(_) => {}
                Err(error) => told += &format!("{error}\n"),
            }
        }
        expected.assert_eq(&told);
    }

    #[test]
    fn columns_are_those_of_the_list_or_the_first_ones() {
        let session = || Session::interactive(Settings::default());
        check(
            session(),
            "INSERT INTO t VALUES (1, 'x'), (2, NULL)",
            expect![[r#"
            INSERT INTO t: t (a, b)
        "#]],
        );
        check(
            session(),
            "INSERT INTO t (c, a) SELECT '2024-01-01', a FROM rows",
            expect![[r#"
            INSERT INTO t: t (c, a)
        "#]],
        );
        check(
            session(),
            "INSERT INTO t SELECT a FROM rows",
            expect![[r#"
            INSERT INTO t: t (a)
        "#]],
        );
    }

    #[test]
    fn what_cannot_be_appended_is_refused() {
        let session = || Session::interactive(Settings::default());
        check(
            session(),
            "INSERT INTO t SELECT a FROM made",
            expect![[r#"
            line 3, column 125: INSERT INTO a table of a query without an end is not supported; rows are there once all are known: CREATE MATERIALIZED VIEW, or a sink, takes those of a stream
        "#]],
        );
        check(
            session(),
            "INSERT INTO t (a, d) VALUES (1, 2)",
            expect![[r#"
            line 3, column 125: 't' has no column 'd'; there are: a, b, c
        "#]],
        );
        check(
            session(),
            "INSERT INTO t (a, a) VALUES (1, 2)",
            expect![[r#"
            line 3, column 125: the column 'a' is named twice
        "#]],
        );
        check(
            session(),
            "INSERT INTO t (a, b) VALUES (1)",
            expect![[r#"
            line 3, column 125: the query gives 1 columns, and 2 are to be inserted; 't' has: a, b, c
        "#]],
        );
        check(
            session(),
            "INSERT INTO t VALUES (1, 'x', NULL, 4)",
            expect![[r#"
            line 3, column 125: the query gives 4 columns, and 3 are to be inserted; 't' has: a, b, c
        "#]],
        );
        check(
            Session::new(Settings::default(), Vec::new()),
            "INSERT INTO t VALUES (1)",
            expect![[r#"
            line 3, column 125: INSERT INTO tables in a script is not supported; their rows are kept by a server (tidemill serve --data-dir); in a script, insert into a sink
        "#]],
        );
    }
}
