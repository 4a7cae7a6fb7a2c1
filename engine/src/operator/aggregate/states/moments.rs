//! VAR, STDDEV, COVAR, CORR and the measures of a regression line: the means of one or two columns, and how
//! they vary around them and together (Welford, "Note on a method for calculating corrected sums of squares
//! and products", Technometrics 1962).
//!
//! Step by step the same as DataFusion's accumulators. But those cannot be restored exactly: merging their
//! state into an empty one multiplies the mean by the count and divides it again.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, UInt64Array};
use arrow::datatypes::{DataType, Float64Type, UInt64Type};

use super::{GroupStates, GroupedRows, values_of};
use crate::error::Result;
use crate::operator::by_number::ByNumber;

/// The moments of all groups.
struct Moments {
    result: Measure,
    /// Whether the first argument is the dependent variable.
    dependent_first: bool,
    groups: ByNumber<Moment>,
}

/// A function of them.
type Measure = fn(&Moment) -> Option<f64>;

/// Of pairs of `x` and `y`, which are the same where there is one column. Sums are those of products of
/// differences from the means.
#[derive(Debug, Clone, Copy, Default)]
struct Moment {
    count: u64,
    mean_x: f64,
    mean_y: f64,
    sum_xx: f64,
    sum_yy: f64,
    sum_xy: f64,
}

/// Whether arguments of these types have moments.
pub(super) fn takes(types: &[DataType]) -> bool {
    matches!(types, [DataType::Float64] | [DataType::Float64, DataType::Float64])
}

/// The states of a function, if it is one of these.
pub(super) fn states(function: &str) -> Option<Box<dyn GroupStates>> {
    let result: Measure = match function {
        "var" => |of| of.sample(of.sum_xx),
        "var_pop" => Moment::variance_x,
        "stddev" => |of| of.sample(of.sum_xx).map(f64::sqrt),
        "stddev_pop" => |of| of.variance_x().map(f64::sqrt),
        "covar_samp" => |of| of.sample(of.sum_xy),
        "covar_pop" => |of| of.known(of.sum_xy / of.count as f64),
        "corr" => Moment::correlation,
        "regr_slope" => Moment::slope,
        "regr_intercept" => Moment::intercept,
        "regr_r2" => Moment::determination,
        "regr_avgx" => |of| of.known(of.mean_x),
        "regr_avgy" => |of| of.known(of.mean_y),
        "regr_sxx" => |of| of.known(of.sum_xx),
        "regr_syy" => |of| of.known(of.sum_yy),
        "regr_sxy" => |of| of.known(of.sum_xy),
        _ => return None,
    };
    Some(Box::new(Moments { result, dependent_first: function.starts_with("regr_"), groups: ByNumber::default() }))
}

impl Moment {
    fn add(&mut self, x: f64, y: f64) {
        self.count += 1;
        let (from_x, from_y) = (x - self.mean_x, y - self.mean_y);
        self.mean_x += from_x / self.count as f64;
        self.mean_y += from_y / self.count as f64;
        self.sum_xx += from_x * (x - self.mean_x);
        self.sum_yy += from_y * (y - self.mean_y);
        self.sum_xy += from_x * (y - self.mean_y);
    }

    fn known(&self, value: f64) -> Option<f64> {
        (self.count > 0).then_some(value)
    }

    /// A sum over all pairs but one.
    fn sample(&self, sum: f64) -> Option<f64> {
        (self.count > 1).then(|| sum / (self.count - 1) as f64)
    }

    fn variance_x(&self) -> Option<f64> {
        self.variance(self.sum_xx)
    }

    fn variance(&self, sum: f64) -> Option<f64> {
        // One value does not vary, be it infinite.
        self.known(if self.count == 1 { 0.0 } else { sum / self.count as f64 })
    }

    fn correlation(&self) -> Option<f64> {
        if self.mean_x.is_nan() && self.mean_y.is_nan() {
            return Some(f64::NAN);
        }
        if self.mean_x.is_nan() || self.mean_y.is_nan() || self.count < 2 {
            return None;
        }
        let deviations = (self.variance(self.sum_xx)?.sqrt(), self.variance(self.sum_yy)?.sqrt());
        let varies = deviations.0 != 0.0 && deviations.1 != 0.0;
        varies.then(|| self.sum_xy / self.count as f64 / deviations.0 / deviations.1)
    }

    /// Mean products of the differences, of xx, yy and xy; `None` where there is no line: x does not vary.
    fn line(&self) -> Option<(f64, f64, f64)> {
        let mean = |sum: f64| sum / self.count as f64;
        (self.count > 1 && mean(self.sum_xx) != 0.0).then(|| (mean(self.sum_xx), mean(self.sum_yy), mean(self.sum_xy)))
    }

    fn slope(&self) -> Option<f64> {
        self.line().map(|(xx, _, xy)| xy / xx)
    }

    fn intercept(&self) -> Option<f64> {
        self.slope().map(|slope| self.mean_y - slope * self.mean_x)
    }

    fn determination(&self) -> Option<f64> {
        self.line().filter(|(_, yy, _)| *yy != 0.0).map(|(xx, yy, xy)| (xy * xy) / (xx * yy))
    }
}

impl GroupStates for Moments {
    fn update(&mut self, rows: &GroupedRows<'_>, total: usize) -> Result<()> {
        debug_assert!(rows.ops.is_none(), "rows only come");
        self.groups.resize(total, Moment::default());
        let [first, .., last] = rows.arguments else {
            let values = rows.arguments[0].as_primitive::<Float64Type>().values();
            rows.for_each(|row, group, _| self.groups[group].add(values[row], values[row]));
            return Ok(());
        };
        let (x, y) = if self.dependent_first { (last, first) } else { (first, last) };
        let (x, y) = (x.as_primitive::<Float64Type>().values(), y.as_primitive::<Float64Type>().values());
        rows.for_each(|row, group, _| self.groups[group].add(x[row], y[row]));
        Ok(())
    }

    fn evaluate(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        let result = |group: &u32| self.groups.get(*group as usize).and_then(self.result);
        Ok(Arc::new(groups.iter().map(result).collect::<Float64Array>()))
    }

    fn needs_order(&self) -> bool {
        true
    }

    fn keep(&mut self, live: &[u32]) -> Result<()> {
        self.groups.keep(live);
        Ok(())
    }

    fn write(&mut self, parts: &[&[u32]]) -> Result<Vec<Vec<ArrayRef>>> {
        let columns = |groups: &&[u32]| {
            let of = |part: fn(Moment) -> f64| {
                Arc::new(Float64Array::from_iter_values(values_of(&self.groups, groups).map(part))) as ArrayRef
            };
            let counts = values_of(&self.groups, groups).map(|group| group.count);
            vec![
                Arc::new(UInt64Array::from_iter_values(counts)) as ArrayRef,
                of(|group| group.mean_x),
                of(|group| group.mean_y),
                of(|group| group.sum_xx),
                of(|group| group.sum_yy),
                of(|group| group.sum_xy),
            ]
        };
        Ok(parts.iter().map(columns).collect())
    }

    fn read(&mut self, first: usize, columns: &[ArrayRef]) -> Result<()> {
        self.groups.resize(first, Moment::default());
        let counts = columns[0].as_primitive::<UInt64Type>().values();
        let of = |part: usize, row: usize| columns[part].as_primitive::<Float64Type>().value(row);
        self.groups.extend(counts.iter().enumerate().map(|(row, count)| Moment {
            count: *count,
            mean_x: of(1, row),
            mean_y: of(2, row),
            sum_xx: of(3, row),
            sum_yy: of(4, row),
            sum_xy: of(5, row),
        }));
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.groups.bytes()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{Expr, col};
    use proptest::prelude::*;
    use tidemill_plans::expr::StreamExpr;
    use tidemill_plans::functions;

    use super::*;
    use crate::operator::groups::AggregateCall;
    use crate::operator::key_index::KeyIndex;
    use crate::testing::graph::{cases, schema};

    const ONE_COLUMN: [&str; 4] = ["var", "var_pop", "stddev", "stddev_pop"];
    const TWO_COLUMNS: [&str; 11] = [
        "covar_samp",
        "covar_pop",
        "corr",
        "regr_slope",
        "regr_intercept",
        "regr_r2",
        "regr_avgx",
        "regr_avgy",
        "regr_sxx",
        "regr_syy",
        "regr_sxy",
    ];

    fn bits(column: &ArrayRef) -> Vec<Option<u64>> {
        column.as_primitive::<Float64Type>().iter().map(|value| value.map(f64::to_bits)).collect()
    }

    /// The bits of a function's result over columns, as DataFusion has it and as the states here have it when
    /// they are written and read after each row.
    fn results(function: &str, columns: &[ArrayRef]) -> [Vec<Option<u64>>; 2] {
        let arguments: Vec<Expr> = ["a", "b"][..columns.len()].iter().map(|name| col(*name)).collect();
        let call = StreamExpr(functions::aggregate(function).unwrap().call(arguments));
        let call = AggregateCall::new(&call, &schema("a:float b:float")).unwrap();
        assert_eq!(call.name(), function);
        let mut theirs = call.single().unwrap();
        theirs.update_batch(columns).unwrap();
        let mut ours = states(function).unwrap();
        let keys = KeyIndex::new(&schema(""), &[]).unwrap();
        for row in 0..columns[0].len() {
            let arguments: Vec<ArrayRef> = columns.iter().map(|column| column.slice(row, 1)).collect();
            let rows = GroupedRows { groups: &[1], arguments: &arguments, filter: None, ops: None, keys: &keys };
            ours.update(&rows, 2).unwrap();
            let written = ours.write(&[&[0], &[1]]).unwrap();
            ours = states(function).unwrap();
            (0..).zip(written).for_each(|(group, columns)| ours.read(group, &columns).unwrap());
        }
        [theirs.evaluate().unwrap().to_array().unwrap(), ours.evaluate(&[1]).unwrap()].map(|result| bits(&result))
    }

    fn value() -> impl Strategy<Value = Option<f64>> {
        let number = prop_oneof![
            20 => (-1e3..1e3f64, -8..8i32).prop_map(|(value, power)| value * 10f64.powi(power)),
            10 => (-2..2i8).prop_map(f64::from),
            1 => Just(f64::INFINITY),
        ];
        prop::option::weighted(0.9, number)
    }

    proptest! {
        #![proptest_config(cases(300))]

        #[test]
        fn results_are_those_of_datafusion_to_the_bit_however_often_they_are_restored(
            rows in proptest::collection::vec((value(), value()), 0..20),
        ) {
            let (a, b): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
            let columns: [ArrayRef; 2] = [Arc::new(Float64Array::from(a)), Arc::new(Float64Array::from(b))];
            for (functions, columns) in [(&ONE_COLUMN[..], &columns[..1]), (&TWO_COLUMNS, &columns)] {
                for function in functions {
                    let [theirs, ours] = results(function, columns);
                    prop_assert_eq!(theirs, ours, "{}", function);
                }
            }
        }
    }
}
