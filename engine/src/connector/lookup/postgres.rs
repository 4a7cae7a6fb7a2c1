//! A table of a PostgreSQL server.
//!
//! Keys and values travel as text, which the server and Arrow both read: so the driver's own types do
//! not matter, and a column may be declared as any type that its text can be read as.

use std::io;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef};
use tidemill_plans::PlanError;
use tidemill_plans::node::LookupTable;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row};

use super::Fetch;
use crate::connector::option;
use crate::connector::postgres::{quoted, quoted_path, server};
use crate::error::{EngineError, Result};

/// How often a query is tried whose connection has failed.
const ATTEMPTS: u32 = 4;

/// The pause before the second attempt; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a connection or an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// See the [module](self).
pub(super) struct PostgresTable {
    name: String,
    config: Config,
    query: String,
    columns: SchemaRef,
    runtime: Runtime,
    connected: Option<Connected>,
}

impl PostgresTable {
    pub(super) fn new(table: &LookupTable) -> Result<Self> {
        let config = server(&table.options)?;
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(|source| failed(&table.name, source))?;
        let query = query(table)?;
        let columns = SchemaRef::clone(&table.columns.0);
        Ok(Self { name: table.name.clone(), config, query, columns, runtime, connected: None })
    }

    fn ask(&mut self, keys: &[Vec<Option<String>>]) -> Result<Vec<Row>> {
        let parameters: Vec<&(dyn ToSql + Sync)> = keys.iter().map(|key| key as &(dyn ToSql + Sync)).collect();
        let (connected, config, query) = (&mut self.connected, &self.config, self.query.as_str());
        let answer = self.runtime.block_on(async {
            let connected = match connected {
                Some(connected) => connected,
                none => none.insert(Connected::open(config).await?),
            };
            let answer = timeout(TIMEOUT, connected.client.query(query, &parameters)).await;
            answer.map_err(|_| Failure::Silent)?.map_err(Failure::Answer)
        });
        answer.map_err(|failure| {
            self.connected = None;
            match failure {
                Failure::Answer(source) => failed(&self.name, source),
                Failure::Silent => failed(&self.name, io::Error::from(io::ErrorKind::TimedOut)),
            }
        })
    }

    fn batch(&self, rows: &[Row]) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.fields().len());
        for (index, field) in self.columns.fields().iter().enumerate() {
            let texts = rows.iter().map(|row| row.try_get::<_, Option<&str>>(index));
            let texts: StringArray = texts.collect::<Result<_, _>>().map_err(|source| failed(&self.name, source))?;
            columns.push(cast_with_options(
                &texts,
                field.data_type(),
                &CastOptions { safe: false, ..CastOptions::default() },
            )?);
        }
        Ok(RecordBatch::try_new(SchemaRef::clone(&self.columns), columns)?)
    }
}

impl Fetch for PostgresTable {
    fn fetch(&mut self, keys: &[ArrayRef]) -> Result<RecordBatch> {
        let keys = keys.iter().map(texts).collect::<Result<Vec<_>>>()?;
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            match self.ask(&keys) {
                Ok(rows) => return self.batch(&rows),
                Err(error) if is_answer(&error) => return Err(error),
                Err(error) => tracing::warn!(table = self.name, %error, "look-up failed and is tried again"),
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        let rows = self.ask(&keys)?;
        self.batch(&rows)
    }
}

/// What went wrong with a query.
enum Failure {
    Answer(tokio_postgres::Error),
    /// Nothing came.
    Silent,
}

/// A connection. What drives it moves only while a query is waited for, and ends with it; the client
/// sees its end as an error of the query.
struct Connected {
    client: Client,
    _driver: JoinSet<Result<(), tokio_postgres::Error>>,
}

impl Connected {
    async fn open(config: &Config) -> Result<Self, Failure> {
        let connecting = timeout(TIMEOUT, config.connect(NoTls)).await;
        let (client, connection) = connecting.map_err(|_| Failure::Silent)?.map_err(Failure::Answer)?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Self { client, _driver: driver })
    }
}

/// Whether the server has said no, so that asking again would not help.
fn is_answer(error: &EngineError) -> bool {
    let EngineError::Lookup { source, .. } = error else { return true };
    let answer = source.downcast_ref::<tokio_postgres::Error>();
    answer.and_then(tokio_postgres::Error::as_db_error).is_some_and(|answer| {
        // Class 57: the server shuts down or starts; class 08: the connection.
        !(answer.code().code().starts_with("57") || answer.code().code().starts_with("08"))
    })
}

fn failed(table: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EngineError {
    EngineError::Lookup { table: table.to_owned(), source: source.into() }
}

/// The query for the rows of many keys: a parameter for each key column, an array of texts.
fn query(table: &LookupTable) -> Result<String> {
    let fields = table.columns.fields();
    let columns: Vec<String> = fields.iter().map(|field| format!("{}::text", quoted(field.name()))).collect();
    let keys: Vec<String> = table.keys.iter().map(|key| quoted(fields[*key].name())).collect();
    let arrays = table
        .keys
        .iter()
        .enumerate()
        .map(|(number, key)| Ok(format!("${}::text[]::{}[]", number + 1, sql_type(fields[*key].data_type())?)));
    let from = quoted_path(option(&table.options, "table").unwrap_or(&table.name));
    Ok(format!(
        "SELECT {} FROM {from} WHERE ({}) IN (SELECT * FROM unnest({}))",
        columns.join(", "),
        keys.join(", "),
        arrays.collect::<Result<Vec<_>>>()?.join(", ")
    ))
}

/// The server's name of a type.
fn sql_type(data_type: &DataType) -> Result<&'static str> {
    Ok(match data_type {
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Utf8 => "text",
        DataType::Date32 => "date",
        DataType::Timestamp(_, None) => "timestamp",
        other => {
            let message = format!("a key of a postgres table cannot be {other}; join by numbers, text, dates or times");
            return Err(PlanError::InvalidOption(message).into());
        }
    })
}

fn texts(column: &ArrayRef) -> Result<Vec<Option<String>>> {
    let texts = cast(column, &DataType::Utf8)?;
    Ok(texts.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Schema};
    use expect_test::expect;
    use tidemill_plans::expr::StreamSchema;

    use super::*;

    #[test]
    fn one_query_asks_for_all_keys() {
        let field = |name: &str, data_type| Field::new(name, data_type, true);
        let columns =
            vec![field("id", DataType::Int64), field("na\"me", DataType::Utf8), field("x", DataType::Float64)];
        let table = LookupTable {
            name: String::from("dim"),
            connector: String::from("postgres"),
            options: vec![(String::from("table"), String::from("shop.people"))],
            declared: Vec::new(),
            columns: StreamSchema(Arc::new(Schema::new(columns))),
            keys: vec![1, 0],
            cache_rows: 1,
            cache_ttl: 1,
        };
        expect![[r#"
            SELECT "id"::text, "na""me"::text, "x"::text FROM "shop"."people" WHERE ("na""me", "id") IN (SELECT * FROM unnest($1::text[]::text[], $2::text[]::bigint[]))
        "#]]
        .assert_eq(&(query(&table).unwrap() + "\n"));
    }
}
