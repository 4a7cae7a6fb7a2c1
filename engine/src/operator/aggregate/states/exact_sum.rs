//! SUM and AVG of floats without rounding on the way.
//!
//! A sum that rounds at every step depends on the order of its rows, and taking a row back does not
//! lead back to the sum before. Here a group's sum is kept exactly, as a few floats that do not overlap
//! (Shewchuk, "Adaptive Precision Floating-Point Arithmetic", 1997; Python's `math.fsum` does the same),
//! and rounded once, when it is asked for. So it is the same in every order, and rows can be taken back.
//! Only sums beyond the largest float are not exact: they stay infinite.
//!
//! Nearly always two floats hold a sum; a group whose sum needs more keeps the rest aside.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::datatypes::{Float64Type, Int64Type};
use hashbrown::HashMap;

use super::lists::{list_column, list_values};
use super::{GroupStates, GroupedRows, values_of};
use crate::error::Result;
use crate::operator::by_number::ByNumber;

/// The sums of all groups.
#[derive(Default)]
pub(super) struct ExactSums {
    is_mean: bool,
    /// A group's sum is `high + low` and what is in `rest`.
    high: ByNumber<f64>,
    low: ByNumber<f64>,
    counts: ByNumber<i64>,
    rest: HashMap<usize, Rest>,
}

/// What few groups have.
#[derive(Default, Clone)]
struct Rest {
    /// Floats that do not overlap, the smallest first.
    partials: Vec<f64>,
    /// How many values are no numbers, or infinite.
    nans: i64,
    positive: i64,
    negative: i64,
}

impl ExactSums {
    /// For SUM.
    pub(super) fn sums() -> Self {
        Self::default()
    }

    /// For AVG.
    pub(super) fn means() -> Self {
        Self { is_mean: true, ..Self::default() }
    }

    fn grow(&mut self, total: usize) {
        self.high.resize(total, 0.0);
        self.low.resize(total, 0.0);
        self.counts.resize(total, 0);
    }

    fn add(&mut self, group: usize, value: f64, sign: i64) {
        self.counts[group] += sign;
        if !value.is_finite() {
            self.rest.entry(group).or_default().count_special(value, sign);
            return;
        }
        let (high, error) = two_sum(self.high[group], if sign > 0 { value } else { -value });
        let (low, error) = two_sum(self.low[group], error);
        self.high[group] = high;
        self.low[group] = low;
        if error != 0.0 {
            self.rest.entry(group).or_default().add(error);
        }
    }

    /// The parts of a sum that nearly always are all, how many values are in it, and what few groups have:
    /// lists that are empty for the others.
    fn columns(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let (mut partials, mut partials_of) = (Vec::<f64>::new(), Vec::with_capacity(groups.len()));
        let (mut specials, mut specials_of) = (Vec::<i64>::new(), Vec::with_capacity(groups.len()));
        for group in groups {
            let rest = self.rest.get(&(*group as usize));
            partials.extend(rest.iter().flat_map(|rest| &rest.partials));
            partials_of.push(rest.map_or(0, |rest| rest.partials.len()));
            specials.extend(rest.iter().flat_map(|rest| [rest.nans, rest.positive, rest.negative]));
            specials_of.push(rest.map_or(0, |_| 3));
        }
        vec![
            Arc::new(Float64Array::from_iter_values(values_of(&self.high, groups))),
            Arc::new(Float64Array::from_iter_values(values_of(&self.low, groups))),
            Arc::new(Int64Array::from_iter_values(values_of(&self.counts, groups))),
            list_column(Arc::new(Float64Array::from(partials)), &partials_of),
            list_column(Arc::new(Int64Array::from(specials)), &specials_of),
        ]
    }

    fn read_rest(&mut self, first: usize, partials: &ArrayRef, specials: &ArrayRef) {
        let (partials, partials_of) = list_values(partials);
        let (specials, specials_of) = list_values(specials);
        let partials = partials.as_primitive::<Float64Type>().values();
        let specials = specials.as_primitive::<Int64Type>().values();
        for (row, (own, special)) in partials_of.iter().zip(&specials_of).enumerate() {
            let [nans, positive, negative] = specials[special.clone()] else { continue };
            let partials = partials[own.clone()].to_vec();
            self.rest.insert(first + row, Rest { partials, nans, positive, negative });
        }
    }

    fn result(&self, group: usize) -> Option<f64> {
        let count = self.counts.get(group).copied().filter(|count| *count > 0)?;
        let (high, low) = (self.high[group], self.low[group]);
        let sum = self.rest.get(&group).map_or(high + low, |rest| rest.total(high, low));
        Some(if self.is_mean { sum / count as f64 } else { sum })
    }
}

/// The rounded sum of two floats, and what it lacks (Knuth's TwoSum).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    let error = (a - (sum - b_part)) + (b - b_part);
    // Beyond the largest float there is no error to speak of: infinity minus infinity is no number.
    (sum, if sum.is_finite() { error } else { 0.0 })
}

impl Rest {
    fn count_special(&mut self, value: f64, sign: i64) {
        let count = match value {
            value if value.is_nan() => &mut self.nans,
            value if value > 0.0 => &mut self.positive,
            _ => &mut self.negative,
        };
        *count += sign;
    }

    /// Adds a float exactly.
    fn add(&mut self, value: f64) {
        let mut carried = value;
        let mut kept = 0;
        for index in 0..self.partials.len() {
            let (sum, error) = two_sum(carried, self.partials[index]);
            if error != 0.0 {
                self.partials[kept] = error;
                kept += 1;
            }
            carried = sum;
        }
        self.partials.truncate(kept);
        if carried != 0.0 {
            self.partials.push(carried);
        }
    }

    /// The rounded sum of everything.
    fn total(&self, high: f64, low: f64) -> f64 {
        if self.nans > 0 || (self.positive > 0 && self.negative > 0) {
            return f64::NAN;
        }
        if self.positive > 0 || self.negative > 0 {
            return if self.positive > 0 { f64::INFINITY } else { f64::NEG_INFINITY };
        }
        let mut all = self.clone();
        all.add(low);
        all.add(high);
        round(&all.partials)
    }
}

/// The sum of floats that do not overlap, the smallest first, rounded once: to the nearest, ties to even.
fn round(partials: &[f64]) -> f64 {
    let Some((last, mut below)) = partials.split_last() else { return 0.0 };
    let (mut sum, mut error) = (*last, 0.0);
    while let Some((next, rest)) = below.split_last() {
        (sum, error) = two_sum(sum, *next);
        below = rest;
        if error != 0.0 {
            break;
        }
    }
    // Half-way between two floats, what is below the error says which is nearer.
    let decides = below.last().is_some_and(|next| (error < 0.0 && *next < 0.0) || (error > 0.0 && *next > 0.0));
    let away = sum + error * 2.0;
    if decides && away - sum == error * 2.0 { away } else { sum }
}

impl GroupStates for ExactSums {
    fn update(&mut self, rows: &GroupedRows<'_>, total: usize) -> Result<()> {
        self.grow(total);
        let values = rows.arguments[0].as_primitive::<Float64Type>().values();
        rows.for_each(|row, group, sign| self.add(group, values[row], sign));
        Ok(())
    }

    fn evaluate(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        Ok(Arc::new(groups.iter().map(|group| self.result(*group as usize)).collect::<Float64Array>()))
    }

    fn keep(&mut self, live: &[u32]) -> Result<()> {
        self.high.keep(live);
        self.low.keep(live);
        self.counts.keep(live);
        let rest = live.iter().enumerate().filter_map(|(new, old)| Some((new, self.rest.remove(&(*old as usize))?)));
        self.rest = rest.collect();
        Ok(())
    }

    fn write(&mut self, parts: &[&[u32]]) -> Result<Vec<Vec<ArrayRef>>> {
        Ok(parts.iter().map(|groups| self.columns(groups)).collect())
    }

    fn read(&mut self, first: usize, columns: &[ArrayRef]) -> Result<()> {
        self.grow(first);
        self.high.extend(columns[0].as_primitive::<Float64Type>().values().iter().copied());
        self.low.extend(columns[1].as_primitive::<Float64Type>().values().iter().copied());
        self.counts.extend(columns[2].as_primitive::<Int64Type>().values().iter().copied());
        self.read_rest(first, &columns[3], &columns[4]);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.high.bytes()
            + self.low.bytes()
            + self.counts.bytes()
            + self.rest.len() * (size_of::<Rest>() + 4 * size_of::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::graph::cases;

    fn sum_of(values: &[(f64, i64)]) -> Option<f64> {
        let mut sums = ExactSums::sums();
        sums.grow(1);
        values.iter().for_each(|(value, sign)| sums.add(0, *value, *sign));
        sums.result(0)
    }

    #[test]
    fn nothing_is_lost_on_the_way() {
        assert_eq!(sum_of(&[(1e100, 1), (1.0, 1), (-1e100, 1)]), Some(1.0));
        assert_eq!(sum_of(&[(0.1, 1); 10]), Some(1.0));
        assert_eq!(sum_of(&[(1e16, 1), (1.0, 1), (1e-16, 1)]), Some(10_000_000_000_000_002.0));
        assert_eq!(sum_of(&[(1e16, 1), (1.0, 1), (-1e-16, 1)]), Some(1e16));
        assert_eq!(sum_of(&[]), None);
    }

    #[test]
    fn infinities_and_what_is_no_number_can_be_taken_back() {
        let (infinity, nan) = (f64::INFINITY, f64::NAN);
        assert_eq!(sum_of(&[(infinity, 1), (2.0, 1)]), Some(infinity));
        assert!(sum_of(&[(infinity, 1), (-infinity, 1)]).unwrap().is_nan());
        assert_eq!(sum_of(&[(nan, 1), (infinity, 1), (2.5, 1), (nan, -1), (infinity, -1)]), Some(2.5));
    }

    #[test]
    fn all_parts_of_a_sum_are_read_as_they_were_written() {
        let mut sums = ExactSums::sums();
        sums.grow(5);
        let values = [(0, 1e100), (0, 1.0), (0, 1e-100), (0, f64::NAN), (2, f64::INFINITY), (3, 0.1), (4, 1e300)];
        values.iter().for_each(|(group, value)| sums.add(*group, *value, 1));
        let mut read = ExactSums::sums();
        for (first, columns) in [0, 3].into_iter().zip(sums.write(&[&[0, 1, 2], &[3, 4]]).unwrap()) {
            read.read(first, &columns).unwrap();
        }
        for taken in [f64::NAN, f64::INFINITY, 1e100, 1.0] {
            for sums in [&mut sums, &mut read] {
                (0..5).for_each(|group| sums.add(group, taken, -1));
            }
            let bits = |sums: &ExactSums| [0, 1, 2, 3, 4].map(|group| sums.result(group).map(f64::to_bits));
            assert_eq!(bits(&sums), bits(&read), "without {taken}");
        }
    }

    proptest! {
        #![proptest_config(cases(500))]

        #[test]
        fn the_order_of_rows_and_what_came_and_went_leave_no_trace(
            kept in proptest::collection::vec((-1e18..1e18f64, -60..60i32), 1..30),
            gone in proptest::collection::vec(-1e30..1e30f64, 0..10),
            seed in any::<u64>(),
        ) {
            let kept: Vec<(f64, i64)> = kept.iter().map(|(value, power)| (value * 2f64.powi(*power), 1)).collect();
            let mut mixed = kept.clone();
            mixed.extend(gone.iter().flat_map(|value| [(*value, 1), (*value, -1)]));
            let mut state = seed;
            for last in (1..mixed.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                mixed.swap(last, (state >> 33) as usize % (last + 1));
            }
            prop_assert_eq!(sum_of(&kept).map(f64::to_bits), sum_of(&mixed).map(f64::to_bits));
        }
    }
}
