//! Lengths of event time, from interval literals and from option texts such as `'15 minutes'`.
//!
//! Event time is counted in microseconds and a day is 24 hours. A month has no fixed length, so it
//! can be neither a window's size nor a join's bound.

use arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use crate::error::{Result, SqlError};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// The microseconds of an interval or duration value; `None` if it is not one or has no fixed length.
pub(crate) fn scalar_micros(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            let exact = interval.nanoseconds % 1_000 == 0;
            let days = i64::from(interval.days).checked_mul(MICROS_PER_DAY)?;
            days.checked_add(interval.nanoseconds / 1_000).filter(|_| exact)
        }
        ScalarValue::IntervalDayTime(Some(interval)) => {
            let days = i64::from(interval.days).checked_mul(MICROS_PER_DAY)?;
            days.checked_add(i64::from(interval.milliseconds) * 1_000)
        }
        ScalarValue::DurationSecond(Some(seconds)) => seconds.checked_mul(1_000_000),
        ScalarValue::DurationMillisecond(Some(millis)) => millis.checked_mul(1_000),
        ScalarValue::DurationMicrosecond(Some(micros)) => Some(*micros),
        ScalarValue::DurationNanosecond(Some(nanos)) => Some(nanos / 1_000).filter(|_| nanos % 1_000 == 0),
        _ => None,
    }
}

/// The microseconds of an interval literal.
pub(crate) fn literal_micros(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(value, _) => scalar_micros(value),
        _ => None,
    }
}

/// The microseconds of an option's text.
pub(crate) fn text_micros(option: &str, text: &str) -> Result<i64> {
    let wrong = || {
        SqlError::invalid(format!(
            "option '{option}' is '{text}', but takes an interval such as '1 hour' or '15 minutes' (no months)"
        ))
    };
    let value = ScalarValue::try_from_string(text.to_owned(), &DataType::Interval(IntervalUnit::MonthDayNano))
        .map_err(|_| wrong())?;
    scalar_micros(&value).filter(|micros| *micros > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_months_refused() {
        assert_eq!(text_micros("x", "1 hour").unwrap(), 3_600_000_000);
        assert_eq!(text_micros("x", "15 minutes").unwrap(), 900_000_000);
        assert_eq!(text_micros("x", "1 day 2 hours").unwrap(), 26 * 3_600_000_000);
        assert!(text_micros("x", "1 month").unwrap_err().to_string().contains("no months"));
        assert!(text_micros("x", "soon").is_err());
        assert!(text_micros("x", "-1 hour").is_err());
    }
}
