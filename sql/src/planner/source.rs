//! CREATE SOURCE: columns, generated columns and event time, planned once, at creation.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, ExprSchemable, col};
use datafusion::sql::sqlparser::ast::{DataType as SqlType, Expr as SqlExpr, FunctionArguments, TimezoneInfo};
use tidemill_plans::change::{CHANGE_COLUMN, with_change_column};
use tidemill_plans::connector::{
    Direction, KnownColumn, KnownTable, check_columns, check_options, is_bounded, known_table, needs_key,
    reads_changes, takes_key,
};
use tidemill_plans::expr::{StreamExpr, StreamSchema};
use tidemill_plans::node::{EventTimeSpec, NullEventTime, PROCTIME_COLUMN, Projection, SourceNode};
use tidemill_plans::partitions::{PARTITION_OPTION, partition_columns};
use tidemill_plans::settings::Settings;
use tidemill_plans::time::event_time_type;

use super::expression::{Expressions, plan_type};
use crate::ast::dotted;
use crate::catalog::StreamInfo;
use crate::error::{Position, Result, SqlError};
use crate::lower::expression::column;
use crate::lower::scan::is_lookup;
use crate::statement::{CreateSink, CreateSource, Name, Options, PrimaryKey, SourceColumn, Watermark};

/// Plans a source. Its event time is what WATERMARK FOR names; without one, a PROCTIME column is.
pub(crate) fn plan_source(
    create: &CreateSource,
    settings: &Settings,
    expressions: &mut Expressions,
) -> Result<(SourceNode, StreamInfo)> {
    let (connector, options) = connector_of(&create.options, Direction::Source)?;
    let known = known_table(&connector, &options)?;
    let columns = partitioned(create, all_columns(create, known, &connector)?)?;
    check_names(&columns)?;
    let physical = physical_schema(&columns)?;
    if let Some(table) = known {
        check_known(&columns, &physical, table, &connector)?;
    }
    check_columns(&connector, &options, &physical).map_err(|error| create.options.locate(error))?;
    let (projection, schema) = project(&columns, &physical, expressions)?;
    let changelog = reads_changes(&options);
    if changelog {
        check_changes(create, &columns)?;
    }
    let upsert_keys = source_key(create, &options, &columns, &schema)?;
    let event_time = match &create.watermark {
        Some(watermark) => Some(plan_event_time(watermark, &columns, &schema, &options, expressions)?),
        None if options.iter().any(|(key, _)| key == "null_event_time") => {
            let message = "the option 'null_event_time' needs an event time: declare WATERMARK FOR";
            return Err(SqlError::invalid(message).at(create.options.place("null_event_time")));
        }
        None => proctime(&columns)?.map(|(column, name)| EventTimeSpec {
            column,
            watermark: StreamExpr(self::column(name)),
            on_null: NullEventTime::DeadLetter,
        }),
    };
    let times = event_time.iter().map(|time| time.column).collect();
    let info = StreamInfo {
        schema: Arc::clone(&schema),
        times,
        window_times: Vec::new(),
        bounded: is_bounded(&connector, &options)?,
        changelog,
        upsert_keys,
    };
    let table = create.name.text.clone();
    let key = info.upsert_keys.iter().filter(|_| needs_key(&options));
    let upsert_key = key.map(|place| schema.field(*place).name().clone()).collect();
    let declared = physical.fields().iter().map(|field| field.name().clone()).collect();
    let columns = StreamSchema(if changelog { with_change_column(&physical) } else { physical });
    let node = SourceNode { table, connector, options, declared, columns, projection, event_time, upsert_key };
    check_group(&node, &create.options, settings)?;
    check_lookup(create, &node)?;
    Ok((node, info))
}

/// The columns of a table, those last that the names of its folders say.
fn partitioned(create: &CreateSource, mut columns: Vec<SourceColumn>) -> Result<Vec<SourceColumn>> {
    let names = partition_columns(&create.options.pairs);
    if names.is_empty() {
        return Ok(columns);
    }
    let at = create.options.place(PARTITION_OPTION);
    let others = ["watch", "lookup", "rows_per_second"];
    let of_streams = create.options.pairs.iter().find(|(key, _)| others.contains(&key.as_str())).map(|(key, _)| key);
    if create.watermark.is_some() || of_streams.is_some() || columns.iter().any(|column| column.generated.is_some()) {
        let hint = "leave WATERMARK FOR, generated columns, watch, lookup and rows_per_second out";
        return Err(SqlError::unsupported("partition_columns of a stream", hint).at(at));
    }
    let place = |name: &str| names.iter().position(|partition| partition == name);
    if let Some(unknown) = names.iter().find(|name| columns.iter().all(|column| column.name.text != **name)) {
        let all = columns.iter().map(|column| column.name.text.as_str()).collect::<Vec<_>>().join(", ");
        let message = format!("the partition column '{unknown}' is not declared; there are: {all}");
        return Err(SqlError::invalid(message).at(at));
    }
    if columns.iter().all(|column| place(&column.name.text).is_some()) {
        let message = "folders say all columns; declare what the files have, too";
        return Err(SqlError::invalid(message).at(at));
    }
    columns.sort_by_key(|column| place(&column.name.text).map_or(0, |place| place + 1));
    Ok(columns)
}

/// Refuses what is not known of a source whose rows are updated.
fn check_changes(create: &CreateSource, columns: &[SourceColumn]) -> Result<()> {
    let unsupported = |what: &str, hint: &str, at: Position| {
        Err(SqlError::unsupported(format!("{what} of a source whose rows are updated"), hint).at(at))
    };
    if let Some(watermark) = &create.watermark {
        let hint = "an update may come long after its row; leave it out";
        return unsupported("WATERMARK FOR", hint, watermark.column.at);
    }
    if let Some(column) = columns.iter().find(|column| is_proctime(column)) {
        return unsupported("PROCTIME()", "a row is read again when it is updated; leave it out", column.name.at);
    }
    if create.options.pairs.iter().any(|(key, value)| key == "lookup" && value == "true") {
        let hint = "a table is read as a whole from files of rows";
        return unsupported("lookup", hint, create.options.place("lookup"));
    }
    Ok(())
}

/// The places of the columns that tell the rows of a source apart, if it says so.
fn source_key(
    create: &CreateSource,
    options: &[(String, String)],
    columns: &[SourceColumn],
    schema: &SchemaRef,
) -> Result<Vec<usize>> {
    let replaces = needs_key(options);
    let Some(key) = &create.key else {
        if replaces {
            let message = format!(
                "the format upsert-json needs the key by which rows replace each other: CREATE SOURCE {} (…, PRIMARY \
                 KEY (column, …) NOT ENFORCED)",
                create.name.text
            );
            return Err(SqlError::invalid(message).at(create.options.place("format")));
        }
        return Ok(Vec::new());
    };
    if !reads_changes(options) {
        let hint = "leave it out: every row of it is an insert; rows that are updated come with format \
                    'debezium-json' or 'upsert-json'";
        return Err(SqlError::unsupported("a key of this source", hint).at(key.at));
    }
    let places = key_columns(key, schema)?;
    if replaces {
        check_generated(key, &places, columns)?;
    }
    Ok(places)
}

/// Refuses what cannot be computed where rows replace each other by key: of a row that is gone only the key
/// comes.
fn check_generated(key: &PrimaryKey, places: &[usize], columns: &[SourceColumn]) -> Result<()> {
    if let Some(of_key) = places.iter().position(|place| columns[*place].generated.is_some()) {
        let hint = "a line says its key; declare the columns that it has there";
        return Err(SqlError::unsupported("a generated column in a key", hint).at(key.columns[of_key].at));
    }
    match columns.iter().find(|column| column.generated.is_some() && column.not_null) {
        None => Ok(()),
        Some(column) => {
            let hint = "leave NOT NULL out, and the rows with WHERE … IS NOT NULL";
            let what = "NOT NULL of a generated column, where rows replace each other by key,";
            Err(SqlError::unsupported(what, hint).at(column.name.at))
        }
    }
}

/// The columns of a sink's key.
pub(crate) fn sink_key(
    create: &CreateSink,
    connector: &str,
    options: &[(String, String)],
    schema: Option<&SchemaRef>,
) -> Result<Vec<String>> {
    match &create.key {
        Some(key) if needs_key(options) || takes_key(connector) => {
            if let Some(schema) = schema {
                key_columns(key, schema)?;
            }
            Ok(key.columns.iter().map(|column| column.text.clone()).collect())
        }
        Some(key) => {
            let hint = "leave it out: only files with format 'upsert-json' and postgres have one";
            Err(SqlError::unsupported("a key of this sink", hint).at(key.at))
        }
        None if needs_key(options) => {
            let message = format!(
                "the format upsert-json needs the key by which rows replace each other: CREATE SINK {} (…, PRIMARY KEY \
                 (column, …) NOT ENFORCED), or the key alone in front of a query",
                create.name.text
            );
            Err(SqlError::invalid(message).at(create.options.place("format")))
        }
        None => Ok(Vec::new()),
    }
}

/// Where the columns of a key are.
fn key_columns(key: &PrimaryKey, schema: &SchemaRef) -> Result<Vec<usize>> {
    let mut places = Vec::new();
    for column in &key.columns {
        let Ok(place) = schema.index_of(&column.text) else {
            let message =
                format!("the key's column '{}' is not declared; there are: {}", column.text, column_names(schema));
            return Err(SqlError::invalid(message).at(column.at));
        };
        if places.contains(&place) {
            let message = format!("the key has the column '{}' twice", column.text);
            return Err(SqlError::invalid(message).at(column.at));
        }
        places.push(place);
    }
    Ok(places)
}

/// Refuses what means nothing for a table that is asked by key.
fn check_lookup(create: &CreateSource, source: &SourceNode) -> Result<()> {
    if !is_lookup(source) {
        let cache = source.options.iter().find(|(key, _)| key.starts_with("lookup_"));
        return match cache {
            None => Ok(()),
            Some((key, _)) => {
                let message = format!("the option '{key}' needs the option lookup = 'true'");
                Err(SqlError::invalid(message).at(create.options.place(key)))
            }
        };
    }
    if source.options.iter().any(|(key, _)| key == "watch") {
        let hint = "its files are read again when lookup_cache_ttl has passed; leave it out";
        return Err(SqlError::unsupported("watch of a look-up table", hint).at(create.options.place("watch")));
    }
    if let Some(watermark) = &create.watermark {
        let hint = "its rows are looked up as they are now; leave it out";
        return Err(SqlError::unsupported("WATERMARK FOR of a look-up table", hint).at(watermark.column.at));
    }
    match create.columns.iter().find(|column| column.generated.is_some()) {
        None => Ok(()),
        Some(column) => {
            let hint = "compute it in the query that joins the table";
            Err(SqlError::unsupported("a generated column of a look-up table", hint).at(column.name.at))
        }
    }
}

/// The place and the name of the PROCTIME column, if there is one.
fn proctime(columns: &[SourceColumn]) -> Result<Option<(usize, &str)>> {
    let mut all = columns.iter().enumerate().filter(|(_, column)| is_proctime(column));
    let first = all.next();
    match all.next() {
        Some((_, second)) => {
            let message = "a source has one PROCTIME() column: a row is read once";
            Err(SqlError::invalid(message).at(second.name.at))
        }
        None => Ok(first.map(|(place, column)| (place, column.name.text.as_str()))),
    }
}

fn is_proctime(column: &SourceColumn) -> bool {
    let Some(SqlExpr::Function(function)) = &column.generated else { return false };
    let no_arguments = matches!(&function.args, FunctionArguments::List(list) if list.args.is_empty());
    dotted(&function.name) == "proctime" && no_arguments
}

/// Checks that a source can keep pace with others.
fn check_group(node: &SourceNode, options: &Options, settings: &Settings) -> Result<()> {
    let timing = node.timing().map_err(|error| options.locate(error))?;
    let wrong = |option: &str, message: &str| Err(SqlError::invalid(message).at(options.place(option)));
    if timing.watermark_group.is_none() && timing.max_drift_ms.is_some() {
        return wrong("max_drift", "the option 'max_drift' needs a watermark_group: the sources to keep pace with");
    }
    if timing.watermark_group.is_none() {
        return Ok(());
    }
    if node.event_time.is_none() || node.follows_clock() {
        let message = "a watermark_group keeps event times near each other: declare WATERMARK FOR a column of the rows";
        return wrong("watermark_group", message);
    }
    if timing.max_drift_ms.unwrap_or(settings.watermark_max_drift_ms) == 0 {
        let message =
            "the option 'watermark_group' needs max_drift = '10s' or so beside it, or SET watermark_max_drift";
        return wrong("watermark_group", message);
    }
    Ok(())
}

/// The declared columns; in front of them those that the connector knows, if it has any and none of
/// them is declared.
fn all_columns(create: &CreateSource, known: Option<&KnownTable>, connector: &str) -> Result<Vec<SourceColumn>> {
    if create.columns.iter().any(|column| column.generated.is_none()) {
        return Ok(create.columns.clone());
    }
    let Some(table) = known else {
        if create.listed {
            return Ok(create.columns.clone());
        }
        let message = format!("the connector '{connector}' does not know its columns; declare them: (name TYPE, …)");
        return Err(SqlError::invalid(message).at(create.name.at));
    };
    let implied = table.columns.iter().map(|known| SourceColumn {
        name: Name { text: known.name.to_owned(), at: create.name.at },
        data_type: sql_type(&known.data_type),
        not_null: true,
        generated: None,
    });
    Ok(implied.chain(create.columns.iter().cloned()).collect())
}

/// The SQL type of a column that a connector knows.
fn sql_type(data_type: &DataType) -> Option<SqlType> {
    match data_type {
        DataType::Int64 => Some(SqlType::BigInt(None)),
        DataType::Utf8 => Some(SqlType::Varchar(None)),
        other if other == &event_time_type() => Some(SqlType::Timestamp(None, TimezoneInfo::None)),
        _ => None,
    }
}

/// Checks that a connector has the columns that are declared, as they are declared.
fn check_known(columns: &[SourceColumn], physical: &SchemaRef, table: &KnownTable, connector: &str) -> Result<()> {
    let declared = columns.iter().filter(|column| column.generated.is_none());
    for (column, field) in declared.zip(physical.fields()) {
        let same = |known: &&KnownColumn| known.name == field.name() && &known.data_type == field.data_type();
        if table.columns.iter().find(same).is_none() {
            let known: Vec<String> =
                table.columns.iter().map(|known| format!("{} {}", known.name, type_name(&known.data_type))).collect();
            let message = format!(
                "the table '{}' of the connector '{connector}' has no column '{}' of type {}; it has: {}",
                table.name,
                field.name(),
                type_name(field.data_type()),
                known.join(", ")
            );
            return Err(SqlError::invalid(message).at(column.name.at));
        }
    }
    Ok(())
}

/// Takes `connector` out of the options and checks the others against what it declares.
pub(crate) fn connector_of(options: &Options, direction: Direction) -> Result<(String, Vec<(String, String)>)> {
    let mut options = options.clone();
    let at = options.at;
    let Some(connector) = options.take("connector") else {
        return Err(SqlError::invalid("the option 'connector' is missing: WITH (connector = 'files', …)").at(at));
    };
    check_options(&connector, direction, &options.pairs).map_err(|error| options.locate(error))?;
    Ok((connector, options.pairs))
}

/// The declared columns of a sink.
pub(crate) fn sink_schema(columns: &[SourceColumn]) -> Result<Option<SchemaRef>> {
    if let Some(generated) = columns.iter().find(|column| column.generated.is_some()) {
        let hint = "compute it in the query that is inserted";
        return Err(SqlError::unsupported("a generated column of a sink", hint).at(generated.name.at));
    }
    check_names(columns)?;
    if columns.is_empty() { Ok(None) } else { physical_schema(columns).map(Some) }
}

fn check_names(columns: &[SourceColumn]) -> Result<()> {
    for (index, column) in columns.iter().enumerate() {
        let name = &column.name;
        if name.text == PROCTIME_COLUMN {
            let message = format!("the column name {PROCTIME_COLUMN} is taken by the time of reading");
            return Err(SqlError::invalid(message).at(name.at));
        }
        if name.text == CHANGE_COLUMN {
            return Err(
                SqlError::invalid(format!("the column name {CHANGE_COLUMN} is taken by changelogs")).at(name.at)
            );
        }
        if columns.iter().take(index).any(|earlier| earlier.name.text == name.text) {
            return Err(SqlError::invalid(format!("column '{}' is declared twice", name.text)).at(name.at));
        }
    }
    Ok(())
}

/// The columns that the connector delivers.
fn physical_schema(columns: &[SourceColumn]) -> Result<SchemaRef> {
    let mut fields = Vec::new();
    for column in columns.iter().filter(|column| column.generated.is_none()) {
        fields.push(Field::new(&column.name.text, declared_type(column)?, !column.not_null));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn declared_type(column: &SourceColumn) -> Result<DataType> {
    let Some(sql_type) = &column.data_type else {
        return Err(SqlError::invalid(format!("column '{}' needs a type", column.name.text)).at(column.name.at));
    };
    plan_type(sql_type.clone()).map_err(|error| error.at(column.name.at))
}

/// All columns in the order they were declared, over the physical ones.
fn project(
    columns: &[SourceColumn],
    physical: &SchemaRef,
    expressions: &mut Expressions,
) -> Result<(Vec<Projection>, SchemaRef)> {
    let (mut projection, mut fields) = (Vec::new(), Vec::new());
    let input = DFSchema::try_from(with_read_time(physical))?;
    for declared in columns {
        let name = &declared.name.text;
        let expr = match &declared.generated {
            None => column(name),
            Some(_) => {
                generated(declared, physical, &input, expressions).map_err(|error| error.at(declared.name.at))?
            }
        };
        let (data_type, nullable) = (expr.get_type(&input)?, expr.nullable(&input)?);
        fields.push(Field::new(name, data_type, nullable && !declared.not_null));
        projection.push(Projection { name: name.clone(), expr: StreamExpr(expr) });
    }
    Ok((projection, Arc::new(Schema::new(fields))))
}

/// The physical columns and the time of reading.
fn with_read_time(physical: &SchemaRef) -> Schema {
    let read_at = Arc::new(Field::new(PROCTIME_COLUMN, event_time_type(), false));
    Schema::new(physical.fields().iter().cloned().chain([read_at]).collect::<Vec<_>>())
}

/// A generated column, cast to its declared type if it has one.
fn generated(
    declared: &SourceColumn,
    physical: &SchemaRef,
    input: &DFSchema,
    expressions: &mut Expressions,
) -> Result<Expr> {
    let Some(sql) = &declared.generated else { return Ok(col(declared.name.text.as_str())) };
    let expr = if is_proctime(declared) { column(PROCTIME_COLUMN) } else { expressions.plan(sql.clone(), physical)? };
    match &declared.data_type {
        Some(_) => Ok(expr.cast_to(&declared_type(declared)?, input)?),
        None => Ok(expr),
    }
}

fn plan_event_time(
    watermark: &Watermark,
    columns: &[SourceColumn],
    schema: &SchemaRef,
    options: &[(String, String)],
    expressions: &mut Expressions,
) -> Result<EventTimeSpec> {
    let (name, at) = (&watermark.column.text, watermark.column.at);
    let Some((index, field)) = schema.column_with_name(name) else {
        let message = format!("WATERMARK FOR names the column '{name}'; there are: {}", column_names(schema));
        return Err(SqlError::invalid(message).at(at));
    };
    if proctime(columns)?.is_some_and(|(_, proctime)| proctime == name) {
        let message = format!("the watermark of '{name}' follows the clock by itself; leave WATERMARK FOR out");
        return Err(SqlError::invalid(message).at(at));
    }
    if field.data_type() != &event_time_type() {
        let message =
            format!("the event-time column '{name}' must be a TIMESTAMP, but is {}", type_name(field.data_type()));
        return Err(SqlError::invalid(message).at(at));
    }
    let expr = expressions.plan(watermark.expr.clone(), schema).map_err(|error| error.at(at))?;
    let input = DFSchema::try_from(Arc::clone(schema))?;
    let data_type = expr.get_type(&input)?;
    if !matches!(data_type, DataType::Timestamp(_, None)) {
        let message =
            format!("a watermark is a TIMESTAMP such as {name} - INTERVAL '1 minute', not {}", type_name(&data_type));
        return Err(SqlError::invalid(message).at(at));
    }
    let expr = expr.cast_to(&event_time_type(), &input)?;
    let on_null = match options.iter().find(|(key, _)| key == "null_event_time") {
        Some((_, value)) if value == "skip" => NullEventTime::Skip,
        _ => NullEventTime::DeadLetter,
    };
    Ok(EventTimeSpec { column: index, watermark: StreamExpr(expr), on_null })
}

/// The names of a schema's columns, for messages.
pub(crate) fn column_names(schema: &Schema) -> String {
    schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
}

/// A type as SQL writes it.
pub(crate) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => String::from("BOOLEAN"),
        DataType::Int8 => String::from("TINYINT"),
        DataType::Int16 => String::from("SMALLINT"),
        DataType::Int32 => String::from("INTEGER"),
        DataType::Int64 => String::from("BIGINT"),
        DataType::Float32 => String::from("REAL"),
        DataType::Float64 => String::from("DOUBLE"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => String::from("VARCHAR"),
        DataType::Date32 => String::from("DATE"),
        other if other == &event_time_type() => String::from("TIMESTAMP"),
        DataType::List(item) => format!("{}[]", type_name(item.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| format!("{} {}", field.name(), type_name(field.data_type())));
            format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
