//! The table that a sink writes to: whether it has the columns, and the statements that write them.

use std::collections::BTreeMap;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use tidemill_plans::change::{change_column_index, change_ops};
use tidemill_plans::node::SinkNode;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::session::Session;
use super::values::{copy_lines, texts};
use super::{option, quoted, quoted_path, refused};
use crate::connector::changes::last_rows;
use crate::error::Result;

/// Rows in a statement.
const CHUNK_ROWS: usize = 8192;

/// A table whose columns have been compared with those of the rows.
pub(super) struct Table {
    /// The columns of the key in the rows.
    keys: Vec<usize>,
    /// How many columns are written.
    columns: usize,
    /// Where what belongs to the table is, with a dot behind it; nothing where the server looks by itself.
    pub(super) schema: String,
    copy: String,
    upsert: String,
    delete: String,
}

/// A column of the server's table.
struct Column {
    name: String,
    /// The name of its type, and how it is written in statements.
    type_name: String,
    type_text: String,
    /// Digits behind the point that a number keeps, if that is limited.
    scale: Option<i32>,
    is_required: bool,
    is_computed: bool,
}

const COLUMNS: &str = "
    SELECT a.attname::text, t.typname::text, format_type(t.oid, NULL), a.atttypmod,
           a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', a.attgenerated <> '' OR a.attidentity = 'a'
    FROM pg_attribute a JOIN pg_type d ON d.oid = a.atttypid
         JOIN pg_type t ON t.oid = CASE WHEN d.typtype = 'd' THEN d.typbasetype ELSE d.oid END
    WHERE a.attrelid = to_regclass($1::text) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

const RIGHTS: &str = "
    SELECT c.relkind::text, has_table_privilege(c.oid, 'INSERT'),
           has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'UPDATE')
           AND has_table_privilege(c.oid, 'DELETE')
    FROM pg_class c WHERE c.oid = to_regclass($1::text)";

/// The columns of each index by which rows can replace each other.
const KEYS: &str = "
    SELECT i.indexrelid::bigint, a.attname::text, a.attnotnull FROM pg_index i
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
    WHERE i.indrelid = to_regclass($1::text) AND i.indisunique AND i.indisvalid AND i.indimmediate
          AND i.indpred IS NULL AND i.indexprs IS NULL";

impl Table {
    /// Compares the table with the rows; an error says what does not fit.
    pub(super) fn open(node: &SinkNode, session: &Session, rows: &SchemaRef) -> Result<Self> {
        let path = option(&node.options, "table").unwrap_or(&node.table);
        let table = quoted_path(path);
        let columns: Vec<Column> = session.query(COLUMNS, &[&table])?.iter().map(Column::new).collect();
        let fields = &rows.fields()[..change_column_index(rows).unwrap_or(rows.fields().len())];
        let types = types(fields, &columns, path).map_err(|reason| refused(node, reason))?;
        check_rights(node, session, path, &table)?;
        let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        let keys: Vec<&str> = node.upsert_keys.iter().map(|key| names[*key]).collect();
        if !keys.is_empty() {
            let indexed = session.query(KEYS, &[&table])?;
            check_key(&keys, &indexed, path).map_err(|reason| refused(node, reason))?;
        }
        let key_types: Vec<&str> = node.upsert_keys.iter().map(|key| types[*key]).collect();
        Ok(Self {
            keys: node.upsert_keys.clone(),
            columns: fields.len(),
            schema: path.rsplit_once('.').map(|(schema, _)| format!("{}.", quoted_path(schema))).unwrap_or_default(),
            copy: format!("COPY {table} ({}) FROM STDIN", list(&names)),
            upsert: upsert_statement(&table, &names, &types, &keys),
            delete: delete_statement(&table, &keys, &key_types),
        })
    }

    /// Adds rows.
    pub(super) fn append(&self, session: &Session, rows: &RecordBatch) -> Result<()> {
        chunks(rows).try_for_each(|rows| session.copy(&self.copy, copy_lines(&rows, self.columns)?))
    }

    /// Whether rows replace each other by key.
    pub(super) fn has_key(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Replaces or removes the row of each key; in a transaction that is open.
    pub(super) fn replace(&self, session: &Session, rows: &RecordBatch) -> Result<()> {
        let rows = last_rows(rows, &self.keys)?;
        let adds: BooleanArray = change_ops(&rows)?.iter().map(|op| Some(op.adds())).collect();
        let gone = filter_record_batch(&rows, &not(&adds)?)?.project(&self.keys)?;
        // First what goes: what comes may have what is unique of it.
        run(session, &self.delete, &gone, self.keys.len())?;
        run(session, &self.upsert, &filter_record_batch(&rows, &adds)?, self.columns)
    }
}

/// How the server writes the type of each field's column.
fn types<'a>(fields: &[FieldRef], columns: &'a [Column], path: &str) -> Result<Vec<&'a str>, String> {
    if columns.is_empty() {
        return Err(format!("the server has no table {path}; create it first, or name it by the option 'table'"));
    }
    let is_missing = |column: &&Column| !fields.iter().any(|field| *field.name() == column.name);
    if let Some(missing) = columns.iter().filter(|column| column.is_required).find(is_missing) {
        let name = &missing.name;
        return Err(format!("column '{name}' of the table {path} is NOT NULL without a default, and not written"));
    }
    let type_of = |field: &FieldRef| {
        let Some(column) = columns.iter().find(|column| column.name == *field.name()) else {
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            let names = names.join(", ");
            return Err(format!("the table {path} has no column '{}'; it has {names}", field.name()));
        };
        column.check(field)?;
        Ok(column.type_text.as_str())
    };
    fields.iter().map(type_of).collect()
}

/// Runs a statement whose parameters are the first so many columns of rows, as arrays of texts.
fn run(session: &Session, statement: &str, rows: &RecordBatch, columns: usize) -> Result<()> {
    for rows in chunks(rows) {
        let values = rows.columns()[..columns].iter().map(|column| texts(column)).collect::<Result<Vec<_>>>()?;
        let parameters: Vec<&(dyn ToSql + Sync)> = values.iter().map(|values| values as &(dyn ToSql + Sync)).collect();
        session.change("write to", statement, &parameters)?;
    }
    Ok(())
}

fn chunks(rows: &RecordBatch) -> impl Iterator<Item = RecordBatch> + '_ {
    let starts = (0..rows.num_rows()).step_by(CHUNK_ROWS);
    starts.map(|start| rows.slice(start, CHUNK_ROWS.min(rows.num_rows() - start)))
}

impl Column {
    fn new(row: &Row) -> Self {
        let (type_name, modifier): (String, i32) = (row.get(1), row.get(3));
        // A numeric's modifier is its precision and its scale behind a header of 4 bytes.
        let scale = (type_name == "numeric" && modifier >= 4).then(|| (modifier - 4) & 0x7ff);
        let (name, type_text) = (row.get(0), row.get(2));
        Self { name, type_name, type_text, scale, is_required: row.get(4), is_computed: row.get(5) }
    }

    /// What is wrong with values of a field in this column.
    fn check(&self, field: &Field) -> Result<(), String> {
        let (name, ours, theirs) = (&self.name, field.data_type(), &self.type_text);
        if self.is_computed {
            return Err(format!("column '{name}' is computed by the server; leave it out of the query"));
        }
        let Some(accepted) = counterparts(ours) else {
            return Err(format!(
                "column '{name}' is {ours}, which PostgreSQL has no type for; cast it, say to VARCHAR"
            ));
        };
        if !accepted.contains(&self.type_name.as_str()) && !is_text_of_an_enum(ours, &self.type_name) {
            let hint = accepted.first().copied().unwrap_or("text");
            return Err(format!(
                "column '{name}' is {ours}, and {theirs} in the table; cast it in the query, or make the table's {hint}"
            ));
        }
        match (ours, self.scale) {
            (DataType::Decimal128(_, scale), Some(kept)) if i32::from(*scale) > kept => Err(format!(
                "column '{name}' is {ours}, and the table keeps {kept} digits behind the point; CAST it in the query"
            )),
            _ => Ok(()),
        }
    }
}

/// The server's types that take every value of a type, the closest first; `None` if there is none. Arrays begin
/// with an underscore.
fn counterparts(data_type: &DataType) -> Option<Vec<&'static str>> {
    Some(match data_type {
        DataType::Boolean => vec!["bool"],
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => vec!["int2", "int4", "int8", "numeric"],
        DataType::Int32 | DataType::UInt16 => vec!["int4", "int8", "numeric"],
        // Numbers of rows are unsigned, and never get there.
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => vec!["int8", "numeric"],
        DataType::Float32 => vec!["float4", "float8"],
        DataType::Float64 => vec!["float8"],
        DataType::Decimal128(..) => vec!["numeric"],
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            vec!["text", "varchar", "bpchar", "citext", "json", "jsonb", "uuid"]
        }
        DataType::Date32 => vec!["date", "timestamp"],
        DataType::Timestamp(_, None) => vec!["timestamp", "timestamptz"],
        DataType::Timestamp(_, Some(_)) => vec!["timestamptz"],
        DataType::Time32(_) | DataType::Time64(_) => vec!["time"],
        DataType::Binary => vec!["bytea"],
        DataType::List(item) => match item.data_type() {
            DataType::Boolean => vec!["_bool"],
            DataType::Int8 | DataType::Int16 => vec!["_int2", "_int4", "_int8"],
            DataType::Int32 => vec!["_int4", "_int8"],
            DataType::Int64 => vec!["_int8"],
            DataType::Float32 => vec!["_float4", "_float8"],
            DataType::Float64 => vec!["_float8"],
            DataType::Decimal128(..) => vec!["_numeric"],
            DataType::Utf8 => vec!["_text", "_varchar"],
            DataType::Date32 => vec!["_date"],
            DataType::Timestamp(_, None) => vec!["_timestamp", "_timestamptz"],
            _ => return None,
        },
        _ => return None,
    })
}

/// Whether a type may be an enumeration, which texts are read as: it has a name that is none of the server's.
fn is_text_of_an_enum(data_type: &DataType, type_name: &str) -> bool {
    const OTHERS: [&str; 18] = [
        "bool",
        "int2",
        "int4",
        "int8",
        "float4",
        "float8",
        "numeric",
        "date",
        "time",
        "timetz",
        "timestamp",
        "timestamptz",
        "interval",
        "bytea",
        "money",
        "bit",
        "varbit",
        "oid",
    ];
    data_type == &DataType::Utf8 && !type_name.starts_with('_') && !OTHERS.contains(&type_name)
}

fn check_rights(node: &SinkNode, session: &Session, path: &str, table: &str) -> Result<()> {
    let Some(row) = session.query(RIGHTS, &[&table])?.into_iter().next() else { return Ok(()) };
    let (kind, may_insert, may_replace): (String, bool, bool) = (row.get(0), row.get(1), row.get(2));
    if !matches!(kind.as_str(), "r" | "p") {
        return Err(refused(node, format!("{path} is no table")));
    }
    let (may_write, rights) = match node.upsert_keys.is_empty() {
        true => (may_insert, "INSERT"),
        false => (may_insert && may_replace, "SELECT, INSERT, UPDATE, DELETE"),
    };
    if may_write {
        return Ok(());
    }
    Err(refused(node, format!("its user may not write to the table {path}: GRANT {rights} ON {table} TO …")))
}

/// Checks that rows of these keys replace each other in the table.
fn check_key(keys: &[&str], indexed: &[Row], path: &str) -> Result<(), String> {
    let mut indexes: BTreeMap<i64, Vec<(&str, bool)>> = BTreeMap::new();
    for row in indexed {
        indexes.entry(row.get(0)).or_default().push((row.get(1), row.get(2)));
    }
    let fits =
        |index: &&Vec<(&str, bool)>| index.len() == keys.len() && index.iter().all(|(name, _)| keys.contains(name));
    let names = keys.join(", ");
    let Some(index) = indexes.values().find(fits) else {
        let hint = format!("ALTER TABLE {} ADD PRIMARY KEY ({})", quoted_path(path), list(keys));
        return Err(format!("nothing in the table {path} is unique by its key ({names}): {hint}"));
    };
    match index.iter().find(|(_, is_not_null)| !is_not_null) {
        // Of a key that is NULL each row would be another one.
        Some((name, _)) => Err(format!("column '{name}' of its key may be NULL in the table {path}; make it NOT NULL")),
        None => Ok(()),
    }
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

/// Inserts rows that come as an array of texts for each column, or updates those of their keys.
fn upsert_statement(table: &str, names: &[&str], types: &[&str], keys: &[&str]) -> String {
    let values: Vec<String> = types.iter().enumerate().map(|(place, kind)| format!("u.c{place}::{kind}")).collect();
    let set: Vec<String> = names.iter().filter(|name| !keys.contains(name)).map(|name| set(name)).collect();
    let update = if set.is_empty() { String::from("NOTHING") } else { format!("UPDATE SET {}", set.join(", ")) };
    format!(
        "INSERT INTO {table} ({}) SELECT {} FROM {} ON CONFLICT ({}) DO {update}",
        list(names),
        values.join(", "),
        unnested(names.len()),
        list(keys)
    )
}

fn set(name: &str) -> String {
    format!("{0} = EXCLUDED.{0}", quoted(name))
}

fn delete_statement(table: &str, keys: &[&str], types: &[&str]) -> String {
    let equal = |(place, (key, kind)): (usize, (&&str, &&str))| format!("t.{} = u.c{place}::{kind}", quoted(key));
    let equal: Vec<String> = keys.iter().zip(types).enumerate().map(equal).collect();
    format!("DELETE FROM {table} AS t USING {} WHERE {}", unnested(keys.len()), equal.join(" AND "))
}

fn unnested(columns: usize) -> String {
    let arrays: Vec<String> = (1..=columns).map(|number| format!("${number}::text[]")).collect();
    let names: Vec<String> = (0..columns).map(|place| format!("c{place}")).collect();
    format!("unnest({}) AS u({})", arrays.join(", "), names.join(", "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::expect;

    use super::*;

    #[test]
    fn statements_take_a_column_an_array() {
        let (names, types) = (["id", "na\"me", "x"], ["bigint", "text", "integer[]"]);
        expect![[r#"
            INSERT INTO "t" ("id", "na""me", "x") SELECT u.c0::bigint, u.c1::text, u.c2::integer[] FROM unnest($1::text[], $2::text[], $3::text[]) AS u(c0, c1, c2) ON CONFLICT ("id", "na""me") DO UPDATE SET "x" = EXCLUDED."x"
        "#]]
        .assert_eq(&format!("{}\n", upsert_statement("\"t\"", &names, &types, &["id", "na\"me"])));
        expect![[r#"
            INSERT INTO "t" ("id") SELECT u.c0::bigint FROM unnest($1::text[]) AS u(c0) ON CONFLICT ("id") DO NOTHING
        "#]]
        .assert_eq(&format!("{}\n", upsert_statement("\"t\"", &["id"], &["bigint"], &["id"])));
        expect![[r#"
            DELETE FROM "t" AS t USING unnest($1::text[], $2::text[]) AS u(c0, c1) WHERE t."id" = u.c0::bigint AND t."na""me" = u.c1::text
        "#]]
        .assert_eq(&format!("{}\n", delete_statement("\"t\"", &["id", "na\"me"], &["bigint", "text"])));
    }

    /// What is wrong with a type of ours in a column of the server's.
    fn check(ours: DataType, theirs: &str, scale: Option<i32>) -> String {
        let column = Column {
            name: String::from("c"),
            type_name: theirs.to_owned(),
            type_text: theirs.to_owned(),
            scale,
            is_required: false,
            is_computed: false,
        };
        column.check(&Field::new("c", ours, true)).err().unwrap_or_default()
    }

    #[test]
    fn a_column_takes_every_value_or_none() {
        for (ours, theirs) in [
            (DataType::Int16, "int4"),
            (DataType::Int64, "int8"),
            (DataType::Int64, "numeric"),
            (DataType::Utf8, "varchar"),
            (DataType::Utf8, "mood"),
            (DataType::Date32, "date"),
            (DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), "_text"),
        ] {
            assert_eq!(check(ours, theirs, None), "");
        }
        assert_eq!(
            check(DataType::Int64, "int4", None),
            "column 'c' is Int64, and int4 in the table; cast it in the query, or make the table's int8"
        );
        for (ours, theirs) in [(DataType::Utf8, "int4"), (DataType::Utf8, "_text"), (DataType::Float64, "float4")] {
            assert!(check(ours, theirs, None).contains("cast it in the query"));
        }
        assert_eq!(
            check(DataType::Null, "text", None),
            "column 'c' is Null, which PostgreSQL has no type for; cast it, say to VARCHAR"
        );
        assert_eq!(check(DataType::Decimal128(10, 2), "numeric", None), "");
        assert_eq!(check(DataType::Decimal128(10, 2), "numeric", Some(2)), "");
        assert!(check(DataType::Decimal128(10, 3), "numeric", Some(2)).contains("keeps 2 digits behind the point"));
    }
}
