//! What clients ask about the catalog: one catalog with one schema, for objects have plain names.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::error::FlightError;
use arrow_flight::sql::{CommandGetCatalogs, CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTables};
use tidemill_plans::catalog::ObjectKind;
use tidemill_sql::{TableInfo, sql_type_name};

use super::client::{CATALOG, SCHEMA};

type Result<T, E = FlightError> = std::result::Result<T, E>;

/// The kinds of tables. CREATE TABLE is another word for CREATE SOURCE, and clients look for tables.
pub(super) const TABLE_TYPES: [&str; 4] = ["MATERIALIZED VIEW", "SINK", "TABLE", "VIEW"];

fn table_type(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::MaterializedView => "MATERIALIZED VIEW",
        ObjectKind::Sink => "SINK",
        ObjectKind::View => "VIEW",
        ObjectKind::Source | ObjectKind::Model | ObjectKind::Function => "TABLE",
    }
}

/// Whether a client asks for this catalog or schema, or does not say.
pub(super) fn is_here(asked: &Option<String>, name: &str) -> bool {
    asked.as_deref().is_none_or(|asked| asked == name)
}

pub(super) fn catalogs(query: CommandGetCatalogs) -> Result<RecordBatch> {
    let mut builder = query.into_builder();
    builder.append(CATALOG);
    builder.build()
}

pub(super) fn schemas(query: CommandGetDbSchemas) -> Result<RecordBatch> {
    let mut builder = query.into_builder();
    builder.append(CATALOG, SCHEMA);
    builder.build()
}

pub(super) fn tables(query: CommandGetTables, tables: &[TableInfo]) -> Result<RecordBatch> {
    let mut builder = query.into_builder();
    for table in tables {
        builder.append(CATALOG, SCHEMA, &table.name, table_type(table.kind), &described(table))?;
    }
    builder.build()
}

/// The columns of a table, each with what JDBC's drivers look for.
fn described(table: &TableInfo) -> Schema {
    let described = |field: &Arc<Field>| {
        let metadata = [
            ("CATALOG_NAME", CATALOG.to_owned()),
            ("SCHEMA_NAME", SCHEMA.to_owned()),
            ("TABLE_NAME", table.name.clone()),
            ("TYPE_NAME", sql_type_name(field.data_type())),
        ];
        let metadata = metadata.into_iter().map(|(key, value)| (format!("ARROW:FLIGHT:SQL:{key}"), value));
        field.as_ref().clone().with_metadata(metadata.collect::<HashMap<_, _>>())
    };
    Schema::new(table.columns.fields().iter().map(described).collect::<Vec<_>>())
}

pub(super) fn table_types() -> Result<RecordBatch> {
    let types: ArrayRef = Arc::new(StringArray::from_iter_values(TABLE_TYPES));
    Ok(RecordBatch::try_new(table_type_columns(), vec![types])?)
}

pub(super) fn table_type_columns() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("table_type", DataType::Utf8, false)]))
}

/// The columns by which rows of a table replace each other.
pub(super) fn primary_keys(query: &CommandGetPrimaryKeys, tables: &[TableInfo]) -> Result<RecordBatch> {
    let is_asked = is_here(&query.catalog, CATALOG) && is_here(&query.db_schema, SCHEMA);
    let table = tables.iter().find(|table| is_asked && table.name == query.table);
    let key: &[String] = table.map_or(&[], |table| &table.key);
    let texts = |text: &str| Arc::new(StringArray::from(vec![text; key.len()])) as ArrayRef;
    let sequence = 1..=i32::try_from(key.len()).unwrap_or(i32::MAX);
    let columns: Vec<ArrayRef> = vec![
        texts(CATALOG),
        texts(SCHEMA),
        texts(&query.table),
        Arc::new(StringArray::from_iter_values(key)),
        Arc::new(StringArray::new_null(key.len())),
        Arc::new(Int32Array::from_iter_values(sequence)),
    ];
    Ok(RecordBatch::try_new(primary_key_columns(), columns)?)
}

pub(super) fn primary_key_columns() -> SchemaRef {
    columns(&[
        ("catalog_name", DataType::Utf8, true),
        ("db_schema_name", DataType::Utf8, true),
        ("table_name", DataType::Utf8, false),
        ("column_name", DataType::Utf8, false),
        ("key_name", DataType::Utf8, true),
        ("key_sequence", DataType::Int32, false),
    ])
}

/// The columns of foreign keys, of which there are none.
pub(super) fn foreign_key_columns() -> SchemaRef {
    columns(&[
        ("pk_catalog_name", DataType::Utf8, true),
        ("pk_db_schema_name", DataType::Utf8, true),
        ("pk_table_name", DataType::Utf8, false),
        ("pk_column_name", DataType::Utf8, false),
        ("fk_catalog_name", DataType::Utf8, true),
        ("fk_db_schema_name", DataType::Utf8, true),
        ("fk_table_name", DataType::Utf8, false),
        ("fk_column_name", DataType::Utf8, false),
        ("key_sequence", DataType::Int32, false),
        ("fk_key_name", DataType::Utf8, true),
        ("pk_key_name", DataType::Utf8, true),
        ("update_rule", DataType::UInt8, false),
        ("delete_rule", DataType::UInt8, false),
    ])
}

fn columns(columns: &[(&str, DataType, bool)]) -> SchemaRef {
    let field = |(name, data_type, nullable): &(&str, DataType, bool)| Field::new(*name, data_type.clone(), *nullable);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}
