//! `STRUCT(0.55 AS threshold)` of ML.PREDICT, ML.EVALUATE and ML.CONFUSION_MATRIX, as BigQuery ML has it: of two classes true is
//! predicted where its probability is at least that.
//!
//! It is a column of a query around the prediction, and so the same in streams and in queries as a whole.

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{
    ReplaceSelectElement, ReplaceSelectItem, SelectItem, TableFactor, WildcardAdditionalOptions,
};

use super::struct_options::{remove_option, split_options};
use super::table_function::{PREDICT, model_and_rows};
use crate::ast::{alias_of, dotted, made_up, quoted, relation_of, select_of};
use crate::catalog::Catalog;
use crate::error::{Result, SqlError};

/// The option.
pub(super) const THRESHOLD: &str = "threshold";

/// Puts a query of the predictions in the place of a call of ML.PREDICT that has a threshold.
pub(crate) fn replace_threshold(factor: &mut TableFactor, catalog: &Catalog) -> Result<()> {
    let TableFactor::Table { name, alias, args: Some(args), .. } = factor else { return Ok(()) };
    if !matches!(dotted(name).as_str(), "ml.predict" | "ml_predict") {
        return Ok(());
    }
    let (options, others) = split_options(&args.args, PREDICT)?;
    let Some(option) = options.iter().find(|option| option.key() == THRESHOLD) else { return Ok(()) };
    let threshold: f64 = option.number("a number from 0 to 1", |number| (0.0..=1.0).contains(number))?;
    let (model, _) = model_and_rows(others.into_iter(), PREDICT)?;
    let (_, detail) = catalog.model_of(model)?;
    let label = match (&detail.label, detail.predicted()) {
        (Some(label), Some(predicted)) if predicted.data_type() == &DataType::Boolean => label,
        _ => {
            let what = format!("a threshold of model '{model}'");
            let hint = "it is of two classes, and of a label that is a BOOLEAN: SELECT label = 'yes' AS label, …";
            return Err(SqlError::unsupported(what, hint).at(option.name.span));
        }
    };
    let [predicted, probability] = ["", "_prob"].map(|of| quoted(&format!("predicted_{label}{of}")));
    let mut query =
        made_up(&format!("SELECT *, {probability} >= {threshold:?} FROM ML.PREDICT(MODEL m, TABLE t) AS predict"))?;
    let select = select_of(&mut query)?;
    if let Some(SelectItem::UnnamedExpr(expr)) = select.projection.pop() {
        let replaced = ReplaceSelectElement { expr, column_name: predicted, as_keyword: true };
        let opt_replace = Some(ReplaceSelectItem { items: vec![Box::new(replaced)] });
        let options = WildcardAdditionalOptions { opt_replace, ..Default::default() };
        select.projection = vec![SelectItem::Wildcard(options)];
    }
    if let TableFactor::Table { args: Some(made_up), .. } = relation_of(select)? {
        made_up.args = remove_option(&args.args, THRESHOLD);
    }
    let alias = Some(alias.take().unwrap_or_else(|| alias_of("predict")));
    *factor = TableFactor::Derived { lateral: false, subquery: Box::new(query), alias, sample: None };
    Ok(())
}
