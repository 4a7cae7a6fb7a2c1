//! ML.GLOBAL_EXPLAIN, ML.FEATURE_INFO and ML.RECOMMEND: what follows from a model and the rows that it was fitted to. They are
//! queries of its training set, which LIME needs, too. The functions and their columns are BigQuery ML's.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{FunctionArg, Ident, Query, Spanned, TableFactor, Visit, Visitor};

use super::model_table::only_model;
use super::table_function::wrong_call;
use crate::ast::{dotted, made_up, quoted};
use crate::catalog::{Catalog, ModelObject, Object};
use crate::error::{Result, SqlError};

/// What recommends.
const FACTORIZATION: &str = "matrix_factorization";

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    GlobalExplain,
    FeatureInfo,
    Recommend,
}

/// A call.
#[derive(Debug)]
pub(crate) struct TrainingCall {
    asked: Asked,
    pub(crate) model: Ident,
}

/// A query that stands for a call, and the table that it reads by a name that no other has.
pub(crate) struct TrainingQuery {
    pub(crate) query: Query,
    pub(crate) name: String,
    pub(crate) rows: Arc<Object>,
}

impl Asked {
    fn named(name: &str) -> Option<Self> {
        match name.strip_prefix("ml.").or_else(|| name.strip_prefix("ml_"))? {
            "global_explain" => Some(Self::GlobalExplain),
            "feature_info" => Some(Self::FeatureInfo),
            "recommend" => Some(Self::Recommend),
            _ => None,
        }
    }

    fn function(self) -> &'static str {
        match self {
            Self::GlobalExplain => "ML.GLOBAL_EXPLAIN",
            Self::FeatureInfo => "ML.FEATURE_INFO",
            Self::Recommend => "ML.RECOMMEND",
        }
    }
}

/// The call that a factor is, if it is one.
pub(crate) fn training_call(factor: &TableFactor) -> Result<Option<TrainingCall>> {
    let TableFactor::Table { name, args: Some(args), .. } = factor else { return Ok(None) };
    let Some(asked) = Asked::named(&dotted(name)) else { return Ok(None) };
    let arguments: Vec<&FunctionArg> = args.args.iter().collect();
    let usage = format!("{}(MODEL m)", asked.function());
    let model = only_model(&arguments)?.ok_or_else(|| wrong_call(&usage).at(name.span()))?;
    Ok(Some(TrainingCall { asked, model: model.clone() }))
}

/// Whether a query has such a call anywhere.
pub(crate) fn asks_training_rows(query: &Query) -> bool {
    struct Calls;
    impl Visitor for Calls {
        type Break = ();

        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            match training_call(factor) {
                Ok(None) => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        }
    }
    query.visit(&mut Calls).is_break()
}

impl TrainingCall {
    /// An error if the call's query cannot be a stream's.
    pub(crate) fn check_streams(&self) -> Result<()> {
        match self.asked {
            // All users with all items are no join by keys.
            Asked::Recommend => Err(SqlError::in_a_stream(self.asked.function()).at(self.model.span)),
            Asked::GlobalExplain | Asked::FeatureInfo => Ok(()),
        }
    }

    /// What the call's columns are called unless an alias says otherwise.
    pub(crate) fn alias(&self) -> &'static str {
        match self.asked {
            Asked::GlobalExplain => "global_explain",
            Asked::FeatureInfo => "feature_info",
            Asked::Recommend => "recommend",
        }
    }

    /// The query that it stands for.
    pub(crate) fn query(&self, catalog: &Catalog) -> Result<TrainingQuery> {
        self.planned(catalog).map_err(|error| error.at(self.model.span))
    }

    fn planned(&self, catalog: &Catalog) -> Result<TrainingQuery> {
        let hint = "it is of the rows of a training set; ask ML.EXPLAIN_PREDICT and ML.PREDICT about rows of yours";
        let TrainingSet { object, model, name, rows } =
            training_set(&self.model, catalog, self.asked.function(), hint)?;
        let (own, set) = (quoted(&object.name), quoted(&name));
        let text = match self.asked {
            Asked::GlobalExplain => global_explain(&own, &set),
            Asked::FeatureInfo => feature_info(&set, model),
            Asked::Recommend => recommend(&own, &set, model)?,
        };
        Ok(TrainingQuery { query: made_up(&text)?, name, rows })
    }
}

/// The rows that a model was fitted to, as a table by a name that no other has.
pub(crate) struct TrainingSet<'a> {
    object: &'a Object,
    model: &'a ModelObject,
    pub(crate) name: String,
    pub(crate) rows: Arc<Object>,
}

/// The training set of a model, for what is asked of it; `hint` says what those take that have none.
pub(crate) fn training_set<'a>(
    model: &Ident,
    catalog: &'a Catalog,
    asked: &str,
    hint: &str,
) -> Result<TrainingSet<'a>> {
    let (object, model) = catalog.unversioned_model(model, asked)?;
    match &model.training_set {
        Some(rows) => {
            let name = format!("ml.training_set({})", object.name);
            Ok(TrainingSet { object, model, name, rows: Arc::clone(rows) })
        }
        None => {
            let origin = if model.query.is_none() { "from a file" } else { "that learns from a stream" };
            Err(SqlError::unsupported(format!("{asked} of a model {origin}"), hint))
        }
    }
}

/// The training set that LIME draws rows like those of.
pub(crate) fn background_set<'a>(model: &Ident, catalog: &'a Catalog) -> Result<TrainingSet<'a>> {
    let hint = "LIME draws rows like those of a training set; leave the method out: Shapley values need none";
    training_set(model, catalog, "ML.EXPLAIN_PREDICT by LIME", hint).map_err(|error| error.at(model.span))
}

/// How far each feature moves a prediction, in the mean over the training set and without its sign.
fn global_explain(model: &Ident, set: &Ident) -> String {
    let all = u32::MAX;
    format!(
        "SELECT said['feature'] AS feature, avg(abs(said['attribution'])) AS attribution \
         FROM (SELECT unnest(top_feature_attributions) AS said \
               FROM ML.EXPLAIN_PREDICT(MODEL {model}, TABLE {set}, STRUCT({all} AS top_k_features)) AS explained) \
           AS attributions \
         GROUP BY said['feature']"
    )
}

/// A row for each feature: the spread of a number, the categories of anything else.
fn feature_info(set: &Ident, model: &ModelObject) -> String {
    let rows = model.features.iter().map(|(name, data_type)| {
        let (literal, column) = (name.replace('\'', "''"), quoted(name));
        let (number, categories) = match data_type.is_numeric() {
            true => (format!("CAST({column} AS DOUBLE)"), String::from("CAST(NULL AS BIGINT)")),
            false => (String::from("CAST(NULL AS DOUBLE)"), format!("count(DISTINCT {column})")),
        };
        format!(
            "SELECT '{literal}' AS input, min({number}) AS min, max({number}) AS max, avg({number}) AS mean, \
               median({number}) AS median, stddev({number}) AS stddev, {categories} AS category_count, \
               count(*) FILTER (WHERE {column} IS NULL) AS null_count \
             FROM {set}"
        )
    });
    rows.collect::<Vec<_>>().join(" UNION ALL ")
}

/// What each user of the training set would say of each item of it.
fn recommend(name: &Ident, set: &Ident, model: &ModelObject) -> Result<String> {
    let (FACTORIZATION, [(user, _), (item, _)]) = (model.model_type.as_str(), model.features.as_slice()) else {
        let hint = format!("a {FACTORIZATION} model recommends; ML.PREDICT has what this one says");
        return Err(SqlError::unsupported(format!("ML.RECOMMEND of a model of type '{}'", model.model_type), hint));
    };
    let (user, item) = (quoted(user), quoted(item));
    let known = |column: &Ident| format!("(SELECT DISTINCT {column} FROM {set} WHERE {column} IS NOT NULL)");
    Ok(format!(
        "SELECT * FROM ML.PREDICT(MODEL {name}, (SELECT users.{user}, items.{item} \
           FROM {} AS users CROSS JOIN {} AS items)) AS recommended",
        known(&user),
        known(&item)
    ))
}
