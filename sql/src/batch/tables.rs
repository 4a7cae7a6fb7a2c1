//! What the names in FROM mean to a query that runs as a whole: tables that end, and views of such.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{LogicalPlan, TableSource};
use tidemill_plans::batch::BoundedTable;
use tidemill_plans::bucket::is_store_option;
use tidemill_plans::catalog::ObjectKind;
use tidemill_plans::node::SourceNode;

use super::predict::Asked;
use super::{names_of, no_table};
use crate::access::secret_of;
use crate::catalog::{Catalog, Detail, Object, StreamInfo};
use crate::error::{Position, Result};
use crate::lower::scan::is_lookup;

/// The only connector whose tables are read so.
const FILES: &str = "files";

/// Finds the tables of one query, and notes which they were.
pub(super) struct Tables<'a> {
    catalog: &'a Catalog,
    asked: &'a Asked,
    depth: usize,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Tables<'a> {
    pub(super) fn new(catalog: &'a Catalog, asked: &'a Asked, depth: usize) -> Self {
        Self { catalog, asked, depth, used: RefCell::default() }
    }

    /// The names that have been found.
    pub(super) fn used(self) -> BTreeSet<String> {
        self.used.into_inner()
    }

    /// What a name means.
    pub(super) fn find(&self, name: &str) -> DataFusionResult<Arc<dyn TableSource>> {
        self.source_of(name).map_err(|error| DataFusionError::External(Box::new(error)))
    }

    fn source_of(&self, name: &str) -> Result<Arc<dyn TableSource>> {
        if let Some(rows) = self.catalog.system.get(name) {
            if self.catalog.find(name).is_some() {
                self.used.borrow_mut().insert(name.to_owned());
            }
            return in_memory(rows);
        }
        if let Some(rows) = self.asked.tables.get(name) {
            return in_memory(rows);
        }
        if let Some(object) = self.asked.training_sets.get(name)
            && let Detail::Source(source, info) = &object.detail
        {
            return table(object, source, info);
        }
        let Some(object) = self.catalog.find(name) else {
            return Err(self.catalog.unknown("source or view", name, Position::UNKNOWN, |_| true));
        };
        object.check_restored()?;
        self.used.borrow_mut().insert(name.to_owned());
        match &object.detail {
            Detail::Source(source, info) => table(object, source, info),
            Detail::View(query, _) if object.kind == ObjectKind::View => {
                let whole = self.catalog.whole();
                let plan = names_of(query, &whole, &mut BTreeSet::new(), self.depth + 1)?;
                Ok(Arc::new(View { plan }))
            }
            Detail::View(..) => Err(no_table(name, "is held by a job, and has not been read")),
            Detail::Sink(_) | Detail::Model(_) | Detail::Function(_) | Detail::Lost(_) => {
                Err(no_table(name, "has no rows"))
            }
        }
    }
}

fn in_memory(rows: &RecordBatch) -> Result<Arc<dyn TableSource>> {
    Ok(provider_as_source(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows.clone()]])?)))
}

/// A source as a table, if it is one that ends and neither has a time nor changes.
fn table(object: &Object, source: &SourceNode, info: &StreamInfo) -> Result<Arc<dyn TableSource>> {
    match why_no_table(source, info) {
        Some(why) => Err(no_table(&object.name, why)),
        None => Ok(Arc::new(BoundedTable { source: source.clone(), columns: Arc::clone(&info.schema), files: None })),
    }
}

fn why_no_table(source: &SourceNode, info: &StreamInfo) -> Option<&'static str> {
    let reasons = [
        (source.connector != FILES, "is not of files"),
        (!info.bounded, "has no end"),
        (!info.times.is_empty(), "has an event time"),
        (info.changelog, "has rows that are updated"),
        (is_lookup(source), "is looked up by key"),
        (source.options.iter().any(|(key, _)| key == "rows_per_second"), "is read at a pace"),
        // EXPLAIN and errors show all other options.
        (
            source.options.iter().any(|(key, value)| secret_of(value).is_some() && !is_store_option(key)),
            "has a secret among its options that is not one of a store",
        ),
    ];
    reasons.into_iter().find(|(is_so, _)| *is_so).map(|(_, why)| why)
}

/// A view, which is planned where it is named.
struct View {
    plan: LogicalPlan,
}

impl TableSource for View {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.plan.schema().inner())
    }

    fn get_logical_plan(&'_ self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}
