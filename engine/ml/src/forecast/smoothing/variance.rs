//! The variance of forecasts (Hyndman, Koehler, Ord and Snyder 2008, chapter 6; 2005 in a paper).
//!
//! An error at one point moves the value `j` points later by `c_j` times itself. Additive errors add up. Multiplicative
//! ones are parts of values that are themselves uncertain, so second moments follow from each other; where a season is
//! multiplied, that is exact within a season, and beyond it to the order of the errors' variance. (There the book takes
//! the level and the season for independent, though an error moves both; that alone is off by 4% for usual parameters.)

use super::recursion::{expected, levels};
use super::{Error, Season, Smoothing, Trend};

/// The variances of so many points behind the last.
pub(super) fn variances(model: &Smoothing, horizon: usize) -> Vec<f64> {
    let effects = effects(model, horizon);
    match (model.form.error, model.form.season) {
        (Error::Additive, _) => additive(model.variance, &effects),
        (Error::Multiplicative, Season::Multiplicative) => {
            let levels = levels(&model.parameters, &model.end, horizon);
            let squares = second_moments(model.variance, &effects, &levels);
            seasonal(model, &effects, &squares, &levels)
        }
        (Error::Multiplicative, _) => {
            let values = expected(&model.form, &model.parameters, &model.end, horizon);
            let squares = second_moments(model.variance, &effects, &values);
            let variance = |(square, value): (&f64, &f64)| (1.0 + model.variance) * square - value * value;
            squares.iter().zip(&values).map(variance).collect()
        }
    }
}

/// What an error of 1 adds to the value 1, 2, … points later.
fn effects(model: &Smoothing, horizon: usize) -> Vec<f64> {
    let parameters = &model.parameters;
    let (mut damped, mut damping) = (0.0, 1.0);
    let effect = |later: usize| {
        damping *= parameters.damping;
        damped += damping;
        let trend = if model.form.trend == Trend::None { 0.0 } else { parameters.trend * damped };
        // A multiplied season is accounted for apart.
        let is_same_season = model.form.season == Season::Additive && later.is_multiple_of(model.form.period.into());
        parameters.level + trend + if is_same_season { parameters.season } else { 0.0 }
    };
    (1..horizon).map(effect).collect()
}

/// The errors between add up.
fn additive(variance: f64, effects: &[f64]) -> Vec<f64> {
    let mut sum = variance;
    let later = effects.iter().map(|effect| {
        sum += variance * effect * effect;
        sum
    });
    std::iter::once(variance).chain(later).collect()
}

/// The mean squares of what is expected at each point when that is the next one.
fn second_moments(variance: f64, effects: &[f64], values: &[f64]) -> Vec<f64> {
    let mut squares: Vec<f64> = Vec::with_capacity(values.len());
    for value in values {
        let moved: f64 =
            effects.iter().zip(squares.iter().rev()).map(|(effect, square)| effect * effect * square).sum();
        squares.push(value * value + variance * moved);
    }
    squares
}

/// The same where levels are multiplied with a season, which the errors of that point of each season have moved as well:
/// by `γ` of themselves, while they moved the level by `c`. So level and season move together, by `γ c` of the variance.
fn seasonal(model: &Smoothing, effects: &[f64], squares: &[f64], levels: &[f64]) -> Vec<f64> {
    let (variance, both) = (model.variance, model.parameters.season * model.variance);
    let moved = model.parameters.season * both;
    let seasons = model.end.season.iter().copied().cycle();
    let mut rounds = 1.0;
    let period = usize::from(model.form.period);
    let mut variances = Vec::with_capacity(levels.len());
    for (point, ((square, level), season)) in squares.iter().zip(levels).zip(seasons).enumerate() {
        if point > 0 && point.is_multiple_of(period) {
            rounds *= 1.0 + moved;
        }
        let seasons_before = (period..=point).step_by(period);
        let together: f64 = seasons_before.map(|before| both * effects[before - 1] * levels[point - before]).sum();
        let mean = level + together;
        let mean_square = square * rounds + 4.0 * level * together;
        variances.push(season * season * ((1.0 + variance) * mean_square - mean * mean));
    }
    variances
}
