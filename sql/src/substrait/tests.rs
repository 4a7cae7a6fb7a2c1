//! Plans in, graphs and errors out.

mod damaged;
mod peers;
mod refused;
mod relations;
mod subqueries;
mod written;

use super::*;
use crate::statement::Statement;
use crate::tests::{lines, session};
use crate::{Outcome, Session};

/// What EXPLAIN would print of a plan over the sources of all tests.
fn explain(session: &mut Session, plan: &[u8]) -> String {
    let explained = parse_substrait(plan).and_then(|parsed| {
        let statement = Statement::Explain(Box::new(parsed.statement));
        session.execute(&ParsedStatement::without_text(String::from("plan"), statement))
    });
    match explained {
        Ok(Outcome::Rows(rows)) => lines(&rows),
        Ok(other) => panic!("no rows: {other:?}"),
        // The line's end makes expect-test write the text in a form that rustfmt leaves alone.
        Err(error) => format!("{error}\n"),
    }
}

/// How PyPI's datafusion makes plans of queries.
const FORMS: [&str; 2] = ["parsed", "optimised"];

/// The plan that it has made of a query, if it can say it.
fn made(name: &str, form: &str) -> Option<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/substrait/tests/plans");
    std::fs::read(folder.join(format!("{name}.{form}"))).ok()
}

/// The queries that there are plans of, by name.
fn queries() -> Vec<(&'static str, &'static str)> {
    let parts = include_str!("tests/plans/queries.sql").split("-- ").skip(1);
    parts
        .map(|part| part.split_once('\n').unwrap())
        .map(|(name, sql)| (name, sql.trim().trim_end_matches(';')))
        .collect()
}
