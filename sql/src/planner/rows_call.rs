//! Calls in FROM that ask a model about rows: ML.PREDICT, ML.EXPLAIN_PREDICT, ML.DETECT_ANOMALIES and ML.TRANSFORM, of a
//! stream and of a query as a whole alike.

use datafusion::sql::sqlparser::ast::{Expr, Ident, SetExpr, TableFactor};
use tidemill_plans::prediction::Question;

use super::class_probabilities::{PredictCall, predict_call};
use super::detect_anomalies::{DETECT_ANOMALIES, detect_call};
use super::explain_predict::{EXPLAIN_PREDICT, explain_call};
use super::table_function::{MAKE_FEATURES, PREDICT, predict_arguments};
use crate::ast::{dotted, made_up, quoted, relation_of, select_of};
use crate::catalog::Catalog;
use crate::error::Result;

/// A call.
pub(crate) struct RowsCall<'a> {
    pub(crate) model: &'a Ident,
    /// The rows.
    pub(crate) data: &'a Expr,
    pub(crate) question: Question,
    /// What is called, as messages name it.
    pub(crate) function: &'static str,
    /// How it is written.
    pub(crate) usage: &'static str,
    /// What its rows are called where the query does not say.
    pub(crate) alias: &'static str,
}

/// The call that a factor is, if it is one.
pub(crate) fn rows_call(factor: &TableFactor) -> Result<Option<RowsCall<'_>>> {
    if let Some(call) = explain_call(factor)? {
        let (function, usage, alias) = ("ML.EXPLAIN_PREDICT", EXPLAIN_PREDICT, "explain_predict");
        let question = call.question;
        return Ok(Some(RowsCall { model: call.model, data: call.data, question, function, usage, alias }));
    }
    if let Some(call) = detect_call(factor)? {
        let (function, usage, alias) = ("ML.DETECT_ANOMALIES", DETECT_ANOMALIES, "detect_anomalies");
        let question = call.question();
        return Ok(Some(RowsCall { model: call.model, data: call.data, question, function, usage, alias }));
    }
    let TableFactor::Table { name, args: Some(args), .. } = factor else { return Ok(None) };
    Ok(match dotted(name).as_str() {
        "ml.predict" | "ml_predict" => {
            let PredictCall { model, data, question } = predict_call(&args.args)?;
            Some(RowsCall { model, data, question, function: "ML.PREDICT", usage: PREDICT, alias: "predict" })
        }
        "ml.transform" | "ml_transform" => {
            let (model, data) = predict_arguments(&args.args, MAKE_FEATURES)?;
            let (function, usage, alias) = ("ML.TRANSFORM", MAKE_FEATURES, "transform");
            Some(RowsCall { model, data, question: Question::Features, function, usage, alias })
        }
        _ => None,
    })
}

/// Rows that are written out as VALUES alone, as a query in which they are called as the columns that the model reads, in its
/// order; none of other rows.
pub(crate) fn named_values(data: &Expr, model: &Ident, catalog: &Catalog) -> Result<Option<Expr>> {
    let values = match data {
        Expr::Nested(inner) => return named_values(inner, model, catalog),
        Expr::Subquery(query) if matches!(query.body.as_ref(), SetExpr::Values(_)) => query,
        _ => return Ok(None),
    };
    let (_, detail) = catalog.model_of(model)?;
    let names: Vec<String> = detail.features.iter().map(|(name, _)| quoted(name).to_string()).collect();
    let mut query = made_up(&format!("SELECT * FROM (SELECT 1) AS rows ({})", names.join(", ")))?;
    if let TableFactor::Derived { subquery, .. } = relation_of(select_of(&mut query)?)? {
        *subquery = values.clone();
    }
    Ok(Some(Expr::Subquery(Box::new(query))))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::ast::factor_of;

    #[track_caller]
    fn check(call: &str, expected: Expect) {
        let factor = factor_of(call);
        let found = match rows_call(&factor) {
            Ok(Some(RowsCall { model, data, question, function, alias, .. })) => {
                format!("{function} AS {alias}: {question:?} to {model} about {data}")
            }
            Ok(None) => String::from("no call"),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&found);
    }

    #[test]
    fn calls_are_told_by_their_names() {
        check("ML.PREDICT(MODEL m, TABLE t)", expect![[r#"ML.PREDICT AS predict: Prediction to m about TABLE t"#]]);
        check("ml_transform(MODEL m, TABLE t)", expect![[r#"ML.TRANSFORM AS transform: Features to m about TABLE t"#]]);
        check(
            "ML.EXPLAIN_PREDICT(MODEL m, (SELECT 1 AS x), STRUCT(3 AS top_k_features))",
            expect![[
                r#"ML.EXPLAIN_PREDICT AS explain_predict: Explanation { top_k_features: 3 } to m about (SELECT 1 AS x)"#
            ]],
        );
        check(
            "ML.DETECT_ANOMALIES(MODEL m, TABLE t)",
            expect![[r#"ML.DETECT_ANOMALIES AS detect_anomalies: Anomaly { threshold: None } to m about TABLE t"#]],
        );
        check("ML.WEIGHTS(MODEL m)", expect![[r#"no call"#]]);
        check("t", expect![[r#"no call"#]]);
    }
}
