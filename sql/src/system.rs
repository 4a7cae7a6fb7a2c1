//! Tables about what there is, for queries as a whole: `information_schema`, as the standard has it, and `tidemill.models`,
//! `tidemill.devices`, `tidemill.jobs` and `tidemill.checkpoints`, which are what SHOW says, for whoever asks.
//!
//! Their rows are those of the moment in which a query is planned. What jobs do, the coordinator says.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use datafusion::sql::sqlparser::ast::{Query, visit_relations};
use tidemill_plans::catalog::ObjectKind;
use tidemill_plans::device::{device_rows, own_devices};

use crate::ast::{SCHEMA, dotted};
use crate::catalog::{Catalog, Detail, Object};
use crate::error::{Result, SqlError};
use crate::parameters::query_of;
use crate::parser::ParsedStatement;
use crate::planner::source::type_name;
use crate::session::Session;
use crate::show::{self, SHOWN_DEVICES};
use crate::statement::{Statement, StreamQuery};

/// The jobs, as SHOW JOBS has them.
pub const JOBS: &str = "tidemill.jobs";

/// The checkpoints of all jobs, as SHOW CHECKPOINTS has those of one.
pub const CHECKPOINTS: &str = "tidemill.checkpoints";

/// What the nodes of the cluster compute with, as SHOW DEVICES has it.
pub const DEVICES: &str = "tidemill.devices";

const MODELS: &str = "tidemill.models";

/// The schemas of such tables.
const SCHEMAS: [&str; 2] = ["information_schema", "tidemill"];

/// The tables.
const NAMES: [&str; 9] = [
    "information_schema.columns",
    "information_schema.routines",
    "information_schema.schemata",
    "information_schema.tables",
    "information_schema.views",
    CHECKPOINTS,
    DEVICES,
    JOBS,
    MODELS,
];

impl ParsedStatement {
    /// The tables of its query whose rows the coordinator says.
    #[must_use]
    pub fn wants_rows_of(&self) -> Vec<&'static str> {
        if matches!(&self.statement, Statement::Show(what, _) if what.text == SHOWN_DEVICES) {
            return vec![DEVICES];
        }
        let named = query_of(&self.statement).and_then(StreamQuery::sql).map(named).unwrap_or_default();
        [JOBS, CHECKPOINTS, DEVICES].into_iter().filter(|name| named.contains(*name)).collect()
    }
}

impl Session {
    /// Takes note of the rows of a table that the coordinator knows, for whoever asks next.
    pub fn set_rows_of(&mut self, name: &'static str, rows: RecordBatch) {
        self.told.insert(name, rows);
    }

    /// The catalog with those of these tables that a query names, and with views that are read as tables; nothing if
    /// there are none.
    pub(crate) fn with_system_tables(&self, query: &StreamQuery) -> Result<Option<Catalog>> {
        let named = query.sql().map(named).unwrap_or_default();
        if named.is_empty() && self.view_rows.is_empty() {
            return Ok(None);
        }
        let rows = |name: String| Ok((name.clone(), self.rows_of(&name)?));
        let mut system = named.into_iter().map(rows).collect::<Result<BTreeMap<_, _>>>()?;
        system.extend(self.view_rows.clone());
        let mut catalog = self.catalog.clone();
        catalog.system = Arc::new(system);
        Ok(Some(catalog))
    }

    fn rows_of(&self, name: &str) -> Result<RecordBatch> {
        match name {
            "information_schema.columns" => self.columns(),
            "information_schema.routines" => self.routines(),
            "information_schema.schemata" => table(vec![
                ("catalog_name", texts([SCHEMA[0]; 3].map(String::from).to_vec())),
                ("schema_name", texts(["information_schema", "public", "tidemill"].map(String::from).to_vec())),
            ]),
            "information_schema.tables" => self.all_tables(),
            "information_schema.views" => self.views(),
            MODELS => show::models(self),
            DEVICES => self.devices(),
            JOBS | CHECKPOINTS => self.told.get(name).cloned().ok_or_else(|| {
                SqlError::unsupported(format!("'{name}' in a script"), "it is for a session in which jobs go on")
            }),
            other => Err(SqlError::invalid(format!("there is no table '{other}'; there are: {}", NAMES.join(", ")))),
        }
    }

    /// Those of the cluster, or of this process where there is none.
    pub(crate) fn devices(&self) -> Result<RecordBatch> {
        match self.told.get(DEVICES) {
            Some(told) => Ok(told.clone()),
            None => Ok(device_rows([("this process", own_devices().as_slice())].into_iter())?),
        }
    }

    fn all_tables(&self) -> Result<RecordBatch> {
        let kind = |object: &Object| match object.kind {
            ObjectKind::Source => Some("BASE TABLE"),
            ObjectKind::View => Some("VIEW"),
            ObjectKind::MaterializedView => Some("MATERIALIZED VIEW"),
            ObjectKind::Sink => Some("SINK"),
            ObjectKind::Model | ObjectKind::Function => None,
        };
        let own = self.catalog.objects().filter_map(|object| Some((SCHEMA[1], object.name.as_str(), kind(object)?)));
        let system = NAMES.iter().filter_map(|name| name.split_once('.')).map(|(schema, name)| (schema, name, "VIEW"));
        let rows: Vec<_> = own.chain(system).collect();
        table(vec![
            ("table_catalog", texts(vec![SCHEMA[0].to_owned(); rows.len()])),
            ("table_schema", texts(rows.iter().map(|(schema, ..)| (*schema).to_owned()).collect())),
            ("table_name", texts(rows.iter().map(|(_, name, _)| (*name).to_owned()).collect())),
            ("table_type", texts(rows.iter().map(|(.., kind)| (*kind).to_owned()).collect())),
        ])
    }

    fn columns(&self) -> Result<RecordBatch> {
        let mut rows = Vec::new();
        for object in self.catalog.objects() {
            let fields = columns_of(object).map(|schema| schema.fields().clone()).unwrap_or_default();
            rows.extend(
                fields.iter().enumerate().map(|(place, field)| (object.name.clone(), place, Arc::clone(field))),
            );
        }
        let yes_or_no = |is_so: bool| String::from(if is_so { "YES" } else { "NO" });
        table(vec![
            ("table_catalog", texts(vec![SCHEMA[0].to_owned(); rows.len()])),
            ("table_schema", texts(vec![SCHEMA[1].to_owned(); rows.len()])),
            ("table_name", texts(rows.iter().map(|(table, ..)| table.clone()).collect())),
            ("column_name", texts(rows.iter().map(|(.., field)| field.name().clone()).collect())),
            ("ordinal_position", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1 as i64 + 1)))),
            ("column_default", Arc::new(StringArray::new_null(rows.len()))),
            ("is_nullable", texts(rows.iter().map(|(.., field)| yes_or_no(field.is_nullable())).collect())),
            ("data_type", texts(rows.iter().map(|(.., field)| type_name(field.data_type())).collect())),
        ])
    }

    fn views(&self) -> Result<RecordBatch> {
        let is_view = |kind: ObjectKind| matches!(kind, ObjectKind::View | ObjectKind::MaterializedView);
        let views: Vec<_> = self.catalog.objects().filter(|object| is_view(object.kind)).collect();
        // As SHOW CREATE does.
        let definition =
            |object: &&Arc<Object>| self.require_owner(&object.name).is_ok().then(|| object.definition.clone());
        table(vec![
            ("table_catalog", texts(vec![SCHEMA[0].to_owned(); views.len()])),
            ("table_schema", texts(vec![SCHEMA[1].to_owned(); views.len()])),
            ("table_name", texts(views.iter().map(|view| view.name.clone()).collect())),
            ("view_definition", Arc::new(views.iter().map(definition).collect::<StringArray>())),
        ])
    }

    /// The functions in SQL; what is SQL's own, and from Rust, SHOW FUNCTIONS has, too.
    fn routines(&self) -> Result<RecordBatch> {
        let function = |object: &Arc<Object>| match &object.detail {
            Detail::Function(function) => {
                Some((object.name.clone(), type_name(&function.returns), function.body.clone()))
            }
            _ => None,
        };
        let functions: Vec<_> = self.catalog.objects().filter_map(function).collect();
        let all = |text: &str| texts(vec![text.to_owned(); functions.len()]);
        table(vec![
            ("routine_catalog", all(SCHEMA[0])),
            ("routine_schema", all(SCHEMA[1])),
            ("routine_name", texts(functions.iter().map(|(name, ..)| name.clone()).collect())),
            ("routine_type", all("FUNCTION")),
            ("data_type", texts(functions.iter().map(|(_, returns, _)| returns.clone()).collect())),
            ("routine_body", all("SQL")),
            ("routine_definition", texts(functions.iter().map(|(.., body)| body.clone()).collect())),
        ])
    }
}

/// What a name means in a query, if it is that of such a table or of one of their schemas.
pub(crate) fn plain_name(parts: &str) -> Option<&str> {
    let rest = parts.strip_prefix(SCHEMA[0]).and_then(|rest| rest.strip_prefix('.'));
    let inner = rest.filter(|rest| rest.contains('.')).unwrap_or(parts);
    let (schema, _) = inner.split_once('.')?;
    (SCHEMAS.contains(&schema) && inner.matches('.').count() == 1).then_some(inner)
}

/// The names of such tables in a query.
fn named(query: &Query) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let _ = visit_relations(query, |name| {
        names.extend(plain_name(&dotted(name)).map(str::to_owned));
        ControlFlow::<()>::Continue(())
    });
    names
}

fn columns_of(object: &Object) -> Option<SchemaRef> {
    match &object.detail {
        Detail::Source(_, info) | Detail::View(_, info) => Some(Arc::clone(&info.schema)),
        Detail::Sink(sink) => sink.schema.clone(),
        Detail::Model(_) | Detail::Function(_) | Detail::Lost(_) => None,
    }
}

fn texts(values: Vec<String>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

fn table(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    Ok(RecordBatch::try_from_iter(columns)?)
}
