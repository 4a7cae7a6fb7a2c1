//! What DataFusion's SQL planner asks about names: tables, functions, types.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use datafusion::common::TableReference;
use datafusion::config::ConfigOptions;
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::logical_plan::builder::LogicalTableSource;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion::sql::planner::ParserOptions;
use datafusion::sql::sqlparser::ast::{DataType as SqlType, TimezoneInfo};
use tidemill_plans::catalog::ObjectKind;
use tidemill_plans::functions;
use tidemill_plans::time::event_time_type;

use super::as_of;
use super::interval_product::IntervalProduct;
use crate::catalog::{Catalog, Detail};
use crate::system::plain_name;

/// The catalog, and the relations of one query that have no name in it.
pub(crate) struct PlanningContext<'a> {
    pub(crate) catalog: &'a Catalog,
    /// Schemas of the query's table functions and temporal tables, by their made-up names.
    pub(crate) relations: HashMap<String, SchemaRef>,
    /// What finds the tables of a query that runs as a whole; without it, they are streams.
    pub(crate) tables: Option<&'a FindTable<'a>>,
    /// The models that a query asks of each row, as functions.
    pub(crate) predictions: HashMap<String, Arc<ScalarUDF>>,
}

/// What the name of a table means.
pub(crate) type FindTable<'a> = dyn Fn(&str) -> Result<Arc<dyn TableSource>> + 'a;

static OPTIONS: LazyLock<ConfigOptions> = LazyLock::new(ConfigOptions::default);

static EXPR_PLANNERS: LazyLock<Vec<Arc<dyn ExprPlanner>>> = LazyLock::new(|| {
    let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(IntervalProduct)];
    planners.extend(SessionStateDefaults::default_expr_planners());
    planners
});

/// How DataFusion reads the syntax tree: text is Utf8, and errors keep their positions.
pub(crate) fn parser_options() -> ParserOptions {
    ParserOptions::new().with_map_string_types_to_utf8view(false).with_collect_spans(true)
}

impl PlanningContext<'_> {
    fn schema_of(&self, name: &str) -> Result<SchemaRef> {
        if let Some(schema) = self.relations.get(name) {
            return Ok(Arc::clone(schema));
        }
        let Some(object) = self.catalog.find(name) else {
            let names: Vec<&str> =
                self.catalog.objects().filter(|o| is_table(&o.detail)).map(|o| o.name.as_str()).collect();
            let hint = match names.as_slice() {
                [] => String::from("none has been created yet"),
                names => format!("there are: {}", names.join(", ")),
            };
            return Err(DataFusionError::Plan(format!("there is no source or view '{name}'; {hint}")));
        };
        object.check_restored().map_err(|error| DataFusionError::Plan(error.to_string()))?;
        match &object.detail {
            Detail::Source(_, info) | Detail::View(_, info) => Ok(Arc::clone(&info.schema)),
            Detail::Sink(_) | Detail::Model(_) | Detail::Function(_) | Detail::Lost(_) => {
                let message = format!("'{name}' is a {}; only sources and views have rows to select", object.kind);
                Err(DataFusionError::Plan(message))
            }
        }
    }
}

fn is_table(detail: &Detail) -> bool {
    matches!(detail, Detail::Source(..) | Detail::View(..))
}

impl ContextProvider for PlanningContext<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        if let (Some(find), Some(system)) = (self.tables, plain_name(&name.to_string())) {
            return find(system);
        }
        if name.schema().is_some() {
            return Err(DataFusionError::Plan(format!("'{name}' has a schema; objects have plain names")));
        }
        match self.tables {
            Some(find) => find(name.table()),
            None => Ok(Arc::new(LogicalTableSource::new(self.schema_of(name.table())?))),
        }
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        match self.tables {
            Some(_) => Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema)))),
            None => Err(DataFusionError::NotImplemented(String::from("WITH RECURSIVE in a stream"))),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &EXPR_PLANNERS
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(MicrosecondTimestamps))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        if let Some(Detail::Function(function)) = self.catalog.find(name).map(|object| &object.detail) {
            return Some(Arc::clone(&function.function));
        }
        if let Some(prediction) = self.predictions.get(name) {
            return Some(Arc::clone(prediction));
        }
        let found = as_of::find(name).or_else(|| functions::scalar(name));
        // DataFusion leaves a name with a dot as it is written.
        found.or_else(|| functions::scalar(&name.to_lowercase().strip_prefix("ml.").map(|own| format!("ml_{own}"))?))
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        functions::aggregate(name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        functions::window(name)
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &OPTIONS
    }

    fn udf_names(&self) -> Vec<String> {
        let created = self.catalog.objects().filter(|object| object.kind == ObjectKind::Function);
        created.map(|object| object.name.clone()).chain(functions::scalar_names()).collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        functions::aggregate_names()
    }

    fn udwf_names(&self) -> Vec<String> {
        functions::window_names()
    }
}

/// TIMESTAMP has microseconds, as in PostgreSQL; DataFusion's own would have nanoseconds.
#[derive(Debug)]
struct MicrosecondTimestamps;

impl TypePlanner for MicrosecondTimestamps {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        let micros = matches!(
            sql_type,
            SqlType::Timestamp(None | Some(6), TimezoneInfo::None | TimezoneInfo::WithoutTimeZone)
                | SqlType::Datetime(None | Some(6))
        );
        Ok(micros.then(|| Arc::new(Field::new("", event_time_type(), true))))
    }
}
