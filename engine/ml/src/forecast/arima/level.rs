//! Differences of a series, and how many of them make it level.
//!
//! A seasonal difference is taken where the season explains much of what is left of the series without its trend (the
//! strength of seasonality of Wang, Smith and Hyndman 2006, with the limit of Hyndman's later work). Others are taken
//! while the test of Kwiatkowski, Phillips, Schmidt and Shin (1992) says that the series is not level (Hyndman and
//! Khandakar 2008).

use super::Order;

/// Differences that are tried at most.
const DIFFERENCES_MAX: u8 = 2;

/// What the statistic of the test exceeds once in twenty of level series.
const NOT_LEVEL: f64 = 0.463;

/// The strength of a season from which on it is taken off by a difference.
const STRONG_SEASON: f64 = 0.64;

/// A series' differences: shorter by as many points as levels; NaN where one of the values is missing.
pub(super) fn differences(order: &Order, values: &[f64]) -> Vec<f64> {
    let mut level = values.to_vec();
    for _ in 0..order.seasonal_differences {
        level = difference(&level, usize::from(order.season));
    }
    for _ in 0..order.differences {
        level = difference(&level, 1);
    }
    level
}

fn difference(values: &[f64], lag: usize) -> Vec<f64> {
    values.iter().zip(values.iter().skip(lag)).map(|(before, value)| value - before).collect()
}

/// How many seasonal and other differences make a series level; of one with a season of so many points, or of 1.
pub(super) fn differences_needed(values: &[f64], season: usize) -> (u8, u8) {
    let mut level = interpolated(values);
    let mut seasonal = 0;
    if season > 1 && seasonal_strength(&level, season) > STRONG_SEASON {
        level = difference(&level, season);
        seasonal = 1;
    }
    let mut others = 0;
    // Two differences of which one is seasonal make any trend level.
    while others + seasonal < DIFFERENCES_MAX && kpss(&level) > NOT_LEVEL {
        level = difference(&level, 1);
        others += 1;
    }
    (seasonal, others)
}

/// Fills gaps by straight lines.
fn interpolated(values: &[f64]) -> Vec<f64> {
    let mut filled = values.to_vec();
    let mut last: Option<usize> = None;
    for point in 0..filled.len() {
        if filled[point].is_nan() {
            continue;
        }
        if let Some(before) = last {
            let slope = (filled[point] - filled[before]) / (point - before) as f64;
            (before + 1..point).for_each(|gap| filled[gap] = filled[before] + slope * (gap - before) as f64);
        }
        last = Some(point);
    }
    let end = last.map_or(0.0, |last| filled[last]);
    filled.iter_mut().skip(last.map_or(0, |last| last + 1)).for_each(|value| *value = end);
    filled
}

/// The test's statistic: the sum of squares of the sums of what a mean leaves, over its long-run variance.
fn kpss(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    if values.len() < 3 {
        return 0.0;
    }
    let mean = values.iter().sum::<f64>() / count;
    let left: Vec<f64> = values.iter().map(|value| value - mean).collect();
    let covariance = |lag: usize| left.iter().zip(&left[lag..]).map(|(one, other)| one * other).sum::<f64>() / count;
    let lags = (3.0 * count.sqrt() / 13.0) as usize;
    let weight = |lag: usize| 2.0 * (1.0 - lag as f64 / (lags as f64 + 1.0));
    let variance = covariance(0) + (1..=lags).map(|lag| weight(lag) * covariance(lag)).sum::<f64>();
    let (mut sum, mut squares) = (0.0, 0.0);
    for value in &left {
        sum += value;
        squares += sum * sum;
    }
    // Of a constant nothing is left but rounding.
    if variance > 1e-24 * (mean * mean).max(1e-24) { squares / (count * count * variance) } else { 0.0 }
}

/// The part of what a trend leaves that the season explains, from 0 to 1; 0 of fewer than two seasons.
fn seasonal_strength(values: &[f64], season: usize) -> f64 {
    let Some(seasons) = seasonal_means(values, season) else { return 0.0 };
    let (mut of_rest, mut of_both) = (Vec::new(), Vec::new());
    for (point, left) in without_trend(values, season) {
        of_both.push(left);
        of_rest.push(left - seasons[point % season]);
    }
    let both = variance(&of_both);
    if both > 0.0 { (1.0 - variance(&of_rest) / both).max(0.0) } else { 0.0 }
}

/// The mean of what the trend leaves, for each point of a season.
fn seasonal_means(values: &[f64], season: usize) -> Option<Vec<f64>> {
    if values.len() < 2 * season {
        return None;
    }
    let mut sums = vec![(0.0, 0_u32); season];
    for (point, left) in without_trend(values, season) {
        let (sum, count) = &mut sums[point % season];
        *sum += left;
        *count += 1;
    }
    Some(sums.into_iter().map(|(sum, count)| sum / f64::from(count.max(1))).collect())
}

/// What the mean of the season around each point leaves, as far as there is a whole one.
fn without_trend(values: &[f64], season: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
    let half = season / 2;
    (half..values.len().saturating_sub(half)).map(move |point| {
        let around = &values[point - half..=point + half];
        // Of an even season both ends count half.
        let ends = (around[0] + around[2 * half]) / 2.0;
        let sum: f64 = around.iter().sum();
        let trend = if season.is_multiple_of(2) { (sum - ends) / season as f64 } else { sum / season as f64 };
        (point, values[point] - trend)
    })
}

fn variance(values: &[f64]) -> f64 {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::{differences_needed, kpss, seasonal_strength};

    /// Numbers between -1 and 1 that look like chance.
    fn noise(point: usize) -> f64 {
        (point * 7919 % 1009) as f64 / 504.5 - 1.0
    }

    fn walk(count: usize) -> Vec<f64> {
        let mut at = 0.0;
        let step = |point| {
            at += noise(point * point + 3);
            at
        };
        (0..count).map(step).collect()
    }

    #[test]
    fn a_level_series_needs_no_difference_and_a_walk_one() {
        let level: Vec<f64> = (0..200).map(|point| noise(point * point)).collect();
        assert!(kpss(&level) < 0.463, "{}", kpss(&level));
        assert_eq!(differences_needed(&level, 1), (0, 0));
        assert_eq!(differences_needed(&walk(300), 1).1, 1);
        let trend: Vec<f64> = (0..100).map(|point| 3.0 * point as f64 + noise(point)).collect();
        assert_eq!(differences_needed(&trend, 1), (0, 1));
        assert_eq!(differences_needed(&[4.0; 50], 1), (0, 0));
    }

    #[test]
    fn a_strong_season_is_taken_off_and_a_weak_one_is_not() {
        let with_season = |height: f64| -> Vec<f64> {
            (0..80).map(|point| height * [1.0, -1.0, 3.0, -3.0][point % 4] + noise(point * point)).collect()
        };
        assert!(seasonal_strength(&with_season(2.0), 4) > 0.9);
        assert_eq!(differences_needed(&with_season(2.0), 4).0, 1);
        assert_eq!(differences_needed(&with_season(0.05), 4).0, 0);
    }

    #[test]
    fn gaps_are_filled_by_lines() {
        let filled = super::interpolated(&[1.0, f64::NAN, f64::NAN, 4.0, 6.0, f64::NAN]);
        assert_eq!(filled, [1.0, 2.0, 3.0, 4.0, 6.0, 6.0]);
    }
}
