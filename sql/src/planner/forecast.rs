//! ML.FORECAST in FROM: what comes after the series of a model, as a table of the version that has learnt most. It is part
//! of queries as a whole. Its columns and options are BigQuery ML's.

use std::fmt;

use arrow::array::RecordBatch;
use datafusion::sql::sqlparser::ast::{Ident, Spanned, TableFactor};
use tidemill_plans::error::chain;

use super::model_table::only_model;
use super::struct_options::split_options;
use super::table_function::wrong_call;
use crate::ast::{dotted, normalize};
use crate::catalog::Catalog;
use crate::error::{Result, SqlError};

const USAGE: &str = "ML.FORECAST(MODEL m [, STRUCT(10 AS horizon, 0.9 AS confidence_level)])";

/// A call, with BigQuery's defaults for what it leaves out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ForecastCall {
    pub(crate) model: Ident,
    /// Points of each series.
    horizon: usize,
    /// The probability that a value lies within its interval.
    confidence_level: f64,
}

impl ForecastCall {
    /// The call that a factor is, if it is one.
    pub(crate) fn of(factor: &TableFactor) -> Result<Option<Self>> {
        let TableFactor::Table { name, args: Some(args), .. } = factor else { return Ok(None) };
        if !matches!(dotted(name).as_str(), "ml.forecast" | "ml_forecast") {
            return Ok(None);
        }
        let (options, others) = split_options(&args.args, USAGE)?;
        let model = only_model(&others)?.ok_or_else(|| wrong_call(USAGE).at(name.span()))?;
        let mut call = Self { model: model.clone(), horizon: 3, confidence_level: 0.95 };
        // The model says which numbers it takes.
        for option in options {
            match option.key().as_str() {
                "horizon" => call.horizon = option.number("a whole number", |_| true)?,
                "confidence_level" => call.confidence_level = option.number("a number between 0 and 1", |_| true)?,
                _ => return Err(option.unknown("ML.FORECAST", "horizon, confidence_level")),
            }
        }
        Ok(Some(call))
    }

    /// The rows of the table.
    pub(crate) fn rows(&self, catalog: &Catalog) -> Result<RecordBatch> {
        let trained = catalog.trained_model(&self.model, "ML.FORECAST")?;
        trained.forecast(self.horizon, self.confidence_level).map_err(|error| {
            SqlError::invalid(format!("model '{}': {}", self.model, chain(&error))).at(self.model.span)
        })
    }
}

/// As a name that no table has.
impl fmt::Display for ForecastCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, horizon, confidence_level } = self;
        write!(f, "ml.forecast({}, {horizon}, {confidence_level})", normalize(model))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::ast::factor_of;

    /// The table that stands for a call, or why it is none.
    #[track_caller]
    fn check(call: &str, expected: Expect) {
        let factor = factor_of(call);
        let found = match ForecastCall::of(&factor) {
            Ok(Some(call)) => call.to_string(),
            Ok(None) => String::from("no call"),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&found);
    }

    #[test]
    fn options_are_optional_and_have_defaults() {
        check("ML.FORECAST(MODEL m)", expect!["ml.forecast(m, 3, 0.95)"]);
        check(
            "ml_forecast(MODEL M, STRUCT(0.5 AS Confidence_Level, 10 AS horizon)) AS f",
            expect!["ml.forecast(m, 10, 0.5)"],
        );
        check("ML.FORECAST(MODEL m, STRUCT(10 AS horizon))", expect!["ml.forecast(m, 10, 0.95)"]);
        check("ML.PREDICT(MODEL m, TABLE t)", expect!["no call"]);
        check("forecast", expect!["no call"]);
    }

    #[track_caller]
    fn check_refused(call: &str, expected: &str) {
        let factor = factor_of(call);
        let error = ForecastCall::of(&factor).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn wrong_calls_say_what_is_right() {
        let usage = format!("wrong arguments; write {USAGE}");
        check_refused("ML.FORECAST()", &usage);
        check_refused("ML.FORECAST(MODEL m, 3)", &usage);
        check_refused("ML.FORECAST(MODEL m, TABLE t)", &usage);
        check_refused("ML.FORECAST(MODEL m, STRUCT(3))", &usage);
        check_refused("ML.FORECAST(MODEL m, STRUCT(3 AS horizon), STRUCT(4 AS horizon))", &usage);
        let option = |option: &str| format!("ML.FORECAST(MODEL m, STRUCT({option}))");
        check_refused(&option("3 AS horizon, 4 AS horizon"), "the option 'horizon' is there twice");
        check_refused(&option("3 AS days"), "the option 'days' is not supported; ML.FORECAST takes horizon");
        check_refused(&option("2.5 AS horizon"), "horizon is a whole number, not 2.5");
        check_refused(&option("-1 AS horizon"), "horizon is a whole number, not -1");
        check_refused(&option("'x' AS confidence_level"), "confidence_level is a number between 0 and 1, not 'x'");
    }
}
