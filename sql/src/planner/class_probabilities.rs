//! `STRUCT(TRUE AS class_probabilities)` of ML.PREDICT: the probabilities of all classes beside that of the predicted one,
//! as BigQuery ML's `predicted_<label>_probs`.
//!
//! The column is a list of structs, which not every sink can hold, and streams that are running already do not have it: so
//! it is there where it is asked for.

use datafusion::sql::sqlparser::ast::{Expr, FunctionArg, Ident};
use tidemill_plans::prediction::Question;

use super::struct_options::split_options;
use super::table_function::{PREDICT, model_and_rows};
use super::threshold::THRESHOLD;
use crate::error::Result;

/// The option of ML.PREDICT that is part of what is asked of a model.
pub(super) const CLASS_PROBABILITIES: &str = "class_probabilities";

/// A call of ML.PREDICT.
pub(crate) struct PredictCall<'a> {
    pub(crate) model: &'a Ident,
    pub(crate) data: &'a Expr,
    pub(crate) question: Question,
}

/// The model, the rows and what is asked about them.
pub(crate) fn predict_call(arguments: &[FunctionArg]) -> Result<PredictCall<'_>> {
    let (options, others) = split_options(arguments, PREDICT)?;
    let (model, data) = model_and_rows(others.into_iter(), PREDICT)?;
    let mut question = Question::Prediction;
    // A threshold has become a query around the call.
    for option in options {
        match option.key().as_str() {
            CLASS_PROBABILITIES if option.boolean()? => question = Question::ClassProbabilities,
            CLASS_PROBABILITIES => {}
            _ => return Err(option.unknown("ML.PREDICT", &[CLASS_PROBABILITIES, THRESHOLD].join(", "))),
        }
    }
    Ok(PredictCall { model, data, question })
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::TableFactor;
    use expect_test::{Expect, expect};

    use super::*;
    use crate::ast::factor_of;

    /// The model, the rows and the question of a call, or why it is none.
    #[track_caller]
    fn check(arguments: &str, expected: Expect) {
        let factor = factor_of(&format!("ML.PREDICT({arguments})"));
        let TableFactor::Table { args: Some(args), .. } = &factor else {
            panic!("no call: {arguments}");
        };
        let found = match predict_call(&args.args) {
            Ok(PredictCall { model, data, question }) => format!("{model}, {data}, {question:?}"),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&found);
    }

    #[test]
    fn probabilities_are_there_where_they_are_asked_for() {
        check("MODEL m, TABLE t", expect!["m, TABLE t, Prediction"]);
        check("MODEL m, TABLE t, STRUCT(FALSE AS class_probabilities)", expect!["m, TABLE t, Prediction"]);
        check("TABLE t, MODEL m, STRUCT(TRUE AS class_probabilities)", expect!["m, TABLE t, ClassProbabilities"]);
        check("STRUCT(TRUE AS class_probabilities), MODEL m, TABLE t", expect!["m, TABLE t, ClassProbabilities"]);
    }

    #[track_caller]
    fn check_refused(arguments: &str, expected: &str) {
        let factor = factor_of(&format!("ML.PREDICT({arguments})"));
        let TableFactor::Table { args: Some(args), .. } = &factor else {
            panic!("no call: {arguments}");
        };
        let error = predict_call(&args.args).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn wrong_calls_say_what_is_right() {
        check_refused(
            "MODEL m, TABLE t, STRUCT(1 AS class_probabilities)",
            "class_probabilities is TRUE or FALSE, not 1",
        );
        check_refused("MODEL m, TABLE t, STRUCT(TRUE AS probabilities)", "ML.PREDICT takes class_probabilities");
        check_refused("MODEL m, TABLE t, TABLE u", &format!("wrong arguments; write {PREDICT}"));
    }
}
