//! DataFusion in the test's own process: what a query answers when all of its rows are there at once.
//!
//! A stream's final rows must be the rows of this answer. Both sides are compared as the lines that
//! `--format csv` prints, numbers with a fraction to twelve digits: the order of a sum is nobody's promise.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use tokio::runtime::{Builder, Runtime};

/// A context with tables, and what runs its queries.
pub(crate) struct Oracle {
    context: SessionContext,
    runtime: Runtime,
}

impl Oracle {
    pub(crate) fn new() -> Self {
        Self { context: SessionContext::new(), runtime: Builder::new_current_thread().build().unwrap() }
    }

    /// Adds a table with these rows.
    pub(crate) fn add_table(&self, name: &str, rows: Vec<RecordBatch>) {
        let table = MemTable::try_new(rows[0].schema(), vec![rows]).unwrap();
        self.context.register_table(name, Arc::new(table)).unwrap();
    }

    /// The answer to a query, or why there is none; also of a CREATE VIEW, without rows.
    pub(crate) fn answer(&self, sql: &str) -> Result<Answer, String> {
        let collected = self.runtime.block_on(async {
            let frame = self.context.sql(sql).await?;
            let schema = Arc::new(frame.schema().as_arrow().clone());
            Ok((schema, frame.collect().await?))
        });
        let (schema, batches) = collected.map_err(|error: datafusion::error::DataFusionError| error.to_string())?;
        let mut text = Vec::new();
        let mut writer = WriterBuilder::new().with_header(true).build(&mut text);
        writer.write(&RecordBatch::new_empty(schema)).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        drop(writer);
        let text = String::from_utf8(text).unwrap();
        let (header, rows) = text.split_once('\n').unwrap_or_default();
        Ok(Answer { header: header.to_owned(), rows: rows.lines().map(normal_row).collect() })
    }
}

/// The rows of a result as lines of CSV, in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) header: String,
    pub(crate) rows: Vec<String>,
}

impl Answer {
    /// The same rows in the order of their text.
    pub(crate) fn sorted(mut self) -> Self {
        self.rows.sort_unstable();
        self
    }

    /// What differs from the right answer, if anything does: both are multisets of rows.
    pub(crate) fn difference(&self, right: &Self) -> Option<String> {
        let (found, right) = (self.clone().sorted(), right.clone().sorted());
        if found == right {
            return None;
        }
        let (mut wrong, mut missing) = (found.rows, Vec::new());
        for row in right.rows {
            match wrong.iter().position(|other| *other == row) {
                Some(place) => drop(wrong.remove(place)),
                None => missing.push(row),
            }
        }
        Some(format!("{}\n{}{}", self.header, shown("wrong", &wrong), shown("missing", &missing)))
    }
}

/// The first rows of some.
fn shown(what: &str, rows: &[String]) -> String {
    let first: String = rows.iter().take(10).map(|row| format!("  {row}\n")).collect();
    format!("{} {what} rows\n{first}", rows.len())
}

/// The results that `--format csv` has printed one after the other; their headers tell them apart.
pub(crate) fn printed(stdout: &str, headers: &[&str]) -> Vec<Answer> {
    let mut answers: Vec<Answer> = Vec::new();
    for line in stdout.lines() {
        match (headers.get(answers.len()), answers.last_mut()) {
            (Some(header), _) if *header == line => answers.push(Answer { header: line.to_owned(), rows: Vec::new() }),
            (_, Some(answer)) => answer.rows.push(normal_row(line)),
            (header, None) => panic!("the first line is '{line}' and not the header {header:?}"),
        }
    }
    assert_eq!(answers.len(), headers.len(), "results of {headers:?}");
    answers
}

/// A row in which equal numbers have equal texts.
pub(crate) fn normal_row(line: &str) -> String {
    line.split(',').map(normal_field).collect::<Vec<_>>().join(",")
}

fn normal_field(field: &str) -> String {
    match field.parse::<f64>() {
        // Zero has a sign and what cancels out leaves some dust.
        Ok(number) if field.contains(['.', 'e']) && number.abs() < 1e-12 => String::from("0.0"),
        Ok(number) if field.contains(['.', 'e']) => format!("{number:.11e}"),
        _ => field.to_owned(),
    }
}

#[test]
fn numbers_are_compared_to_twelve_digits() {
    assert_eq!(normal_row("a,0.30000000000000004,7,"), normal_row("a,0.3,7,"));
    assert_ne!(normal_row("0.300000000001"), normal_row("0.3"));
    assert_ne!(normal_row("3"), normal_row("3.0"), "a whole number is not a float");
}

#[test]
fn a_row_too_many_is_a_difference() {
    let answer =
        |rows: &[&str]| Answer { header: String::from("a"), rows: rows.iter().map(|r| r.to_string()).collect() };
    assert_eq!(answer(&["1", "2"]).difference(&answer(&["2", "1"])), None);
    assert!(answer(&["1", "1"]).difference(&answer(&["1"])).unwrap().contains("1 wrong rows\n  1\n"));
}
