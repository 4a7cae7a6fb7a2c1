//! ML.DETECT_ANOMALIES in FROM: which rows a model takes for anomalies. Its columns and its option are BigQuery ML's.

use datafusion::sql::sqlparser::ast::{Expr, Ident, TableFactor};
use tidemill_plans::prediction::{Probability, Question};

use super::struct_options::split_options;
use super::table_function::model_and_rows;
use crate::ast::dotted;
use crate::error::Result;

pub(crate) const DETECT_ANOMALIES: &str =
    "ML.DETECT_ANOMALIES(MODEL m, TABLE t [, STRUCT(0.95 AS anomaly_prob_threshold)]), or a query in place of TABLE t";

/// The only option.
const THRESHOLD: &str = "anomaly_prob_threshold";

/// A call.
pub(crate) struct DetectCall<'a> {
    pub(crate) model: &'a Ident,
    pub(crate) data: &'a Expr,
    threshold: Option<f64>,
}

/// The call that a factor is, if it is one.
pub(crate) fn detect_call(factor: &TableFactor) -> Result<Option<DetectCall<'_>>> {
    let TableFactor::Table { name, args: Some(args), .. } = factor else { return Ok(None) };
    if !matches!(dotted(name).as_str(), "ml.detect_anomalies" | "ml_detect_anomalies") {
        return Ok(None);
    }
    let (options, others) = split_options(&args.args, DETECT_ANOMALIES)?;
    let (model, data) = model_and_rows(others.into_iter(), DETECT_ANOMALIES)?;
    let mut threshold = None;
    for option in options {
        match option.key().as_str() {
            THRESHOLD => {
                let number = option.number("a number from 0 on and below 1", |number| (0.0..1.0).contains(number))?;
                threshold = Some(number);
            }
            _ => return Err(option.unknown("ML.DETECT_ANOMALIES", THRESHOLD)),
        }
    }
    Ok(Some(DetectCall { model, data, threshold }))
}

impl DetectCall<'_> {
    pub(crate) fn question(&self) -> Question {
        Question::Anomaly { threshold: self.threshold.map(Probability::from) }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::ast::factor_of;

    /// The model, the rows and the threshold of a call, or why it is none.
    #[track_caller]
    fn check(call: &str, expected: Expect) {
        let factor = factor_of(call);
        let found = match detect_call(&factor) {
            Ok(Some(DetectCall { model, data, threshold })) => format!("{model}, {data}, {threshold:?}"),
            Ok(None) => String::from("no call"),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&found);
    }

    #[test]
    fn the_option_may_stand_anywhere() {
        check("ML.DETECT_ANOMALIES(MODEL m, TABLE t)", expect!["m, TABLE t, None"]);
        check(
            "ml_detect_anomalies(MODEL m, STRUCT(0.9 AS anomaly_prob_threshold), (SELECT 1 AS x))",
            expect!["m, (SELECT 1 AS x), Some(0.9)"],
        );
        check("ML.PREDICT(MODEL m, TABLE t)", expect!["no call"]);
    }

    #[test]
    fn wrong_calls_say_what_is_right() {
        check(
            "ML.DETECT_ANOMALIES(MODEL m)",
            expect![
                "wrong arguments; write ML.DETECT_ANOMALIES(MODEL m, TABLE t [, STRUCT(0.95 AS anomaly_prob_threshold)]), or a query in place of TABLE t"
            ],
        );
        check(
            "ML.DETECT_ANOMALIES(MODEL m, TABLE t, STRUCT(0.1 AS contamination))",
            expect![
                "line 1, column 67: the option 'contamination' is not supported; ML.DETECT_ANOMALIES takes anomaly_prob_threshold"
            ],
        );
        check(
            "ML.DETECT_ANOMALIES(MODEL m, TABLE t, STRUCT(1.5 AS anomaly_prob_threshold))",
            expect!["anomaly_prob_threshold is a number from 0 on and below 1, not 1.5"],
        );
    }
}
