//! `ML.EVALUATE(MODEL m)` without rows: what was measured when the model was fitted, of rows held out if there were any,
//! otherwise of those learnt. The columns are those of ML.EVALUATE with rows; what the fit did not measure is NULL.

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{FunctionArg, Ident, TableFactor};

use super::model_table::only_model;
use crate::ast::{dotted, made_up};
use crate::batch::predict::put_subquery;
use crate::catalog::{Catalog, ModelObject};
use crate::error::{Result, SqlError};

/// The columns of classes, and what measures are called that are known by another name.
const OF_CLASSES: [(&str, &[&str]); 6] = [
    ("precision", &["precision"]),
    ("recall", &["recall"]),
    ("accuracy", &["accuracy"]),
    ("f1_score", &["f1"]),
    ("log_loss", &["log_loss"]),
    // Of models that learn along a stream it is that of the last rows before they were learnt.
    ("roc_auc", &["roc_auc", "auc"]),
];

/// Those of numbers.
const OF_NUMBERS: [(&str, &[&str]); 6] = [
    ("mean_absolute_error", &["mae"]),
    ("mean_squared_error", &["mse"]),
    ("mean_squared_log_error", &[]),
    ("median_absolute_error", &[]),
    ("r2_score", &["r2"]),
    ("explained_variance", &[]),
];

/// Those of rankers.
const OF_ORDERS: [(&str, &[&str]); 2] = [("ndcg", &["ndcg"]), ("ndcg_at_10", &["ndcg_at_10"])];

/// Puts a row of measures in the place of a call of ML.EVALUATE that has a model alone; returns the model's name then.
pub(crate) fn replace_fit_measures(factor: &mut TableFactor, catalog: &Catalog) -> Result<Option<String>> {
    let TableFactor::Table { name, args: Some(args), .. } = &*factor else { return Ok(None) };
    if !matches!(dotted(name).as_str(), "ml.evaluate" | "ml_evaluate") {
        return Ok(None);
    }
    let arguments: Vec<&FunctionArg> = args.args.iter().collect();
    let Some(model) = only_model(&arguments)?.cloned() else { return Ok(None) };
    let (name, row) = measured(&model, catalog).map_err(|error| error.at(model.span))?;
    put_subquery(factor, made_up(&row)?, "evaluate");
    Ok(Some(name))
}

/// The model's name, and a query that is the row.
fn measured(model: &Ident, catalog: &Catalog) -> Result<(String, String)> {
    let (object, detail) = catalog.unversioned_model(model, "ML.EVALUATE without rows")?;
    let hint = "ML.EVALUATE(MODEL m, TABLE t) measures it by rows that have the label";
    let refused = |why: &str| SqlError::unsupported(format!("ML.EVALUATE without rows of {why}"), hint);
    let columns = columns_of(detail).ok_or_else(|| {
        let hint = "SHOW VERSIONS IN MODEL m has what was measured of it";
        SqlError::unsupported(format!("ML.EVALUATE of a model of type '{}'", detail.model_type), hint)
    })?;
    let version = catalog.measured.iter().find(|version| version.model == object.name);
    let metrics = match version {
        Some(version) => version.metrics.as_slice(),
        // Of what is planned once more the columns count, and what is measured is looked up when it is asked for.
        None if catalog.plans_again => &[],
        None if detail.query.is_none() => return Err(refused("a model from a file")),
        None => return Err(refused("a model of which no version is known here")),
    };
    let known = |name: &str| {
        let measure = metrics.iter().find(|(own, _)| own == name);
        measure.map(|(_, value)| *value).filter(|value| value.is_finite())
    };
    let squared = |column: &str| known("rmse").filter(|_| column == "mean_squared_error").map(|root| root * root);
    let column = |(column, names): &(&str, &[&str])| {
        let value = names.iter().find_map(|name| known(name)).or_else(|| squared(column));
        let value = value.map_or_else(|| String::from("NULL"), |value| format!("{value:?}"));
        format!("CAST({value} AS DOUBLE) AS {column}")
    };
    let row = columns.iter().map(column).collect::<Vec<_>>().join(", ");
    Ok((object.name.clone(), format!("SELECT {row}")))
}

fn columns_of(model: &ModelObject) -> Option<&'static [(&'static str, &'static [&'static str])]> {
    let is_ranker = model.training_set.is_some() && !model.learning.is_empty();
    match model.predicted()?.data_type() {
        _ if is_ranker => Some(&OF_ORDERS),
        DataType::Float64 | DataType::Float32 => Some(&OF_NUMBERS),
        _ => Some(&OF_CLASSES),
    }
}
