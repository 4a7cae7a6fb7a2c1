//! SQL's scalar, aggregate and window functions: the planner that checks a call and the worker that runs it
//! take them from here, so they cannot differ.
//!
//! All of DataFusion's defaults, the quality measures of models as aggregates, what features are made with, and what a program
//! registers before its first session. A worker in a process of its own knows only what that process has
//! registered.

/// Makes functions equal that have one name: it says which measure one is, and function pointers have no reliable identity.
macro_rules! known_by_name {
    ($function:ty) => {
        impl PartialEq for $function {
            fn eq(&self, other: &Self) -> bool {
                self.name == other.name
            }
        }
        impl Eq for $function {}
        impl std::hash::Hash for $function {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.name.hash(state);
            }
        }
    };
}
use known_by_name;

mod checked;
mod class_probabilities;
mod classes;
mod classification;
pub(crate) mod features;
pub(crate) mod json;
mod off_policy;
mod pairs;
mod ranking;
mod regression;
mod sum;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard};

use arrow::datatypes::DataType;
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, Signature, TypeSignature, WindowUDF};
use datafusion::prelude::SessionConfig;

use crate::error::{PlanError, Result};

/// Names that the planner reads itself, in FROM and elsewhere.
const PLANNED: [&str; 11] = [
    "tumble",
    "hop",
    "cumulate",
    "session",
    "unnest",
    "descriptor",
    "ml_predict",
    "ml_evaluate",
    "ml_transform",
    "mod",
    "proctime",
];

/// Aggregates whose result never depends on the order of their input. (Measures of classifiers sort
/// their pairs before they add anything up, or count.)
pub const ORDER_FREE: &[&str] = &[
    "count",
    "bool_and",
    "bool_or",
    "bit_and",
    "bit_or",
    "bit_xor",
    "roc_auc",
    "class_roc_auc",
    "class_log_loss",
    "average_precision",
    "log_loss",
    "brier_score",
    "expected_calibration_error",
    "accuracy",
    "precision",
    "recall",
    "f1",
    "ndcg",
];

/// Aggregates whose result does not depend on it unless the input is floats: a sum of floats rounds at
/// every step, and of 0.0 and -0.0 the first is the least.
pub const ORDER_FREE_BUT_FOR_FLOATS: &[&str] = &["sum", "avg", "min", "max"];

static REGISTRY: LazyLock<RwLock<Registry>> = LazyLock::new(|| RwLock::new(Registry::with_defaults()));

/// All functions by name, and what decodes calls of them.
struct Registry {
    scalar: HashMap<String, Arc<ScalarUDF>>,
    aggregate: HashMap<String, Arc<AggregateUDF>>,
    window: HashMap<String, Arc<WindowUDF>>,
    /// What has been registered, by name.
    registered: BTreeMap<String, Registered>,
    context: Arc<TaskContext>,
}

/// What is known of a function that was registered from Rust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// What it makes of its arguments.
    pub kind: RegisteredKind,
    /// The types of its arguments, and of its result, if its signature has only one choice.
    pub types: Option<(Vec<DataType>, DataType)>,
}

/// The kinds of functions that can be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisteredKind {
    /// A value of each row.
    Scalar,
    /// A value of many rows.
    Aggregate,
    /// A list of each row, whose elements FROM takes as rows.
    Table,
}

/// What the rows of a table function are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowColumns {
    /// One value.
    Element,
    /// The fields of a struct, by these names.
    Fields(Vec<String>),
}

impl Registered {
    /// The columns of a function's rows, if it returns a list.
    #[must_use]
    pub fn columns(&self) -> Option<RowColumns> {
        let (_, returned) = self.types.as_ref()?;
        let (DataType::List(row) | DataType::LargeList(row) | DataType::FixedSizeList(row, _)) = returned else {
            return None;
        };
        Some(match row.data_type() {
            DataType::Struct(fields) => RowColumns::Fields(fields.iter().map(|field| field.name().clone()).collect()),
            _ => RowColumns::Element,
        })
    }
}

impl Registry {
    fn with_defaults() -> Self {
        let mut scalar = HashMap::new();
        let own = features::functions().into_iter().chain([json::function()]).map(Arc::new);
        for function in SessionStateDefaults::default_scalar_functions().into_iter().chain(own) {
            add(&mut scalar, function.name().to_owned(), function.aliases(), &function);
        }
        let mut aggregate = HashMap::new();
        // Behind DataFusion's, in whose place they are.
        let measures = [
            classification::functions(),
            class_probabilities::functions(),
            classes::functions(),
            off_policy::functions(),
            ranking::functions(),
            regression::functions(),
        ];
        let own = measures.concat().into_iter().chain([sum::function()]).map(Arc::new);
        for function in SessionStateDefaults::default_aggregate_functions().into_iter().chain(own) {
            add(&mut aggregate, function.name().to_owned(), function.aliases(), &function);
        }
        let mut window = HashMap::new();
        for function in SessionStateDefaults::default_window_functions() {
            add(&mut window, function.name().to_owned(), function.aliases(), &function);
        }
        let context = Arc::new(context_of(&scalar, &aggregate, &window));
        Self { scalar, aggregate, window, registered: BTreeMap::new(), context }
    }

    fn is_known(&self, name: &str) -> bool {
        self.scalar.contains_key(name)
            || self.aggregate.contains_key(name)
            || self.window.contains_key(name)
            || PLANNED.contains(&name)
    }

    /// Refuses names that mean another function already, or nothing.
    fn check_free(&self, name: &str, aliases: &[String]) -> Result<()> {
        for name in aliases.iter().map(String::as_str).chain([name]) {
            if name.is_empty() {
                return Err(PlanError::Function(String::from("a function needs a name")));
            }
            if self.is_known(name) {
                return Err(PlanError::Function(format!("there is a function '{name}' already; take another name")));
            }
        }
        Ok(())
    }

    /// Lists what has just been added, and makes it known to decoders.
    fn note(&mut self, name: String, registered: Registered) {
        self.registered.insert(name, registered);
        self.context = Arc::new(context_of(&self.scalar, &self.aggregate, &self.window));
    }
}

fn add<F>(functions: &mut HashMap<String, Arc<F>>, name: String, aliases: &[String], function: &Arc<F>) {
    for name in aliases.iter().cloned().chain([name]) {
        functions.insert(name, Arc::clone(function));
    }
}

fn context_of(
    scalar: &HashMap<String, Arc<ScalarUDF>>,
    aggregate: &HashMap<String, Arc<AggregateUDF>>,
    window: &HashMap<String, Arc<WindowUDF>>,
) -> TaskContext {
    TaskContext::new(
        None,
        String::from("tidemill"),
        SessionConfig::new(),
        scalar.clone(),
        HashMap::new(),
        aggregate.clone(),
        window.clone(),
        Arc::new(RuntimeEnv::default()),
    )
}

/// A registration that panicked has not changed anything yet.
fn registry() -> RwLockReadGuard<'static, Registry> {
    REGISTRY.read().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a scalar function known to all SQL that is planned in this process from now on, and to the workers
/// in it. SQL finds it by its name in any case. What it returns is checked: a wrong type or number of rows
/// ends the job.
///
/// # Errors
/// If one of its names is taken.
pub fn register_scalar(function: ScalarUDF) -> Result<()> {
    let function = checked::scalar(&function);
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    registry.check_free(function.name(), function.aliases())?;
    let types = types_of(function.signature(), |types| function.inner().return_type(types));
    let (name, aliases) = (function.name().to_owned(), function.aliases().to_vec());
    add(&mut registry.scalar, name.clone(), &aliases, &Arc::new(function));
    registry.note(name, Registered { kind: RegisteredKind::Scalar, types });
    Ok(())
}

/// Makes an aggregate function known, as [`register_scalar`] does. It also runs over rows that are taken
/// back: it need not be able to, for it is then given what is left.
///
/// # Errors
/// If one of its names is taken.
pub fn register_aggregate(function: AggregateUDF) -> Result<()> {
    let function = checked::aggregate(&function);
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    registry.check_free(function.name(), function.aliases())?;
    let types = types_of(function.signature(), |types| function.inner().return_type(types));
    let (name, aliases) = (function.name().to_owned(), function.aliases().to_vec());
    add(&mut registry.aggregate, name.clone(), &aliases, &Arc::new(function));
    registry.note(name, Registered { kind: RegisteredKind::Aggregate, types });
    Ok(())
}

/// Makes a table function known: one that returns a list for each row, or a list of structs, whose elements
/// become rows in `FROM t, LATERAL f(t.x)`. The fields of the structs are the columns; anything else is one
/// column with the function's name. As a function it is checked like those of [`register_scalar`].
///
/// # Errors
/// If one of its names is taken, or if it has no exact signature or does not return a list.
pub fn register_table(function: ScalarUDF) -> Result<()> {
    let function = checked::scalar(&function);
    let name = function.name().to_owned();
    let types = types_of(function.signature(), |types| function.inner().return_type(types));
    let registered = Registered { kind: RegisteredKind::Table, types };
    let wrong = |message: &str| Err(PlanError::Function(format!("the table function '{name}' {message}")));
    match (&registered.types, registered.columns()) {
        (None, _) => return wrong("needs an exact signature: its columns are the same in every call"),
        (_, None) => return wrong("returns no list: it has to return one for each row"),
        (_, Some(RowColumns::Fields(fields))) if fields.is_empty() => return wrong("makes rows without columns"),
        _ if !function.aliases().is_empty() => return wrong("has other names, which FROM does not know"),
        _ => {}
    }
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    registry.check_free(function.name(), function.aliases())?;
    add(&mut registry.scalar, name.clone(), &[], &Arc::new(function));
    registry.note(name, registered);
    Ok(())
}

/// The types of a function's arguments and of its result, if its signature leaves no choice.
fn types_of(
    signature: &Signature,
    return_type: impl FnOnce(&[DataType]) -> datafusion::error::Result<DataType>,
) -> Option<(Vec<DataType>, DataType)> {
    let arguments = match &signature.type_signature {
        TypeSignature::Exact(types) => types.clone(),
        TypeSignature::Nullary => Vec::new(),
        _ => return None,
    };
    let returned = return_type(&arguments).ok()?;
    Some((arguments, returned))
}

/// Whether a name (lower case) means a function already: one of SQL's own, or one that was registered.
#[must_use]
pub fn is_known(name: &str) -> bool {
    registry().is_known(name)
}

/// What has been registered, by name and in order.
#[must_use]
pub fn registered() -> Vec<(String, Registered)> {
    registry().registered.iter().map(|(name, registered)| (name.clone(), registered.clone())).collect()
}

/// What is known of a registered function of this name (lower case).
#[must_use]
pub fn find_registered(name: &str) -> Option<Registered> {
    registry().registered.get(name).cloned()
}

/// The scalar function of this name (lower case), if there is one.
#[must_use]
pub fn scalar(name: &str) -> Option<Arc<ScalarUDF>> {
    registry().scalar.get(name).cloned()
}

/// The aggregate function of this name (lower case), if there is one.
#[must_use]
pub fn aggregate(name: &str) -> Option<Arc<AggregateUDF>> {
    registry().aggregate.get(name).cloned()
}

/// The window function of this name (lower case), if there is one. Aggregates are window functions too.
#[must_use]
pub fn window(name: &str) -> Option<Arc<WindowUDF>> {
    registry().window.get(name).cloned()
}

/// The names of all scalar functions, in order.
#[must_use]
pub fn scalar_names() -> Vec<String> {
    sorted(registry().scalar.keys())
}

/// The names of all aggregate functions, in order.
#[must_use]
pub fn aggregate_names() -> Vec<String> {
    sorted(registry().aggregate.keys())
}

/// The names of all window functions that are not aggregates, in order.
#[must_use]
pub fn window_names() -> Vec<String> {
    sorted(registry().window.keys())
}

fn sorted<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut names: Vec<String> = names.cloned().collect();
    names.sort_unstable();
    names
}

/// A DataFusion context that knows these functions, for decoding expressions.
#[must_use]
pub fn task_context() -> Arc<TaskContext> {
    Arc::clone(&registry().context)
}

#[cfg(test)]
mod tests;
