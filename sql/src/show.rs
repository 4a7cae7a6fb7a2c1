//! SHOW, SHOW CREATE and DESCRIBE: answered from the session, as rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::{cast, filter_record_batch, like};
use arrow::datatypes::{DataType, Field, Schema};
use tidemill_plans::catalog::{ModelVersion, ObjectKind, UNTIMED};
use tidemill_plans::connector::{CONNECTORS, ConnectorSpec, SOURCE_OPTIONS, find};
use tidemill_plans::functions::{self, Registered, RegisteredKind};
use tidemill_plans::settings::SETTINGS;
use tidemill_plans::time::EventTime;

use crate::catalog::{Detail, FunctionObject, ModelObject, Object, StreamInfo};
use crate::error::{Result, SqlError};
use crate::planner::function::shown_parameters;
use crate::planner::source::type_name;
use crate::session::Session;
use crate::statement::Name;

/// What SHOW DEVICES names.
pub(crate) const SHOWN_DEVICES: &str = "devices";

/// One column of text.
pub(crate) fn text_rows<'a>(column: &str, rows: impl Iterator<Item = &'a str>) -> Result<RecordBatch> {
    table(&[column], rows.map(|row| vec![row.to_owned()]).collect())
}

/// SHOW, of all or of those whose first column is like a pattern.
pub(crate) fn show(session: &Session, what: &Name, pattern: Option<&str>) -> Result<RecordBatch> {
    let rows = shown(session, what)?;
    let Some(pattern) = pattern else { return Ok(rows) };
    let names = cast(rows.column(0), &DataType::Utf8)?;
    let is_like = like(&names.as_string::<i32>(), &StringArray::new_scalar(pattern))?;
    Ok(filter_record_batch(&rows, &is_like)?)
}

fn shown(session: &Session, what: &Name) -> Result<RecordBatch> {
    match what.text.as_str() {
        "sources" | "tables" => objects(session, |kind| kind == ObjectKind::Source),
        "sinks" => objects(session, |kind| kind == ObjectKind::Sink),
        "views" => objects(session, |kind| matches!(kind, ObjectKind::View | ObjectKind::MaterializedView)),
        "models" => models(session),
        "connectors" => options_of(CONNECTORS),
        "functions" => functions_of(session),
        SHOWN_DEVICES => session.devices(),
        "all" => settings(session, |_| true),
        name if session.settings.get(name).is_some() => settings(session, |setting| setting == name),
        name => {
            let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
            Err(SqlError::Unknown {
                at: what.at,
                what: String::from("setting or kind of object"),
                name: name.to_owned(),
                hint: format!(
                    "SHOW takes SOURCES, SINKS, VIEWS, MODELS, VERSIONS IN MODEL m, TABLES, CONNECTORS, CONNECTOR name, FUNCTIONS, DEVICES, ALL, CREATE \
                     name, or a setting: {}",
                    names.join(", ")
                ),
            })
        }
    }
}

/// SHOW CREATE.
pub(crate) fn show_create(session: &Session, name: &Name) -> Result<RecordBatch> {
    let object = session.catalog.get(name)?;
    session.require_owner(&object.name)?;
    table(
        &["name", "kind", "definition"],
        vec![vec![object.name.clone(), object.kind.to_string(), object.definition.clone()]],
    )
}

/// DESCRIBE.
pub(crate) fn describe(session: &Session, name: &Name) -> Result<RecordBatch> {
    let object = session.catalog.get(name)?;
    object.check_restored()?;
    match &object.detail {
        Detail::Source(_, info) | Detail::View(_, info) => describe_stream(info),
        Detail::Sink(sink) => describe_schema(sink.schema.as_deref().unwrap_or(&Schema::empty()), |_| String::new()),
        Detail::Model(model) => describe_model(model),
        Detail::Function(function) => describe_function(function),
        Detail::Lost(_) => Ok(RecordBatch::new_empty(Arc::new(Schema::empty()))),
    }
}

fn describe_stream(info: &StreamInfo) -> Result<RecordBatch> {
    describe_schema(&info.schema, |column| match info.times.first() {
        Some(first) if *first == column => String::from("event time"),
        _ if info.times.contains(&column) => String::from("also event time"),
        _ if info.changelog && info.upsert_keys.contains(&column) => String::from("key"),
        _ => String::new(),
    })
}

fn describe_schema(schema: &Schema, role: impl Fn(usize) -> String) -> Result<RecordBatch> {
    let columns = schema.fields();
    let text = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
    let names = text(columns.iter().map(|field| field.name().clone()).collect());
    let types = text(columns.iter().map(|field| type_name(field.data_type())).collect());
    let nullable = Arc::new(BooleanArray::from_iter(columns.iter().map(|field| Some(field.is_nullable()))));
    let roles = text((0..columns.len()).map(role).collect());
    let fields = vec![
        Field::new("column", DataType::Utf8, false),
        Field::new("type", DataType::Utf8, false),
        Field::new("nullable", DataType::Boolean, false),
        Field::new("role", DataType::Utf8, false),
    ];
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![names, types, nullable, roles])?)
}

fn describe_model(model: &ModelObject) -> Result<RecordBatch> {
    let features = model.features.iter().map(|(name, data_type)| (name.clone(), type_name(data_type), "feature"));
    let learning = model.learning.iter().map(|(name, data_type)| (name.clone(), type_name(data_type), "learning"));
    let label = model.label.iter().zip(model.predicted());
    let rows = label
        .map(|(label, predicted)| (label.clone(), type_name(predicted.data_type()), "label"))
        .chain(model.time.clone().map(|time| (time, String::from("TIMESTAMP"), "event time")))
        .chain(features)
        .chain(learning)
        .map(|(name, data_type, role)| vec![name, data_type, role.to_owned()]);
    table(&["column", "type", "role"], rows.collect())
}

fn describe_function(function: &FunctionObject) -> Result<RecordBatch> {
    let parameters = function.parameters.iter().map(|parameter| {
        let default = parameter.default.as_ref().map(ToString::to_string).unwrap_or_default();
        vec![parameter.name.clone(), type_name(&parameter.data_type), String::from("parameter"), default]
    });
    let returns = vec![String::new(), type_name(&function.returns), String::from("returns"), function.body.clone()];
    table(&["name", "type", "role", "expression"], parameters.chain([returns]).collect())
}

fn objects(session: &Session, wanted: impl Fn(ObjectKind) -> bool) -> Result<RecordBatch> {
    let chosen = session.catalog.objects().filter(|object| wanted(object.kind));
    let rows = chosen.map(|object| vec![object.name.clone(), object.kind.to_string(), connector(&object.detail)]);
    table(&["name", "kind", "connector"], rows.collect())
}

/// The models of the session, and those of earlier jobs, with the newest version of each.
pub(crate) fn models(session: &Session) -> Result<RecordBatch> {
    let mut rows = Vec::new();
    for object in session.catalog.objects().filter(|object| object.kind == ObjectKind::Model) {
        let version = session.catalog.measured.iter().find(|version| version.model == object.name);
        let mut row = ModelRow::of(&object.name, version);
        if let Detail::Model(model) = &object.detail {
            row.model_type.clone_from(&model.model_type);
        }
        // One of a file has been measured by nobody here.
        if version.is_none()
            && let Some(kept) = session.catalog.kept_version(&object.name)
        {
            row = ModelRow { version: Some(kept.version), learnt_to: shown_time(kept.learnt_to), ..row };
        }
        rows.push(row);
    }
    // Whose the earlier ones were, nobody knows any more.
    let sees_earlier = session.sees_all();
    let earlier = session
        .catalog
        .measured
        .iter()
        .filter(|version| sees_earlier && session.catalog.find(&version.model).is_none());
    rows.extend(earlier.map(|version| ModelRow::of(&version.model, Some(version))));
    models_table(&rows)
}

/// What SHOW MODELS says of a model.
#[derive(Default)]
struct ModelRow {
    name: String,
    model_type: String,
    version: Option<i64>,
    learnt_to: String,
    rows_learnt: Option<i64>,
    metrics: String,
}

impl ModelRow {
    fn of(name: &str, version: Option<&ModelVersion>) -> Self {
        let row = Self { name: name.to_owned(), ..Self::default() };
        let Some(version) = version else { return row };
        Self {
            version: Some(version.version),
            learnt_to: shown_time(version.learnt_to),
            rows_learnt: Some(version.rows_learnt),
            metrics: shown_metrics(version),
            ..row
        }
    }
}

fn models_table(rows: &[ModelRow]) -> Result<RecordBatch> {
    let texts =
        |text: fn(&ModelRow) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(text))) };
    let numbers =
        |number: fn(&ModelRow) -> Option<i64>| -> ArrayRef { Arc::new(Int64Array::from_iter(rows.iter().map(number))) };
    let columns = [
        ("name", texts(|row| &row.name), false),
        ("model_type", texts(|row| &row.model_type), false),
        ("version", numbers(|row| row.version), true),
        ("learnt_to", texts(|row| &row.learnt_to), false),
        ("rows_learnt", numbers(|row| row.rows_learnt), true),
        ("metrics", texts(|row| &row.metrics), false),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

/// The rows that a version has learnt, and its measures.
pub(crate) fn measured(version: &ModelVersion) -> [String; 2] {
    [version.rows_learnt.to_string(), shown_metrics(version)]
}

fn shown_metrics(version: &ModelVersion) -> String {
    let metrics: Vec<String> = version.metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
    metrics.join(", ")
}

/// Up to when in event time a version has learnt; nothing of one over tables.
pub(crate) fn shown_time(learnt_to: i64) -> String {
    let time = Some(learnt_to).filter(|time| *time != UNTIMED);
    time.map(|time| EventTime(time).to_string()).unwrap_or_default()
}

fn connector(detail: &Detail) -> String {
    match detail {
        Detail::Source(source, _) => source.connector.clone(),
        Detail::Sink(sink) => sink.connector.clone(),
        Detail::View(..) | Detail::Model(_) | Detail::Function(_) | Detail::Lost(_) => String::new(),
    }
}

/// SHOW CONNECTOR.
pub(crate) fn show_connector(name: &Name) -> Result<RecordBatch> {
    let spec = find(&name.text).map_err(|error| SqlError::from(error).at(name.at))?;
    options_of(&[*spec])
}

/// A row for each connector as a source and as a sink, and for each option that it has there.
fn options_of(connectors: &[ConnectorSpec]) -> Result<RecordBatch> {
    let mut rows = Vec::new();
    for spec in connectors {
        for (used_as, options, common) in [("source", spec.source, SOURCE_OPTIONS), ("sink", spec.sink, &[])] {
            let Some(options) = options else { continue };
            let row = |cells: [&str; 5]| {
                let row = [&[spec.name, used_as][..], &cells].concat();
                row.into_iter().map(String::from).collect::<Vec<_>>()
            };
            rows.push(row(["", "", "", "", spec.doc]));
            rows.extend(options.iter().chain(common).map(|option| {
                let required = if option.required { "yes" } else { "no" };
                let default = option.default.map(|default| format!("'{default}'")).unwrap_or_default();
                let doc = match option.format {
                    None => option.doc.to_owned(),
                    Some(format) => format!("{} (format {format})", option.doc),
                };
                row([option.name, &option.kind.to_string(), required, &default, &doc])
            }));
        }
    }
    table(&["connector", "as", "option", "value", "required", "default", "description"], rows)
}

/// What the session has created first, then what was registered from Rust, then SQL's own.
fn functions_of(session: &Session) -> Result<RecordBatch> {
    let registered = functions::registered();
    let mut own: Vec<(String, &str)> = Vec::new();
    own.extend(functions::aggregate_names().into_iter().map(|name| (name, "aggregate")));
    own.extend(functions::scalar_names().into_iter().map(|name| (name, "scalar")));
    own.extend(["tumble", "hop", "cumulate", "session", "ml.predict"].map(|name| (String::from(name), "table")));
    own.retain(|(name, _)| !registered.iter().any(|(other, _)| other == name));
    own.sort_unstable();
    let mut rows: Vec<Vec<String>> = session.catalog.objects().filter_map(|object| created_row(object)).collect();
    rows.extend(registered.into_iter().map(registered_row));
    rows.extend(own.into_iter().map(|(name, kind)| vec![name, String::new(), String::new(), kind.to_owned()]));
    table(&["name", "arguments", "returns", "kind", "body"], rows)
}

fn created_row(object: &Object) -> Option<Vec<String>> {
    let Detail::Function(function) = &object.detail else { return None };
    let (arguments, returns) = (shown_parameters(&function.parameters), type_name(&function.returns));
    Some(vec![object.name.clone(), arguments, returns, String::from("scalar, in SQL"), function.body.clone()])
}

fn registered_row((name, registered): (String, Registered)) -> Vec<String> {
    let kind = match registered.kind {
        RegisteredKind::Scalar => "scalar, from Rust",
        RegisteredKind::Aggregate => "aggregate, from Rust",
        RegisteredKind::Table => "table, from Rust",
    };
    let (arguments, returns) = match &registered.types {
        None => (String::new(), String::new()),
        Some((arguments, returns)) => {
            (arguments.iter().map(type_name).collect::<Vec<_>>().join(", "), type_name(returns))
        }
    };
    vec![name, arguments, returns, kind.to_owned()]
}

fn settings(session: &Session, wanted: impl Fn(&str) -> bool) -> Result<RecordBatch> {
    let chosen = SETTINGS.iter().filter(|setting| wanted(setting.name));
    let rows = chosen.map(|setting| {
        let value = session.settings.get(setting.name).unwrap_or_default();
        vec![setting.name.to_owned(), value, setting.doc.to_owned()]
    });
    table(&["name", "value", "description"], rows.collect())
}

/// A batch of text columns.
pub(crate) fn table(columns: &[&str], rows: Vec<Vec<String>>) -> Result<RecordBatch> {
    let fields: Vec<Field> = columns.iter().map(|column| Field::new(*column, DataType::Utf8, false)).collect();
    let arrays = (0..columns.len()).map(|column| {
        let values = rows.iter().map(|row| row.get(column).map(String::as_str).unwrap_or_default());
        Arc::new(StringArray::from_iter_values(values)) as ArrayRef
    });
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays.collect())?)
}
