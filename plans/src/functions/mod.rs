//! SQL's scalar, aggregate and window functions: the planner that checks a call and the worker that runs it
//! take them from here, so they cannot differ.
//!
//! All of DataFusion's defaults, and the quality measures of classifiers as aggregates.

mod classification;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::execution::SessionStateDefaults;
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use datafusion::prelude::SessionConfig;

static SCALAR: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let mut functions = HashMap::new();
    for function in SessionStateDefaults::default_scalar_functions() {
        for name in function.aliases() {
            functions.insert(name.clone(), Arc::clone(&function));
        }
        functions.insert(function.name().to_owned(), function);
    }
    functions
});

static AGGREGATE: LazyLock<HashMap<String, Arc<AggregateUDF>>> = LazyLock::new(|| {
    let mut functions = HashMap::new();
    let own = classification::functions().into_iter().map(Arc::new);
    for function in SessionStateDefaults::default_aggregate_functions().into_iter().chain(own) {
        for name in function.aliases() {
            functions.insert(name.clone(), Arc::clone(&function));
        }
        functions.insert(function.name().to_owned(), function);
    }
    functions
});

static WINDOW: LazyLock<HashMap<String, Arc<WindowUDF>>> = LazyLock::new(|| {
    let mut functions = HashMap::new();
    for function in SessionStateDefaults::default_window_functions() {
        for name in function.aliases() {
            functions.insert(name.clone(), Arc::clone(&function));
        }
        functions.insert(function.name().to_owned(), function);
    }
    functions
});

static TASK_CONTEXT: LazyLock<TaskContext> = LazyLock::new(|| {
    TaskContext::new(
        None,
        String::from("tidemill"),
        SessionConfig::new(),
        SCALAR.clone(),
        HashMap::new(),
        AGGREGATE.clone(),
        WINDOW.clone(),
        Arc::new(RuntimeEnv::default()),
    )
});

/// The scalar function of this name (lower case), if there is one.
#[must_use]
pub fn scalar(name: &str) -> Option<Arc<ScalarUDF>> {
    SCALAR.get(name).cloned()
}

/// The aggregate function of this name (lower case), if there is one.
#[must_use]
pub fn aggregate(name: &str) -> Option<Arc<AggregateUDF>> {
    AGGREGATE.get(name).cloned()
}

/// The window function of this name (lower case), if there is one. Aggregates are window functions too.
#[must_use]
pub fn window(name: &str) -> Option<Arc<WindowUDF>> {
    WINDOW.get(name).cloned()
}

/// The names of all scalar functions.
pub fn scalar_names() -> impl Iterator<Item = &'static str> {
    SCALAR.keys().map(String::as_str)
}

/// The names of all aggregate functions.
pub fn aggregate_names() -> impl Iterator<Item = &'static str> {
    AGGREGATE.keys().map(String::as_str)
}

/// The names of all window functions that are not aggregates.
pub fn window_names() -> impl Iterator<Item = &'static str> {
    WINDOW.keys().map(String::as_str)
}

/// A DataFusion context that knows these functions, for decoding expressions.
#[must_use]
pub fn task_context() -> &'static TaskContext {
    &TASK_CONTEXT
}
