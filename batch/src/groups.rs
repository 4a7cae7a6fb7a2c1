//! A table whose files are not all read alike: the rows of each group of them, with what its folders say and NULL for what it
//! lacks. A group is a branch of a union, so a filter on what folders say leaves out those that cannot have such rows, as any
//! filter does that can be computed while planning.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, TableScan, TableScanBuilder, TableSource, ident, lit,
};
use datafusion::scalar::ScalarValue;
use tidemill_plans::batch::{BoundedTable, FileGroup};
use tidemill_plans::expr::StreamSchema;

use crate::table::{Files, Texts, provider};

/// Groups of one table. All would be branches of one plan.
const GROUPS_MAX: usize = 10_000;

/// A table of a query, read the same wherever it is named.
pub(crate) struct Groups {
    name: String,
    columns: Arc<Schema>,
    groups: Vec<(FileGroup, Arc<dyn TableSource>)>,
}

impl Groups {
    /// Looks at a table's files. Those that DataFusion is to read are added to the others. Waits for the disk.
    pub(crate) fn of(
        table: &BoundedTable,
        texts: Texts,
        readers: &Files,
        by_datafusion: &mut Vec<PathBuf>,
    ) -> Result<Self> {
        let groups = readers.reader.groups(table)?;
        if groups.len() > GROUPS_MAX {
            let message = format!(
                "the table '{}' has {} folders whose rows differ, and {GROUPS_MAX} is the limit; create tables of \
                 parts of it",
                table.source.table,
                groups.len()
            );
            return Err(DataFusionError::Plan(message));
        }
        // All branches have the types of what folders say.
        let texts = if is_one(&groups) { texts } else { Texts::AsDeclared };
        let with_source = |group: FileGroup| {
            let provider = provider(table_of(table, &group)?, &group, texts, readers, by_datafusion)?;
            Ok((group, provider_as_source(provider)))
        };
        let groups = groups.into_iter().map(with_source).collect::<Result<_>>()?;
        Ok(Self { name: table.source.table.clone(), columns: Arc::clone(&table.columns), groups })
    }

    pub(crate) fn is_of(&self, table: &BoundedTable) -> bool {
        self.name == table.source.table
    }

    /// What a plan reads in the place of the table.
    pub(crate) fn in_place_of(&self, scan: TableScan) -> Result<LogicalPlan> {
        if let [(group, source)] = self.groups.as_slice()
            && is_whole(group)
        {
            let read = TableScanBuilder::new(scan.table_name, Arc::clone(source)).with_projection(scan.projection);
            return Ok(LogicalPlan::TableScan(read.with_filters(scan.filters).with_fetch(scan.fetch).build()?));
        }
        let mut union: Option<LogicalPlanBuilder> = None;
        for (group, source) in &self.groups {
            let branch = self.branch(group, source, &scan)?;
            union = Some(match union {
                Some(union) => union.union(branch)?,
                None => LogicalPlanBuilder::from(branch),
            });
        }
        let union = union.ok_or_else(|| DataFusionError::Plan(format!("the table '{}' has no files", self.name)))?;
        scan.filters.into_iter().try_fold(union.alias(scan.table_name)?, LogicalPlanBuilder::filter)?.build()
    }

    /// The rows of a group with the columns that are scanned.
    fn branch(&self, group: &FileGroup, source: &Arc<dyn TableSource>, scan: &TableScan) -> Result<LogicalPlan> {
        let all = || (0..self.columns.fields().len()).collect();
        let scanned: Vec<usize> = scan.projection.clone().unwrap_or_else(all);
        let exprs: Vec<Expr> = scanned.into_iter().map(|column| self.column(group, column)).collect::<Result<_>>()?;
        LogicalPlanBuilder::scan(self.name.as_str(), Arc::clone(source), None)?.project(exprs)?.build()
    }

    fn column(&self, group: &FileGroup, column: usize) -> Result<Expr> {
        let field = self.columns.field(column);
        if group.missing.contains(&column) {
            return Ok(lit(ScalarValue::try_from(field.data_type())?).alias(field.name()));
        }
        match group.partition.iter().find(|(said, _)| *said == column) {
            Some((_, value)) => Ok(lit(said(group, field, value.as_deref())?).alias(field.name())),
            None => Ok(ident(field.name())),
        }
    }
}

/// Whether all files of a table are read alike, and have all columns.
fn is_one(groups: &[FileGroup]) -> bool {
    matches!(groups, [group] if is_whole(group))
}

fn is_whole(group: &FileGroup) -> bool {
    group.partition.is_empty() && group.missing.is_empty()
}

/// The table of a group's files: what those have.
fn table_of(table: &BoundedTable, group: &FileGroup) -> Result<BoundedTable> {
    let is_said = |column: usize| group.partition.iter().any(|(said, _)| *said == column);
    let there: Vec<usize> = (0..table.columns.fields().len())
        .filter(|column| !group.missing.contains(column) && !is_said(*column))
        .collect();
    let mut source = table.source.clone();
    if there.len() < table.columns.fields().len() {
        let name = |column: &usize| table.columns.field(*column).name();
        let has = |named: &str| there.iter().any(|column| name(column) == named);
        source.projection.retain(|column| has(&column.name));
        let fields = source.columns.0.fields().iter().filter(|field| has(field.name())).cloned();
        source.columns = StreamSchema(Arc::new(Schema::new(fields.collect::<Vec<_>>())));
        source.declared.retain(|declared| group.partition.iter().all(|(said, _)| name(said) != declared));
    }
    Ok(BoundedTable { source, columns: Arc::new(table.columns.project(&there)?), files: None })
}

/// What folders say, as a value of a column.
fn said(group: &FileGroup, field: &Field, text: Option<&str>) -> Result<ScalarValue> {
    let Some(text) = text else { return ScalarValue::try_from(field.data_type()) };
    let text = ScalarValue::from(text);
    let value = text.cast_to(field.data_type()).ok().filter(|value| !value.is_null());
    value.ok_or_else(|| {
        let file = group.files.first().map(|file| file.display().to_string()).unwrap_or_default();
        let (name, data_type) = (field.name(), field.data_type());
        DataFusionError::External(format!("{file}: its folders say {name}={text}, which is no {data_type}").into())
    })
}
