//! Where a search begins: coefficients by two regressions (Hannan and Rissanen 1982).
//!
//! A long autoregression gives errors; values are then regressed on the values and errors before. Gaps count as the mean.

use super::Order;
use super::level::differences;
use super::process::{free_numbers, part};
use crate::linear::normal_equations::NormalEquations;

/// Free numbers for the coefficients of an order.
pub(super) fn start(order: &Order, values: &[f64]) -> Vec<f64> {
    let level = centred(&differences(order, values));
    let lags = |place: usize| {
        let step = if place < 2 { 1 } else { usize::from(order.season) };
        (1..=part(order, place).1).map(move |lag| lag * step)
    };
    let longest = (0..4).flat_map(lags).max().unwrap_or(0);
    let before = (longest + 2).min(level.len() / 4);
    let errors = if part(order, 1).1 + part(order, 3).1 > 0 { errors(&level, before) } else { Vec::new() };
    // The seasonal coefficients of errors come last, as they do among the parameters.
    let series = |place: usize| if place.is_multiple_of(2) { &level } else { &errors };
    let columns: Vec<(&[f64], usize)> = (0..4)
        .flat_map(|place| lags(place).map(move |lag| (place, lag)))
        .map(|(place, lag)| (series(place).as_slice(), lag))
        .collect();
    let found = regress(&level, &columns, longest + if errors.is_empty() { 0 } else { before });
    let polynomial = |place: usize| {
        let (before, count) = part(order, place);
        let sign = if place.is_multiple_of(2) { 1.0 } else { -1.0 };
        let own: Vec<f64> = found.iter().skip(before).take(count).map(|coefficient| sign * coefficient).collect();
        free_numbers(&own)
    };
    (0..4).flat_map(polynomial).collect()
}

/// The values less their mean; 0 for those that are missing.
fn centred(values: &[f64]) -> Vec<f64> {
    let there: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    let mean = there.iter().sum::<f64>() / there.len().max(1) as f64;
    values.iter().map(|value| if value.is_nan() { 0.0 } else { value - mean }).collect()
}

/// The errors of an autoregression of so many values before.
fn errors(level: &[f64], before: usize) -> Vec<f64> {
    let columns: Vec<(&[f64], usize)> = (1..=before).map(|lag| (level, lag)).collect();
    let found = regress(level, &columns, before);
    let error = |point: usize| {
        let said: f64 = found.iter().zip(1..).map(|(phi, lag)| phi * at(level, point, lag)).sum();
        level[point] - said
    };
    (0..level.len()).map(error).collect()
}

/// The coefficients by which a series follows from others so many points before, from the point `first` on.
fn regress(level: &[f64], columns: &[(&[f64], usize)], first: usize) -> Vec<f64> {
    let width = columns.len();
    let (mut products, mut targets) = (vec![0.0; width * width], vec![0.0; width]);
    for (point, target) in level.iter().enumerate().skip(first) {
        for (row, (series, lag)) in columns.iter().enumerate() {
            let value = at(series, point, *lag);
            targets[row] += value * target;
            for (column, (series, lag)) in columns.iter().enumerate() {
                products[row * width + column] += value * at(series, point, *lag);
            }
        }
    }
    NormalEquations { width, products, targets, target_squares: 0.0 }.ridge(1e-9).weights
}

fn at(series: &[f64], point: usize, lag: usize) -> f64 {
    point.checked_sub(lag).and_then(|point| series.get(point)).copied().unwrap_or(0.0)
}
