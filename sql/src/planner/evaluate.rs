//! ML.EVALUATE: the measures of a model's predictions for rows that have the label, a row of them. It is an aggregate of
//! ML.PREDICT, and so planned as one, in streams and in queries as a whole. The measures and their names are BigQuery ML's.

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{Spanned, TableFactor};
use tidemill_plans::catalog::ObjectKind;

use super::table_function::{predict_arguments, wrong_call};
use crate::ast::{alias_of, dotted, made_up, normalize, quoted, relation_of, select_of};
use crate::catalog::{Catalog, Detail, ModelObject};
use crate::error::{Position, Result, SqlError};

const EVALUATE: &str = "ML.EVALUATE(MODEL m, TABLE t), or a query in place of TABLE t";

/// Puts a subquery in the place of a call of ML.EVALUATE.
pub(crate) fn replace_evaluation(factor: &mut TableFactor, catalog: &Catalog) -> Result<()> {
    let TableFactor::Table { name, alias, args: Some(args), .. } = factor else { return Ok(()) };
    if !matches!(dotted(name).as_str(), "ml.evaluate" | "ml_evaluate") {
        return Ok(());
    }
    let (model, _) = predict_arguments(&args.args).map_err(|_| wrong_call(EVALUATE).at(name.span()))?;
    let detail = model_named(&normalize(model), catalog).map_err(|error| error.at(model.span))?;
    let mut subquery = made_up(&format!("SELECT {} FROM ML.PREDICT(MODEL m, TABLE t) AS predict", measures(detail)))?;
    if let TableFactor::Table { args: made_up, .. } = relation_of(select_of(&mut subquery)?)? {
        *made_up = Some(args.clone());
    }
    let alias = alias.take().unwrap_or_else(|| alias_of("evaluate"));
    *factor = TableFactor::Derived { lateral: false, subquery: Box::new(subquery), alias: Some(alias), sample: None };
    Ok(())
}

fn model_named<'a>(name: &str, catalog: &'a Catalog) -> Result<&'a ModelObject> {
    let Some(object) = catalog.find(name) else {
        return Err(catalog.unknown("model", name, Position::UNKNOWN, |kind| kind == ObjectKind::Model));
    };
    match &object.detail {
        Detail::Model(model) => Ok(model),
        _ => Err(SqlError::invalid(format!("'{name}' is a {}, not a model", object.kind))),
    }
}

/// The columns of the result.
fn measures(model: &ModelObject) -> String {
    let label = quoted(&model.label);
    let predicted = quoted(&format!("predicted_{}", model.label));
    let probability = quoted(&format!("predicted_{}_prob", model.label));
    let of_classes = format!(
        "precision({label}, {predicted}) AS precision, recall({label}, {predicted}) AS recall, \
         accuracy({label}, {predicted}) AS accuracy, f1({label}, {predicted}) AS f1_score"
    );
    match &model.label_type {
        DataType::Boolean => format!(
            "{of_classes}, log_loss({label}, {probability}) AS log_loss, roc_auc({label}, {probability}) AS roc_auc"
        ),
        number if number.is_floating() => format!(
            "mae({label}, {predicted}) AS mean_absolute_error, mse({label}, {predicted}) AS mean_squared_error, \
             CASE WHEN min({label}) > -1 AND min({predicted}) > -1 \
               THEN avg(power(ln(1 + {label}) - ln(1 + {predicted}), 2)) END AS mean_squared_log_error, \
             median(abs({label} - {predicted})) AS median_absolute_error, r2({label}, {predicted}) AS r2_score, \
             1 - var_pop({label} - {predicted}) / nullif(var_pop({label}), 0) AS explained_variance"
        ),
        _ => of_classes,
    }
}
