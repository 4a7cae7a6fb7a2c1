//! Bounds on the difference of two event times, read out of a join's conditions.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::logical_expr::expr::BinaryExpr;
use datafusion::logical_expr::{Expr, Operator};

use super::expression::unaliased;
use crate::interval::literal_micros;

/// `lower <= right_time - left_time <= upper` in microseconds, as far as it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TimeBounds {
    pub(super) lower: Option<i64>,
    pub(super) upper: Option<i64>,
}

/// A time column that has been moved by a constant.
struct Moved {
    side: TimeSide,
    micros: i64,
}

/// Which input's event time an expression is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeSide {
    Left,
    Right,
}

impl TimeBounds {
    /// Narrows the bounds by a condition; `false` if it is not one between the two times. `side_of`
    /// says whose event time a column is.
    pub(super) fn narrow(&mut self, condition: &Expr, side_of: &dyn Fn(&Expr) -> Option<TimeSide>) -> bool {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = unaliased(condition) else { return false };
        let (Some(a), Some(b)) = (moved(left, side_of), moved(right, side_of)) else { return false };
        // right + r (op) left + l means: right - left (op) l - r.
        let (op, bound) = match (a.side, b.side) {
            (TimeSide::Right, TimeSide::Left) => (*op, b.micros.checked_sub(a.micros)),
            (TimeSide::Left, TimeSide::Right) => match op.swap() {
                Some(op) => (op, a.micros.checked_sub(b.micros)),
                None => return false,
            },
            _ => return false,
        };
        let Some(bound) = bound else { return false };
        match op {
            Operator::GtEq => self.at_least(bound),
            Operator::Gt => self.at_least(bound.saturating_add(1)),
            Operator::LtEq => self.at_most(bound),
            Operator::Lt => self.at_most(bound.saturating_sub(1)),
            Operator::Eq => {
                self.at_least(bound);
                self.at_most(bound);
            }
            _ => return false,
        }
        true
    }

    fn at_least(&mut self, bound: i64) {
        self.lower = Some(self.lower.map_or(bound, |lower| lower.max(bound)));
    }

    fn at_most(&mut self, bound: i64) {
        self.upper = Some(self.upper.map_or(bound, |upper| upper.min(bound)));
    }
}

/// `time`, `time + interval`, `interval + time` or `time - interval`, nested as deep as it may be.
fn moved(expr: &Expr, side_of: &dyn Fn(&Expr) -> Option<TimeSide>) -> Option<Moved> {
    if let Some(side) = side_of(expr) {
        return Some(Moved { side, micros: 0 });
    }
    match expr {
        Expr::Cast(cast) if keeps_microseconds(cast.field.data_type()) => moved(&cast.expr, side_of),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) => match literal_micros(right) {
            Some(micros) => moved(left, side_of)?.by(micros),
            None => moved(right, side_of)?.by(literal_micros(left)?),
        },
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) => {
            moved(left, side_of)?.by(literal_micros(right)?.checked_neg()?)
        }
        _ => None,
    }
}

/// Whether a cast to this type leaves an event time what it is. One to DATE or to whole seconds does
/// not: two times of one day are not one time.
fn keeps_microseconds(to: &DataType) -> bool {
    matches!(to, DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, None))
}

impl Moved {
    fn by(self, micros: i64) -> Option<Self> {
        Some(Self { side: self.side, micros: self.micros.checked_add(micros)? })
    }
}

#[cfg(test)]
mod tests {
    use datafusion::common::ScalarValue;
    use datafusion::logical_expr::{cast, col, lit};

    use super::*;

    fn side_of(expr: &Expr) -> Option<TimeSide> {
        match expr {
            Expr::Column(column) if column.name == "l" => Some(TimeSide::Left),
            Expr::Column(column) if column.name == "r" => Some(TimeSide::Right),
            _ => None,
        }
    }

    fn micros(n: i64) -> Expr {
        lit(ScalarValue::DurationMicrosecond(Some(n)))
    }

    fn check(condition: Expr, lower: Option<i64>, upper: Option<i64>) {
        let mut bounds = TimeBounds::default();
        assert!(bounds.narrow(&condition, &side_of));
        assert_eq!(bounds, TimeBounds { lower, upper });
    }

    #[test]
    fn all_ways_to_write_a_bound() {
        check(col("r").gt_eq(col("l")), Some(0), None);
        check(col("r").gt(col("l")), Some(1), None);
        check(col("l").lt(col("r")), Some(1), None);
        check(col("r").lt_eq(col("l") + micros(5)), None, Some(5));
        check(col("r").lt(col("l") + micros(5)), None, Some(4));
        check((col("r") - micros(5)).lt_eq(col("l")), None, Some(5));
        check(col("l").gt_eq(col("r") - micros(5)), None, Some(5));
        check(col("r").eq(micros(3) + col("l")), Some(3), Some(3));
    }

    #[test]
    fn other_conditions_are_left_alone() {
        let mut bounds = TimeBounds::default();
        assert!(!bounds.narrow(&col("r").gt(lit(1)), &side_of));
        assert!(!bounds.narrow(&col("r").gt(col("r")), &side_of));
        assert!(!bounds.narrow(&col("r").not_eq(col("l")), &side_of));
        assert_eq!(bounds, TimeBounds::default());
    }

    #[test]
    fn a_cast_that_loses_time_is_no_bound() {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        check(cast(col("r"), micros).gt_eq(col("l")), Some(0), None);
        let mut bounds = TimeBounds::default();
        for lossy in [DataType::Date32, DataType::Timestamp(TimeUnit::Second, None)] {
            let same = cast(col("r"), lossy.clone()).eq(cast(col("l"), lossy));
            assert!(!bounds.narrow(&same, &side_of), "{same}");
        }
    }
}
