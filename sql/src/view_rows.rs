//! Materialized views that a query as a whole reads: as tables, of the rows that they have when it is planned.
//!
//! A SELECT of views is a stream's unless somebody says otherwise; what only queries as a whole can do (COPY, CREATE TABLE
//! AS) reads views so in any case.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use arrow::array::RecordBatch;
use datafusion::sql::sqlparser::ast::{Query, visit_relations};
use tidemill_plans::catalog::ObjectKind;
use tidemill_plans::settings::Execution;

use crate::ast::{dotted, quoted};
use crate::batch::VIEWS_MAX;
use crate::catalog::{Catalog, Detail};
use crate::parser::ParsedStatement;
use crate::session::Session;
use crate::statement::{Statement, StreamQuery};

impl Session {
    /// The materialized views that statements of a text read as tables, each with the statement that reads it.
    #[must_use]
    pub fn views_read_whole(&self, statements: &[ParsedStatement]) -> BTreeMap<String, String> {
        let mut views = BTreeSet::new();
        if self.runs_batches && !self.running.is_empty() {
            let may_ask = |one: &ParsedStatement| matches!(&one.statement, Statement::Set { name, .. } if name.text == "execution");
            let is_asked_for = self.settings.execution == Execution::Batch || statements.iter().any(may_ask);
            let queries = statements.iter().filter_map(|one| read_whole(&one.statement, is_asked_for)?.sql());
            queries.for_each(|query| find_views(query, &self.catalog.whole(), 0, &mut views));
        }
        views.into_iter().map(|view| (view.clone(), format!("SELECT * FROM {}", quoted(&view)))).collect()
    }

    /// Takes note of what such views have, for what is executed next.
    pub fn set_view_rows(&mut self, rows: BTreeMap<String, RecordBatch>) {
        self.view_rows = rows;
    }
}

/// The query of a statement that runs as a whole, whatever it reads, or if that is asked for.
fn read_whole(statement: &Statement, is_asked_for: bool) -> Option<&StreamQuery> {
    match statement {
        Statement::Copy(copy) => Some(&copy.query),
        Statement::CreateTableAs(create) => Some(&create.query),
        Statement::CreateModel(create) if is_asked_for => Some(&create.query),
        Statement::Query(query) if is_asked_for => Some(query),
        Statement::Insert(insert) if is_asked_for => Some(&insert.query),
        Statement::Explain(inner) | Statement::Analyze(inner) => read_whole(inner, is_asked_for),
        _ => None,
    }
}

/// Finds the materialized views that a query reads, by way of views too.
fn find_views(query: &Query, catalog: &Catalog, depth: usize, views: &mut BTreeSet<String>) {
    let mut named = BTreeSet::new();
    let _ = visit_relations(query, |name| {
        named.insert(dotted(name));
        ControlFlow::<()>::Continue(())
    });
    for name in named {
        let Some(object) = catalog.find(&name) else { continue };
        match &object.detail {
            Detail::View(..) if object.kind == ObjectKind::MaterializedView => {
                views.insert(name);
            }
            // Deeper ones are refused when the query is planned.
            Detail::View(inner, _) if depth < VIEWS_MAX => {
                inner.sql().iter().for_each(|query| find_views(query, catalog, depth + 1, views));
            }
            _ => {}
        }
    }
}
