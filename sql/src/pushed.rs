//! What clients send rows to: sources that take them, with the statement that creates one for rows that are there, and
//! models.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemill_plans::catalog::ObjectKind;
use tidemill_plans::model_reference::ModelReference;
use tidemill_plans::node::SourceNode;
use tidemill_plans::pushed::{Kept, PUSH_CONNECTOR, TABLE_CONNECTOR, is_pushed};

use crate::access::{Privilege, Securable};
use crate::ast::quoted;
use crate::catalog::{Detail, Object};
use crate::error::{Position, Result, SqlError};
use crate::planner::source::type_name;
use crate::session::Session;
use crate::statement::Name;

/// A source whose rows are pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushTarget {
    /// Its name.
    pub table: String,
    /// The columns that are pushed: those that it does not generate.
    pub columns: SchemaRef,
    /// How much is kept of what is pushed.
    pub kept: Kept,
}

impl Session {
    /// A source whose rows are pushed, by its name; it takes INSERT on it. An error says what can be pushed to.
    pub fn push_target(&self, name: &str) -> Result<PushTarget> {
        let object = self.catalog.get(&Name { text: name.to_owned(), at: Position::UNKNOWN })?;
        let Some(source) = pushed_source(object) else {
            let message = format!(
                "rows cannot be pushed to '{name}', which is a {} of another kind; they can be to a source WITH (connector \
                 = '{PUSH_CONNECTOR}') or (connector = '{TABLE_CONNECTOR}')",
                object.kind
            );
            return Err(SqlError::invalid(message));
        };
        self.require(Privilege::Insert, Securable::Object(object.name.clone()))?;
        Ok(PushTarget {
            table: object.name.clone(),
            columns: Arc::clone(&source.columns.0),
            kept: Kept::of(&source.options),
        })
    }

    /// Checks that there is a model of this name, which may be asked.
    pub fn model(&self, name: &str) -> Result<()> {
        let name = ModelReference::parse(name).map_err(SqlError::invalid)?.model;
        match self.catalog.find(name).filter(|object| object.kind == ObjectKind::Model) {
            Some(model) => self.require(Privilege::Predict, Securable::Object(model.name.clone())),
            None => Err(self.catalog.unknown("model", name, Position::UNKNOWN, |kind| kind == ObjectKind::Model)),
        }
    }

    /// Whether there is an object of this name.
    #[must_use]
    pub fn has_object(&self, name: &str) -> bool {
        self.catalog.find(name).is_some()
    }

    /// Whether there is an object of this name, and its rows are pushed.
    #[must_use]
    pub fn is_pushed(&self, name: &str) -> bool {
        self.catalog.find(name).is_some_and(|object| pushed_source(object).is_some())
    }
}

fn pushed_source(object: &Object) -> Option<&SourceNode> {
    match &object.detail {
        Detail::Source(source, _) if is_pushed(&source.connector) => Some(source),
        _ => None,
    }
}

/// The statement that creates a table for rows with these columns.
pub fn create_table(name: &str, rows: &Schema) -> Result<String> {
    let columns: Result<Vec<String>> = rows.fields().iter().map(|field| column(field)).collect();
    let columns = columns?.join(", ");
    Ok(format!("CREATE TABLE {} ({columns}) WITH (connector = '{TABLE_CONNECTOR}')", quoted(name)))
}

fn column(field: &Field) -> Result<String> {
    let type_name = kept_as(field.data_type()).ok_or_else(|| {
        let what =
            format!("column '{}' of type {} in a table that is made of its rows", field.name(), field.data_type());
        SqlError::unsupported(what, "create the table first, with a type that the values can be cast to")
    })?;
    let not_null = if field.is_nullable() { "" } else { " NOT NULL" };
    Ok(format!("{} {type_name}{not_null}", quoted(field.name())))
}

/// The SQL type in which values of a type are kept: one that has room for all of them, but for a millionth of a second.
fn kept_as(data_type: &DataType) -> Option<String> {
    let name = match data_type {
        DataType::Null => "VARCHAR",
        DataType::Dictionary(_, values) => return kept_as(values),
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => {
            return kept_as(item.data_type()).map(|item| format!("{item}[]"));
        }
        DataType::Decimal128(precision, scale) => return Some(format!("DECIMAL({precision}, {scale})")),
        DataType::UInt8 => "SMALLINT",
        DataType::UInt16 => "INTEGER",
        DataType::UInt32 => "BIGINT",
        DataType::UInt64 => "BIGINT UNSIGNED",
        DataType::Float16 => "REAL",
        DataType::Date64 => "DATE",
        DataType::Time32(_) | DataType::Time64(_) => "TIME",
        DataType::Timestamp(..) => "TIMESTAMP",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "BYTEA",
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Date32 => return Some(type_name(data_type)),
        _ => return None,
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;
    use expect_test::expect;
    use tidemill_plans::pushed::Retention;
    use tidemill_plans::settings::Settings;

    use super::*;
    use crate::parse_script;

    fn session(sql: &str) -> Session {
        let mut session = Session::interactive(Settings::default());
        for statement in parse_script(sql).unwrap() {
            session.execute(&statement).unwrap();
        }
        session
    }

    #[test]
    fn rows_are_pushed_to_sources_that_say_so() {
        let session = session(
            "CREATE SOURCE clicks (page VARCHAR, ts TIMESTAMP NOT NULL, pt AS PROCTIME()) WITH (connector = 'push', max_bytes = 100, retention = '7 days', retention_bytes = 50);
             CREATE SOURCE made (a BIGINT) WITH (connector = 'datagen')",
        );
        let target = session.push_target("clicks").unwrap();
        let names: Vec<&str> = target.columns.fields().iter().map(|field| field.name().as_str()).collect();
        let retention = Retention { ms: Some(7 * 24 * 3_600_000), bytes: Some(50) };
        assert_eq!((names, target.kept), (vec!["page", "ts"], Kept { max_bytes: Some(100), retention }));
        assert!(session.is_pushed("clicks") && !session.is_pushed("made") && !session.is_pushed("nowhere"));
        let error = session.push_target("made").unwrap_err().to_string();
        assert!(error.contains("connector = 'push'"), "{error}");
        assert!(session.push_target("nowhere").unwrap_err().to_string().contains("there are: clicks, made"));
    }

    #[test]
    fn a_table_is_created_for_rows_of_nearly_all_types() {
        let types = [
            DataType::Boolean,
            DataType::Int8,
            DataType::UInt8,
            DataType::UInt32,
            DataType::UInt64,
            DataType::Float32,
            DataType::Float64,
            DataType::LargeUtf8,
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            DataType::Date32,
            DataType::Time64(TimeUnit::Microsecond),
            DataType::Timestamp(TimeUnit::Nanosecond, None),
            DataType::Binary,
            DataType::Decimal128(10, 2),
            DataType::List(Arc::new(Field::new("item", DataType::Int64, true))),
            DataType::Null,
        ];
        let field = |(place, data_type): (usize, DataType)| Field::new(format!("C{place}"), data_type, place > 0);
        let schema = Schema::new(types.into_iter().enumerate().map(field).collect::<Vec<_>>());
        let text = create_table("it's \"odd\"", &schema).unwrap();
        expect![[r#"CREATE TABLE "it's ""odd""" ("C0" BOOLEAN NOT NULL, "C1" TINYINT, "C2" SMALLINT, "C3" BIGINT, "C4" BIGINT UNSIGNED, "C5" REAL, "C6" DOUBLE, "C7" VARCHAR, "C8" VARCHAR, "C9" DATE, "C10" TIME, "C11" TIMESTAMP, "C12" BYTEA, "C13" DECIMAL(10, 2), "C14" BIGINT[], "C15" VARCHAR) WITH (connector = 'table')"#]]
            .assert_eq(&text);
        let target = session(&text).push_target("it's \"odd\"").unwrap();
        let kept: Vec<String> = target.columns.fields().iter().map(|field| field.data_type().to_string()).collect();
        expect!["Boolean Int8 Int16 Int64 UInt64 Float32 Float64 Utf8 Utf8 Date32 Time64(ns) Timestamp(µs) Binary Decimal128(10, 2) List(Int64) Utf8"].assert_eq(&kept.join(" "));

        let nested =
            Schema::new(vec![Field::new("m", DataType::Interval(arrow::datatypes::IntervalUnit::DayTime), true)]);
        let error = create_table("t", &nested).unwrap_err().to_string();
        assert!(error.contains("column 'm'") && error.contains("create the table first"), "{error}");
    }
}
