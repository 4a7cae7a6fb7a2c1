//! ML.EXPLAIN_PREDICT in FROM: what a model's predictions are made of. Its columns are BigQuery ML's, as its option
//! `top_k_features` is; `method` says whether that is told by Shapley values or by LIME.

use arrow::datatypes::Fields;
use datafusion::sql::sqlparser::ast::{Expr, Ident, TableFactor};
use tidemill_plans::error::chain;
use tidemill_plans::prediction::{Question, TrainedModel};

use super::struct_options::{StructOption, split_options};
use super::table_function::model_and_rows;
use crate::ast::dotted;
use crate::error::{Result, SqlError};

pub(crate) const EXPLAIN_PREDICT: &str = "ML.EXPLAIN_PREDICT(MODEL m, TABLE t [, STRUCT(3 AS top_k_features, 'lime' AS method)]), \
                                          or a query in place of TABLE t";

const TOP_K_FEATURES: &str = "top_k_features";
const TOP_K_FEATURES_DEFAULT: u32 = 5;

/// What says what moves a prediction.
const METHOD: &str = "method";
const SHAPLEY: &str = "shapley";
const LIME: &str = "lime";

/// What LIME draws rows by; 0 if it is not given.
const SEED: &str = "seed";

/// A call.
pub(crate) struct ExplainCall<'a> {
    pub(crate) model: &'a Ident,
    pub(crate) data: &'a Expr,
    pub(crate) question: Question,
}

/// The call that a factor is, if it is one.
pub(crate) fn explain_call(factor: &TableFactor) -> Result<Option<ExplainCall<'_>>> {
    let TableFactor::Table { name, args: Some(args), .. } = factor else { return Ok(None) };
    if !matches!(dotted(name).as_str(), "ml.explain_predict" | "ml_explain_predict") {
        return Ok(None);
    }
    let (options, others) = split_options(&args.args, EXPLAIN_PREDICT)?;
    let (model, data) = model_and_rows(others.into_iter(), EXPLAIN_PREDICT)?;
    Ok(Some(ExplainCall { model, data, question: question_of(&options)? }))
}

fn question_of(options: &[StructOption<'_>]) -> Result<Question> {
    let (mut top_k_features, mut method, mut seed) = (TOP_K_FEATURES_DEFAULT, SHAPLEY, None);
    for option in options {
        match option.key().as_str() {
            TOP_K_FEATURES => top_k_features = option.number("a whole number above 0", |number| *number > 0)?,
            METHOD => method = option.choice(&[SHAPLEY, LIME])?,
            SEED => seed = Some((option, option.number("a whole number from 0 on", |_| true)?)),
            _ => {
                return Err(option.unknown("ML.EXPLAIN_PREDICT", &[TOP_K_FEATURES, METHOD, SEED].join(", ")));
            }
        }
    }
    match (method, seed) {
        (LIME, seed) => {
            Ok(Question::LocalExplanation { top_k_features, seed: seed.map(|(_, seed)| seed).unwrap_or_default() })
        }
        (_, None) => Ok(Question::Explanation { top_k_features }),
        (_, Some((option, _))) => {
            let message = format!("{SEED} is what '{LIME}' AS {METHOD} draws rows by: leave it out of Shapley values");
            Err(SqlError::invalid(message).at(option.name.span))
        }
    }
}

/// The columns that a model's answer adds to rows.
pub(crate) fn answered(model: &Ident, trained: &TrainedModel, question: Question) -> Result<Fields> {
    trained
        .answered(question)
        .map_err(|error| SqlError::invalid(format!("model '{model}': {}", chain(&error))).at(model.span))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::ast::factor_of;

    /// The model, the rows and the number of features of a call, or why it is none.
    #[track_caller]
    fn check(call: &str, expected: Expect) {
        let factor = factor_of(call);
        let found = match explain_call(&factor) {
            Ok(Some(ExplainCall { model, data, question })) => format!("{model}, {data}, {question:?}"),
            Ok(None) => String::from("no call"),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&found);
    }

    #[test]
    fn options_are_optional_and_may_stand_anywhere() {
        check("ML.EXPLAIN_PREDICT(MODEL m, TABLE t)", expect!["m, TABLE t, Explanation { top_k_features: 5 }"]);
        check("ml_explain_predict(TABLE t, MODEL m)", expect!["m, TABLE t, Explanation { top_k_features: 5 }"]);
        check(
            "ML.EXPLAIN_PREDICT(MODEL m, (SELECT 1 AS x), STRUCT(3 AS top_k_features))",
            expect!["m, (SELECT 1 AS x), Explanation { top_k_features: 3 }"],
        );
        check(
            "ML.EXPLAIN_PREDICT(MODEL m, TABLE t, STRUCT('LIME' AS method, 7 AS seed))",
            expect!["m, TABLE t, LocalExplanation { top_k_features: 5, seed: 7 }"],
        );
        check(
            "ML.EXPLAIN_PREDICT(MODEL m, TABLE t, STRUCT('shapley' AS method))",
            expect!["m, TABLE t, Explanation { top_k_features: 5 }"],
        );
        check("ML.PREDICT(MODEL m, TABLE t)", expect!["no call"]);
        check("t", expect!["no call"]);
    }

    #[track_caller]
    fn check_refused(call: &str, expected: &str) {
        let factor = factor_of(call);
        let error = explain_call(&factor).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn wrong_calls_say_what_is_right() {
        let usage = format!("wrong arguments; write {EXPLAIN_PREDICT}");
        check_refused("ML.EXPLAIN_PREDICT(MODEL m)", &usage);
        check_refused("ML.EXPLAIN_PREDICT(MODEL m, TABLE t, 3)", &usage);
        check_refused("ML.EXPLAIN_PREDICT(MODEL m, TABLE t, STRUCT(3))", &usage);
        let twice = "STRUCT(1 AS top_k_features), STRUCT(2 AS top_k_features)";
        check_refused(&format!("ML.EXPLAIN_PREDICT(MODEL m, TABLE t, {twice})"), &usage);
        let option = |option: &str| format!("ML.EXPLAIN_PREDICT(MODEL m, TABLE t, STRUCT({option}))");
        check_refused(&option("3 AS threshold"), "the option 'threshold'");
        check_refused(&option("0 AS top_k_features"), "top_k_features is a whole number above 0, not 0");
        check_refused(&option("'a' AS top_k_features"), "top_k_features is a whole number above 0, not 'a'");
        check_refused(&option("'tree' AS method"), "method is 'shapley' or 'lime', not 'tree'");
        check_refused(&option("1 AS method"), "method is 'shapley' or 'lime', not 1");
        check_refused(&option("-1 AS seed, 'lime' AS method"), "seed is a whole number from 0 on, not -1");
        check_refused(&option("1 AS seed"), "leave it out of Shapley values");
    }
}
