//! CREATE MODEL over tables that end: a query as a whole writes the training set, and a model is fitted to that.
//!
//! The training set is a table of files that only the model knows, as long as it is there: whoever computes the model
//! again reads the rows that it was made of, and not what the tables have by then.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use tidemill_plans::batch::Destination;
use tidemill_plans::catalog::{ObjectKind, SERVED_BYTES_MAX};
use tidemill_plans::connector::option;

use crate::access::{Privilege, Securable};
use crate::ast::quoted;
use crate::batch::predict::asks_models;
use crate::batch::{BatchPlan, Becomes};
use crate::catalog::{Catalog, Detail, ModelObject, Object};
use crate::create_table_as::place;
use crate::error::{Result, SqlError};
use crate::job::{JobKind, JobStatement};
use crate::lower::plan_fitted;
use crate::model_versions::VERSION;
use crate::parser::parse_script;
use crate::planner::source::type_name;
use crate::planner::training_rows::asks_training_rows;
use crate::session::{Effect, Session, object};
use crate::statement::{CreateModel, CreateTableAs, Name, Options, QueryBody, Statement};

/// The option that says where a training set is.
pub(crate) const TRAINING_SET: &str = "training_set";

impl Session {
    /// What CREATE MODEL does if its query runs as a whole.
    pub(crate) fn model_of_rows(&self, create: &CreateModel, text: &str) -> Result<Option<Effect>> {
        let Some(plan) = self.training_rows(create)? else { return Ok(None) };
        if asks_models(&plan.query.plan)? {
            // Whoever computes the columns again, at a restart, has no model to ask.
            let hint = "write the predictions into a table first: CREATE TABLE … AS SELECT …";
            return Err(SqlError::unsupported("ML.PREDICT in a training query", hint).at(create.name.at));
        }
        self.check_is_fitted(create)?;
        self.require(Privilege::Create, Securable::Schema)?;
        self.require_uses(&plan.uses)?;
        let mut create = create.clone();
        let given = create.options.take(TRAINING_SET);
        let mut version = self.next_version(&create);
        if given.is_some() {
            self.require_place()?;
            version = given_version(&mut create.options)?.unwrap_or(version);
        }
        let Some(path) = given.clone().or_else(|| create.place.clone()) else {
            let message =
                format!("the rows that the model is trained with need a place: WITH ({TRAINING_SET} = 'folder')");
            return Err(SqlError::invalid(message).at(create.options.at));
        };
        let mut uses = plan.uses.clone();
        let (set, plan, target) = self.planned_table(&table(&create, &path), plan)?;
        let (model, called) = plan_fitted(&create, &set, version, &self.catalog)?;
        self.require_uses(&called)?;
        if let Some(old) = self.catalog.find(&create.name.text).filter(|_| create.or_replace) {
            self.catalog.check_users(old, &model).map_err(|error| error.at(create.name.at))?;
        }
        uses.extend(called.into_iter().filter(|name| !plan.uses.contains(name)));
        let plan = plan.going_to(Destination::Files(target), Becomes::TrainingSet { replaces: create.or_replace });
        let text = if given.is_some() { text.to_owned() } else { written(&create, &path, version) };
        let object = object(&create.name, ObjectKind::Model, &text, uses, Detail::Model(Box::new(model)));
        let job = Some(JobKind::Train(Arc::clone(&object), Some(Box::new(plan))));
        Ok(Some(Effect::Create { object, replace: create.or_replace, job }))
    }

    /// Only what was fitted to a training set can be replaced: what learns from a stream has learnt what nobody has any more.
    fn check_is_fitted(&self, create: &CreateModel) -> Result<()> {
        match self.catalog.find(&create.name.text) {
            Some(old) if is_of_file(old) => Err(comes_from_a_file(&create.name)),
            Some(old) if !is_replaceable(old) => Err(learns_from_a_stream(&create.name)),
            _ => Ok(()),
        }
    }

    /// A model that is to learn from a stream replaces none.
    pub(crate) fn check_is_new(&self, create: &CreateModel) -> Result<()> {
        match self.catalog.find(&create.name.text) {
            Some(old) if is_of_file(old) => Err(comes_from_a_file(&create.name)),
            Some(_) => Err(learns_from_a_stream(&create.name)),
            None => Ok(()),
        }
    }

    /// Its query as a whole, if that is how it runs.
    fn training_rows(&self, create: &CreateModel) -> Result<Option<BatchPlan>> {
        match self.runs_batches {
            // It has run: the statement is that of a model that is there.
            false if option(&create.options.pairs, TRAINING_SET).is_some() => {
                self.whole(&create.query, &self.settings).map(Some)
            }
            _ => self.batch_plan(&create.query),
        }
    }

    /// Where the training set of a model is, if it has one.
    #[must_use]
    pub fn training_set_of(&self, name: &str) -> Option<String> {
        training_set(self.catalog.find(name)?)
    }

    /// Adds the model whose training set a statement has written; returns the one that it replaces.
    pub fn add_model(&mut self, statement: &JobStatement) -> Result<Option<ReplacedModel>> {
        let JobKind::Train(model, plan) = &statement.kind else { return Ok(None) };
        let becomes = plan.as_ref().and_then(|plan| plan.becomes.as_ref());
        let replaces = matches!(becomes, Some(Becomes::TrainingSet { replaces: true }));
        let name = Name { text: model.name.clone(), at: statement.position };
        let old = self.catalog.find(&name.text).filter(|old| replaces && is_replaceable(old)).cloned();
        let Some(old) = old else {
            self.catalog.add(Arc::clone(model), statement.position)?;
            self.note_busy(&model.name);
            return Ok(None);
        };
        let (mut is_alike, mut has_users) = (false, false);
        if !matches!(old.detail, Detail::Lost(_)) {
            let (was, is) = check_version(&old, model).map_err(|error| error.at(name.at))?;
            self.catalog.check_users(&old, is).map_err(|error| error.at(name.at))?;
            is_alike = difference(was, is).is_none();
            has_users = self.catalog.users(&name.text).is_some();
        }
        self.catalog.put(Arc::clone(model));
        self.note_busy(&model.name);
        Ok(Some(ReplacedModel { is_alike, has_users, object: old }))
    }

    /// Has a model back whose replacement could not be trained.
    pub fn put_back(&mut self, model: &ReplacedModel) {
        self.catalog.put(Arc::clone(&model.object));
        self.note_busy(&model.object.name);
    }
}

/// A model that gives way to another of its name.
#[derive(Debug)]
pub struct ReplacedModel {
    object: Arc<Object>,
    is_alike: bool,
    has_users: bool,
}

impl ReplacedModel {
    /// Its name, which is that of the other.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.object.name
    }

    /// Whether it takes and says what the other does, and so may answer until that is trained.
    #[must_use]
    pub fn is_alike(&self) -> bool {
        self.is_alike
    }

    /// Whether views and sinks ask it, which are then to ask the other.
    #[must_use]
    pub fn has_users(&self) -> bool {
        self.has_users
    }

    /// Where its training set is.
    #[must_use]
    pub fn training_set(&self) -> Option<String> {
        training_set(&self.object)
    }
}

/// Where an object's training set is, if it is a model that has one. Tables have places, too.
fn training_set(object: &Object) -> Option<String> {
    if object.kind == ObjectKind::Model { place(object) } else { None }
}

/// The version that the statement of a model that is there says it is.
fn given_version(options: &mut Options) -> Result<Option<i64>> {
    let at = options.place(VERSION);
    let Some(text) = options.take(VERSION) else { return Ok(None) };
    match text.parse() {
        Ok(version) if version > 0 => Ok(Some(version)),
        _ => Err(SqlError::invalid(format!("option {VERSION} = '{text}': expected a number from 1 on")).at(at)),
    }
}

/// Another may have been replaced while the rows of this one were written.
fn check_version<'a>(old: &'a Object, new: &'a Object) -> Result<(&'a ModelObject, &'a ModelObject)> {
    match (&old.detail, &new.detail) {
        (Detail::Model(was), Detail::Model(is)) if is.version == was.version + 1 => Ok((was, is)),
        _ => Err(SqlError::invalid(format!("the model '{}' has been replaced meanwhile; write it again", old.name))),
    }
}

impl Catalog {
    /// An error if what is made of a model could not go on with another in its place.
    fn check_users(&self, old: &Object, new: &ModelObject) -> Result<()> {
        let (Some(users), Detail::Model(was)) = (self.users(&old.name), &old.detail) else { return Ok(()) };
        let refused = |why: String, hint: &str| {
            Err(SqlError::unsupported(format!("OR REPLACE of '{}', which {users} asks: {why}", old.name), hint))
        };
        if let Some(what) = difference(was, new) {
            return refused(what, "give the new model a name of its own, or drop first what asks the old one");
        }
        if !self.serves(&old.name) {
            let why = format!(
                "streams fit it themselves, for no version of it is served, or one of more than {SERVED_BYTES_MAX} bytes"
            );
            return refused(why, "drop them first");
        }
        if self.objects().any(|user| user.uses.contains(&old.name) && reads_training_rows(user)) {
            let why = String::from("its training set is read");
            return refused(why, "drop first what uses ML.GLOBAL_EXPLAIN, ML.FEATURE_INFO or ML.RECOMMEND");
        }
        Ok(())
    }
}

/// Whether a view or a sink reads rows that models were fitted to.
fn reads_training_rows(user: &Object) -> bool {
    let statements = parse_script(&user.definition).unwrap_or_default();
    let queries = statements.iter().filter_map(|parsed| match &parsed.statement {
        Statement::CreateView(create) => Some(&create.query.body),
        Statement::CreateSink(create) => create.query.as_ref().map(|query| &query.body),
        _ => None,
    });
    queries.into_iter().any(|body| matches!(body, QueryBody::Sql(query) if asks_training_rows(query)))
}

/// What is another in what two models take, or say of that; none if they are alike.
fn difference(old: &ModelObject, new: &ModelObject) -> Option<String> {
    if old.label != new.label {
        let named =
            |label: &Option<String>| label.as_ref().map_or_else(|| String::from("none"), |name| format!("'{name}'"));
        return Some(format!("its label is {} instead of {}", named(&new.label), named(&old.label)));
    }
    let shown = |columns: &[(String, DataType)]| {
        let columns = columns.iter().map(|(name, data_type)| format!("{name} {}", type_name(data_type)));
        columns.collect::<Vec<_>>().join(", ")
    };
    if old.features != new.features {
        return Some(format!("it takes ({}) instead of ({})", shown(&new.features), shown(&old.features)));
    }
    let outputs = |fields: &[Field]| {
        fields.iter().map(|field| (field.name().clone(), field.data_type().clone())).collect::<Vec<_>>()
    };
    let (was, is) = (outputs(&old.outputs), outputs(&new.outputs));
    (old.outputs != new.outputs).then(|| format!("it says ({}) instead of ({})", shown(&is), shown(&was)))
}

/// Whether a model can take an object's place: one with a training set, and one that could not be restored.
fn is_replaceable(old: &Object) -> bool {
    training_set(old).is_some() || (old.kind == ObjectKind::Model && old.check_restored().is_err())
}

/// Whether an object is a model that no query has trained.
fn is_of_file(object: &Object) -> bool {
    matches!(&object.detail, Detail::Model(model) if model.query.is_none())
}

fn comes_from_a_file(name: &Name) -> SqlError {
    let hint = format!("DROP MODEL {} first: a model over tables can replace one over tables", name.text);
    SqlError::unsupported("OR REPLACE of a model from a file", hint).at(name.at)
}

fn learns_from_a_stream(name: &Name) -> SqlError {
    let hint = format!("DROP MODEL {} first: a model over tables can replace one over tables", name.text);
    SqlError::unsupported("OR REPLACE of or by a model that learns from a stream", hint).at(name.at)
}

impl JobStatement {
    /// What is to be done once its rows have been written: the training of a model.
    #[must_use]
    pub fn behind_its_rows(&self) -> Option<Self> {
        match &self.kind {
            JobKind::Train(model, Some(_)) => {
                Some(Self { kind: JobKind::Train(Arc::clone(model), None), ..self.clone() })
            }
            _ => None,
        }
    }
}

/// The table of a model's training set.
fn table(create: &CreateModel, path: &str) -> CreateTableAs {
    let pairs = [("connector", "files"), ("format", "parquet"), ("path", path)];
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    CreateTableAs {
        name: Name { text: format!("{}_{TRAINING_SET}", create.name.text), at: create.name.at },
        if_not_exists: false,
        or_replace: false,
        options: Options { pairs, places: Vec::new(), at: create.options.place(TRAINING_SET) },
        is_placed: true,
        query: create.query.clone(),
    }
}

/// The statement with the place of its training set.
fn written(create: &CreateModel, path: &str, version: i64) -> String {
    let options = create.options.pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let number = version.to_string();
    let version = (version > 1).then_some((VERSION, number.as_str()));
    let options = options.chain([(TRAINING_SET, path)]).chain(version);
    let options = options.map(|(key, value)| format!("{key} = '{}'", value.replace('\'', "''")));
    let options = options.collect::<Vec<_>>().join(", ");
    // A plan in Substrait does not run as a whole.
    let query = match &create.query.body {
        QueryBody::Sql(query) => query.to_string(),
        _ => String::new(),
    };
    let transform = create.transform.iter().map(|transform| format!("{transform} ")).collect::<String>();
    format!("CREATE MODEL {} {transform}WITH ({options}) AS {query}", quoted(&create.name.text))
}
