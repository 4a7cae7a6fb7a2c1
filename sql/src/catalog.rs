//! The objects of a session, in the order they were created, each with what planning needs of it.
//!
//! Objects are shared and never change: a job keeps the catalog it was planned with, and a graph
//! under construction recognises an object that it has built already by its identity.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::logical_expr::ScalarUDF;
use datafusion::sql::sqlparser::ast::Expr;
use tidemill_plans::catalog::{CatalogEntry, ModelVersion, ObjectKind};
use tidemill_plans::node::{ModelFreshness, SourceNode};
use tidemill_plans::prediction::TrainedModels;
use tidemill_plans::settings::Settings;
use tidemill_plans::transform::Transform;

use crate::error::{Position, Result, SqlError};
use crate::lower::write::Target;
use crate::parser::parse_script;
use crate::session::Session;
use crate::statement::{Name, StreamQuery};

/// Sources, sinks, views, models and functions by name; no connector is involved.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    objects: Vec<Arc<Object>>,
    /// The names of those that are not there for whoever asks.
    pub(crate) hidden: Arc<BTreeSet<String>>,
    /// The tables about what there is that a query names, while it is planned.
    pub(crate) system: Arc<BTreeMap<String, RecordBatch>>,
    /// What queries as a whole ask for predictions.
    pub(crate) trained: Option<Arc<dyn TrainedModels>>,
    /// The newest version of each model in the registry, with what was measured of it.
    pub(crate) measured: Arc<Vec<ModelVersion>>,
    /// Whether its objects have been accepted before and are planned once more: what some of them ask of models need not be
    /// there any more.
    pub(crate) plans_again: bool,
}

/// A created object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) name: String,
    pub(crate) kind: ObjectKind,
    /// The statement that created it.
    pub(crate) definition: String,
    /// Names of the objects it is made of.
    pub(crate) uses: Vec<String>,
    pub(crate) detail: Detail,
}

impl Object {
    fn entry(&self) -> CatalogEntry {
        CatalogEntry { name: self.name.clone(), kind: self.kind, definition: self.definition.clone() }
    }

    /// What stands for an object that cannot be restored.
    fn lost(entry: &CatalogEntry, reason: &SqlError) -> Self {
        let (name, definition) = (entry.name.clone(), entry.definition.clone());
        Self { name, kind: entry.kind, definition, uses: Vec::new(), detail: Detail::Lost(reason.to_string()) }
    }

    /// An error if it is there by name alone.
    pub(crate) fn check_restored(&self) -> Result<()> {
        let Detail::Lost(reason) = &self.detail else { return Ok(()) };
        let (name, kind) = (&self.name, self.kind);
        let message = format!("{kind} '{name}' could not be restored, drop it and create it anew: {reason}");
        Err(SqlError::invalid(message))
    }
}

/// What planning needs of an object.
#[derive(Debug)]
pub(crate) enum Detail {
    Source(Box<SourceNode>, StreamInfo),
    Sink(SinkObject),
    View(StreamQuery, StreamInfo),
    Model(Box<ModelObject>),
    Function(Box<FunctionObject>),
    /// One whose statement was accepted by an earlier session and is not any more, for this reason. All that can be done
    /// with it is to drop or replace it: it must not be gone, for a job may work for it.
    Lost(String),
}

/// A stream as its consumers see it: what columns it has and what may be done with it.
#[derive(Debug, Clone)]
pub(crate) struct StreamInfo {
    /// Its columns, without the changelog column. Names are unique.
    pub(crate) schema: SchemaRef,
    /// Indexes of its event-time columns, the preferred one first.
    pub(crate) times: Vec<usize>,
    /// Those of them that say which window a row belongs to: its end or its last instant.
    pub(crate) window_times: Vec<usize>,
    /// Whether it ends.
    pub(crate) bounded: bool,
    /// Whether rows may be updated and deleted.
    pub(crate) changelog: bool,
    /// Indexes of the columns that identify a row of an updating stream.
    pub(crate) upsert_keys: Vec<usize>,
}

impl StreamInfo {
    /// A stream of new rows without event time.
    pub(crate) fn untimed(schema: SchemaRef, bounded: bool) -> Self {
        let (times, window_times, upsert_keys) = (Vec::new(), Vec::new(), Vec::new());
        Self { schema, times, window_times, bounded, changelog: false, upsert_keys }
    }

    /// The same stream of whose event-time columns only these are known to keep to the watermark.
    pub(crate) fn with_times(&self, times: Vec<usize>) -> Self {
        let window_times = self.window_times.iter().copied().filter(|time| times.contains(time)).collect();
        Self { times, window_times, ..self.clone() }
    }

    /// The names of its event-time columns.
    pub(crate) fn time_names(&self) -> Vec<&str> {
        self.times.iter().map(|time| self.schema.field(*time).name().as_str()).collect()
    }
}

/// A sink.
#[derive(Debug, Clone)]
pub(crate) struct SinkObject {
    pub(crate) connector: String,
    pub(crate) options: Vec<(String, String)>,
    /// Its declared columns; `None` takes any.
    pub(crate) schema: Option<SchemaRef>,
    /// The columns that tell its rows apart, if it has to know.
    pub(crate) key: Vec<String>,
    /// Whether it has a query of its own, so that nothing can be inserted into it.
    pub(crate) has_query: bool,
}

/// A model and how it is trained.
#[derive(Debug)]
pub(crate) struct ModelObject {
    /// What it learns from; nobody knows what a model of a file has.
    pub(crate) query: Option<StreamQuery>,
    pub(crate) model_type: String,
    /// The number of the version that its training set makes; that of the first, if it learns from a stream.
    pub(crate) version: i64,
    /// The column that it learns, if it has any.
    pub(crate) label: Option<String>,
    /// What it says of a row.
    pub(crate) outputs: Vec<Field>,
    /// The event-time column of the training query, if it learns in event time.
    pub(crate) time: Option<String>,
    /// The table that has the rows of the training query, if it is fitted to all of them at once.
    pub(crate) training_set: Option<Arc<Object>>,
    /// Name and type of each column that features are made of, or that is one, in order.
    pub(crate) features: Vec<(String, DataType)>,
    /// Likewise each column beside them that only learning reads.
    pub(crate) learning: Vec<(String, DataType)>,
    /// What makes features of them, if they are not the features themselves.
    pub(crate) transform: Option<Transform>,
    pub(crate) options: Vec<(String, String)>,
    /// Microseconds.
    pub(crate) publish_every: i64,
    pub(crate) freshness: ModelFreshness,
    /// How many instances fit it together.
    pub(crate) workers: u32,
}

impl ModelObject {
    /// What it says of its label, if it has learnt one.
    pub(crate) fn predicted(&self) -> Option<&Field> {
        let name = format!("predicted_{}", self.label.as_ref()?);
        self.outputs.iter().find(|field| field.name() == &name)
    }

    /// All columns of its query that learning reads, beside the label.
    pub(crate) fn learnt(&self) -> impl Iterator<Item = &(String, DataType)> {
        self.features.iter().chain(&self.learning)
    }
}

impl SinkObject {
    /// Where rows for the sink of this name go.
    pub(crate) fn target(&self, table: &str) -> Target {
        let (connector, options) = (self.connector.clone(), self.options.clone());
        Target { table: table.to_owned(), connector, options, key: self.key.clone() }
    }
}

/// A function with a body in SQL. What was registered from Rust is no object of a catalog.
#[derive(Debug)]
pub(crate) struct FunctionObject {
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) returns: DataType,
    /// As the parser prints it.
    pub(crate) body: String,
    /// What a call is planned as.
    pub(crate) function: Arc<ScalarUDF>,
}

/// A parameter of a function.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    /// A constant.
    pub(crate) default: Option<Expr>,
}

impl Catalog {
    /// All objects in creation order.
    #[must_use]
    pub fn entries(&self) -> Vec<CatalogEntry> {
        self.objects.iter().map(|object| object.entry()).collect()
    }

    /// The names of the objects that whoever asks may know of.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        self.objects().map(|object| object.name.clone()).collect()
    }

    /// The object of this name, if there is one.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<CatalogEntry> {
        self.find(name).map(|object| object.entry())
    }

    /// The catalog that the statements of these objects, in this order, create; some may ask models, whose versions are
    /// these. Objects whose statements are not accepted any more are there by name, and told with the reason. Jobs are not
    /// started.
    #[must_use]
    pub fn restored(
        entries: &[CatalogEntry],
        models: Option<Arc<dyn TrainedModels>>,
    ) -> (Self, Vec<(String, SqlError)>) {
        // Whatever a source's statement leaves to the settings was there when it was accepted.
        let settings = Settings { watermark_max_drift_ms: 1, ..Settings::default() };
        let mut session = Session::new(settings, Vec::new());
        session.catalog = Self { trained: models, plans_again: true, ..Self::default() };
        let mut left: Vec<&CatalogEntry> = entries.iter().collect();
        // A model may have been replaced by one of tables that are newer than its users: so often as that helps, from the
        // beginning.
        let failed = loop {
            let (before, mut failed) = (left.len(), Vec::new());
            left.retain(|entry| {
                let executed = parse_script(&entry.definition)
                    .and_then(|statements| statements.iter().try_for_each(|one| session.execute(one).map(drop)));
                let error = executed.err();
                let is_left = error.is_some();
                failed.extend(error);
                is_left
            });
            if left.is_empty() || left.len() == before {
                break failed;
            }
        };
        let mut catalog = session.catalog;
        catalog.plans_again = false;
        let lost = left.iter().zip(&failed).map(|(entry, error)| Arc::new(Object::lost(entry, error)));
        catalog.objects.extend(lost);
        // In their order, in which the next start restores them.
        let place = |object: &Arc<Object>| entries.iter().position(|entry| entry.name == object.name);
        catalog.objects.sort_by_key(place);
        let lost = left.into_iter().map(|entry| entry.name.clone()).zip(failed);
        (catalog, lost.collect())
    }

    /// Whether an object is a sink that any statement may write to, beside others.
    #[must_use]
    pub fn takes_inserts(&self, name: &str) -> bool {
        let sink = self.objects.iter().find(|object| object.name == name);
        sink.is_some_and(|object| matches!(&object.detail, Detail::Sink(sink) if !sink.has_query))
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.iter().filter(|object| !self.hidden.contains(&object.name))
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Object>> {
        self.objects().find(|object| object.name == name)
    }

    /// The catalog with all that is hidden: views are made of it, whoever reads them.
    pub(crate) fn whole(&self) -> Self {
        Self { hidden: Arc::default(), ..self.clone() }
    }

    /// The object of this name, or an error that lists what there is.
    pub(crate) fn get(&self, name: &Name) -> Result<&Arc<Object>> {
        self.find(&name.text)
            .ok_or_else(|| self.unknown("source, view, sink, model or function", &name.text, name.at, |_| true))
    }

    /// The model of this name, with what holds it.
    pub(crate) fn model(&self, name: &str) -> Result<(&Arc<Object>, &ModelObject)> {
        let Some(object) = self.find(name) else {
            return Err(self.unknown("model", name, Position::UNKNOWN, |kind| kind == ObjectKind::Model));
        };
        object.check_restored()?;
        match &object.detail {
            Detail::Model(model) => Ok((object, model)),
            _ => Err(SqlError::invalid(format!("'{name}' is a {}, not a model", object.kind))),
        }
    }

    /// The error about a name that nothing of the wanted kinds has.
    pub(crate) fn unknown(&self, what: &str, name: &str, at: Position, wanted: fn(ObjectKind) -> bool) -> SqlError {
        let names: Vec<&str> =
            self.objects().filter(|object| wanted(object.kind)).map(|object| object.name.as_str()).collect();
        let hint = match names.as_slice() {
            [] => String::from("none has been created yet"),
            names => format!("there are: {}", names.join(", ")),
        };
        SqlError::Unknown { at, what: what.to_owned(), name: name.to_owned(), hint }
    }

    /// Adds an object whose name is free.
    pub(crate) fn add(&mut self, object: Arc<Object>, at: Position) -> Result<()> {
        if let Some(taken) = self.objects.iter().find(|taken| taken.name == object.name) {
            return Err(SqlError::Duplicate { at, name: object.name.clone(), kind: taken.kind });
        }
        self.objects.push(object);
        Ok(())
    }

    /// The objects that are made of this one, for messages: `view 'v', sink 's'`; none if there are none.
    pub(crate) fn users(&self, name: &str) -> Option<String> {
        let users = self.objects.iter().filter(|object| object.uses.iter().any(|used| used == name));
        let users: Vec<String> = users.map(|user| format!("{} '{}'", user.kind, user.name)).collect();
        (!users.is_empty()).then(|| users.join(", "))
    }

    /// Puts an object in the place of another of its name, whatever is made of that.
    pub(crate) fn put(&mut self, object: Arc<Object>) {
        match self.objects.iter_mut().find(|old| old.name == object.name) {
            Some(old) => *old = object,
            None => self.objects.push(object),
        }
    }

    /// Takes an object out that nothing is made of.
    pub(crate) fn remove(&mut self, name: &Name) -> Result<()> {
        if let Some(user) = self.objects.iter().find(|object| object.uses.contains(&name.text)) {
            let used_by = format!("{} '{}'", user.kind, user.name);
            return Err(SqlError::InUse { at: name.at, name: name.text.clone(), used_by });
        }
        self.objects.retain(|object| object.name != name.text);
        Ok(())
    }
}
