//! Where the states begin, as a search is begun with them: a line through the first values, and the season by what
//! a moving mean leaves (Hyndman, Koehler, Snyder and Grose 2002).

use super::recursion::States;
use super::{Form, Season, Trend};

/// Values that the first line goes through.
const LINE: usize = 10;

/// Seasons that the first season is the mean of.
const SEASONS: usize = 5;

/// States before the first point; gaps count as the value before.
pub(super) fn start(form: &Form, values: &[f64]) -> States {
    let mut last = values.first().copied().unwrap_or(0.0);
    let filled: Vec<f64> = values
        .iter()
        .map(|value| {
            last = if value.is_nan() { last } else { *value };
            last
        })
        .collect();
    let season = seasons(form, &filled);
    let level: Vec<f64> =
        filled.iter().enumerate().map(|(point, value)| without_season(form, *value, &season, point)).collect();
    let (at_first, slope) = line(&level[..level.len().min(LINE)]);
    match form.trend {
        // The mean of the first values, as the line's middle is.
        Trend::None => {
            States { level: at_first + slope * (level.len().min(LINE) as f64 - 1.0) / 2.0, trend: 0.0, season }
        }
        _ => States { level: at_first - slope, trend: slope, season },
    }
}

fn without_season(form: &Form, value: f64, season: &[f64], point: usize) -> f64 {
    match (form.season, season.get(point % season.len().max(1))) {
        (Season::Additive, Some(season)) => value - season,
        (Season::Multiplicative, Some(season)) => value / season,
        _ => value,
    }
}

/// What each point of a season has beside the level: with a sum of 0, or as factors with a mean of 1.
fn seasons(form: &Form, values: &[f64]) -> Vec<f64> {
    let period = usize::from(form.period);
    let is_factor = form.season == Season::Multiplicative;
    if form.season == Season::None {
        return Vec::new();
    }
    let values = &values[..values.len().min(SEASONS * period)];
    let mut sums = vec![(0.0, 0_u32); period];
    // The mean of a season around a point: of an even one, both ends count half.
    let half = period / 2;
    for point in half..values.len().saturating_sub(half) {
        let around = &values[point - half..=point + half];
        let ends = if period % 2 == 0 { (around[0] + around[2 * half]) / 2.0 } else { 0.0 };
        let level = (around.iter().sum::<f64>() - ends) / period as f64;
        let (sum, count) = &mut sums[point % period];
        *sum += if is_factor { values[point] / level } else { values[point] - level };
        *count += 1;
    }
    let neutral = if is_factor { 1.0 } else { 0.0 };
    let means = sums.iter().map(|(sum, count)| if *count > 0 { sum / f64::from(*count) } else { neutral });
    let means: Vec<f64> = means.collect();
    let mean = means.iter().sum::<f64>() / period as f64;
    means.into_iter().map(|season| if is_factor { season / mean } else { season - mean }).collect()
}

/// The line of least squares through values: where it is at the first, and its slope.
fn line(values: &[f64]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let (middle, mean) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
    let offsets = || (0..values.len()).map(|point| point as f64 - middle);
    let squares: f64 = offsets().map(|offset| offset * offset).sum();
    let products: f64 = offsets().zip(values).map(|(offset, value)| offset * (value - mean)).sum();
    let slope = if squares > 0.0 { products / squares } else { 0.0 };
    (mean - slope * middle, slope)
}
