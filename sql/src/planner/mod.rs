//! From a query's syntax tree to a DataFusion plan whose every leaf is a stream that exists.
//!
//! DataFusion knows no table function of ours and no `FOR SYSTEM_TIME AS OF`. So each of them in a
//! FROM clause is replaced by a table with a made-up name, after its argument has been planned and
//! lowered: [`relation`]. What is left is plain SQL, and DataFusion's planner names, types and
//! checks it: [`context`], [`optimize`].

pub(crate) mod as_of;
mod as_of_join;
pub(crate) mod asked_model;
pub(crate) mod call;
pub(crate) mod class_probabilities;
pub(crate) mod context;
pub(crate) mod detect_anomalies;
pub(crate) mod evaluate;
pub(crate) mod explain_predict;
pub(crate) mod expression;
pub(crate) mod fit_measures;
pub(crate) mod forecast;
pub(crate) mod function;
mod inlined;
mod interval_product;
pub(crate) mod lateral;
pub(crate) mod model_table;
pub(crate) mod modulo;
mod optimize;
pub(crate) mod relation;
pub(crate) mod row_call;
pub(crate) mod rows_call;
pub(crate) mod source;
mod state_ttl;
mod struct_options;
mod table_call;
pub(crate) mod table_function;
mod temporal;
pub(crate) mod threshold;
pub(crate) mod training_rows;
pub(crate) mod transform;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::{Cte, Query, Statement};

use self::call::complete_calls;
use self::context::{PlanningContext, parser_options};
use self::modulo::replace_modulo;
use self::row_call::{parameters_in, replace_row_calls};
use self::state_ttl::StateTtls;
use crate::ast::leave_schema_out;
use crate::catalog::Catalog;
use crate::error::{Position, Result};
use crate::job::JobBuilder;
use crate::lower::emit::Emit;
use crate::lower::late::Late;
use crate::lower::scan::Leaf;
use crate::statement::{QueryBody, StreamQuery};

/// Plans and lowers the queries of one statement into a graph under construction.
pub(crate) struct QueryPlanner<'a> {
    pub(crate) builder: &'a mut JobBuilder,
    pub(crate) catalog: &'a Catalog,
    /// What the made-up table names of this statement stand for.
    pub(crate) leaves: HashMap<String, Leaf>,
    /// The WITH queries in sight.
    scope: Vec<Cte>,
    /// Where the right sides of joins stand in the text, by their names.
    pub(crate) joins: HashMap<String, Position>,
    /// What the query says of late rows.
    pub(crate) late: Option<Late>,
    /// What the query says of when it emits.
    pub(crate) emit: Option<Emit>,
    /// Its STATE_TTL hints.
    ttls: StateTtls,
    /// The objects that the statement reads.
    pub(crate) uses: BTreeSet<String>,
}

impl<'a> QueryPlanner<'a> {
    pub(crate) fn new(builder: &'a mut JobBuilder, catalog: &'a Catalog) -> Self {
        Self {
            builder,
            catalog,
            leaves: HashMap::new(),
            scope: Vec::new(),
            joins: HashMap::new(),
            late: None,
            emit: None,
            ttls: StateTtls::default(),
            uses: BTreeSet::new(),
        }
    }

    /// Plans a query. Its table functions' arguments are in the graph afterwards, the rest is not.
    pub(crate) fn plan(&mut self, query: &StreamQuery) -> Result<LogicalPlan> {
        self.late = query.late.clone().map(Late::new);
        self.emit = query.emit.clone().map(Emit::new).transpose()?;
        match &query.body {
            QueryBody::Sql(query) => {
                let query = self.replaced(query)?;
                self.plan_replaced(query)
            }
            QueryBody::Substrait(plan) => optimize::optimize(self.plan_substrait(plan)?),
        }
    }

    /// The types of a query's parameters, by name, as far as they show.
    pub(crate) fn parameter_types(&mut self, query: &Query) -> Result<HashMap<String, Option<DataType>>> {
        let query = self.replaced(query)?;
        let plan = self.plan_names(query)?;
        let mut types = plan.get_parameter_types()?;
        for (parameter, data_type) in parameters_in(&plan)? {
            types.insert(parameter, Some(data_type));
        }
        Ok(types)
    }

    /// A query whose relations are replaced.
    fn replaced(&mut self, query: &Query) -> Result<Query> {
        let mut query = query.clone();
        leave_schema_out(&mut query);
        self.replace_relations(&mut query)?;
        Ok(query)
    }

    /// Plans a query whose relations have been replaced.
    fn plan_replaced(&mut self, query: Query) -> Result<LogicalPlan> {
        optimize::optimize(lateral::unfold(self.plan_names(query)?)?)
    }

    /// Finds the names and types of a query whose relations have been replaced.
    fn plan_names(&mut self, mut query: Query) -> Result<LogicalPlan> {
        replace_modulo(&mut query);
        let predictions = replace_row_calls(&mut query, self.catalog)?;
        complete_calls(&mut query, self.catalog, &mut self.uses)?;
        let relations = self.leaves.iter().map(|(name, leaf)| (name.clone(), leaf.schema())).collect();
        let context = PlanningContext { catalog: self.catalog, relations, tables: None, predictions };
        let planner = SqlToRel::new_with_options(&context, parser_options());
        Ok(planner.sql_statement_to_plan(Statement::Query(Box::new(query)))?)
    }

    /// Gives a leaf a name that no user would think of.
    fn add_leaf(&mut self, leaf: Leaf) -> String {
        let name = format!("__relation_{}", self.leaves.len());
        self.leaves.insert(name.clone(), leaf);
        name
    }

    /// The names of the objects that were read, for the catalog.
    pub(crate) fn uses(&self) -> Vec<String> {
        self.uses.iter().cloned().collect()
    }

    pub(crate) fn note_use(&mut self, name: &str) {
        self.uses.insert(name.to_owned());
    }

    /// The catalog, for errors that outlive a borrow of the planner.
    pub(crate) fn catalog_object(&self, name: &str) -> Option<Arc<crate::catalog::Object>> {
        self.catalog.find(name).map(Arc::clone)
    }
}
