//! How far to go along a direction: until the loss is lower and its slope flat (strong Wolfe), or, with an
//! L1 penalty, half as far until the loss is lower.

use tidemill_compute::kernel::dense::dot;

use super::{Objective, Point, SearchConfig};
use crate::error::Result;

/// The part of the decrease that the slope promises which a step must keep (Armijo).
const DECREASE: f64 = 1e-4;

/// The part of the slope at the start that may be left at the end.
const FLATNESS: f64 = 0.9;

/// Evaluations that one search may cost.
const TRIALS_MAX: usize = 40;

/// Differences of losses below this part of the loss are taken for rounding.
const NOISE: f64 = 1e-13;

/// A step tried.
struct Trial {
    step: f64,
    slope: f64,
    point: Point,
}

/// The line that is searched.
struct Line<'a, F> {
    objective: &'a F,
    here: &'a Point,
    direction: &'a [f64],
    /// The slope at the start; below 0.
    slope: f64,
    config: &'a SearchConfig,
}

/// A point that keeps the strong Wolfe conditions (Nocedal and Wright 2006, algorithms 3.5 and 3.6), or the
/// best one that was found, or `None` if none is better than where the line starts.
pub(super) fn strong_wolfe(
    objective: &impl Objective,
    here: &Point,
    direction: &[f64],
    first: f64,
    config: &SearchConfig,
) -> Result<Option<Point>> {
    let slope = dot(&here.gradient, direction);
    let line = Line { objective, here, direction, slope, config };
    let mut previous = Trial { step: 0.0, slope, point: here.clone() };
    let mut step = first;
    for trials in 0..TRIALS_MAX {
        let trial = line.at(step)?;
        if !line.decreases(&trial) || (trials > 0 && trial.point.loss > previous.point.loss + line.noise()) {
            return line.zoom(previous, trial, TRIALS_MAX - trials);
        }
        if line.is_flat(&trial) {
            return Ok(Some(trial.point));
        }
        if trial.slope >= 0.0 {
            return line.zoom(trial, previous, TRIALS_MAX - trials);
        }
        previous = trial;
        step *= 2.0;
    }
    // Still downhill after 2^40 lengths: the function has no minimum this way, and this is far down.
    Ok(Some(previous.point))
}

impl<F: Objective> Line<'_, F> {
    fn at(&self, step: f64) -> Result<Trial> {
        let coordinates = self.here.coordinates.iter().zip(self.direction).map(|(from, way)| from + step * way);
        let point = Point::evaluate(self.objective, coordinates.collect(), self.config)?;
        Ok(Trial { step, slope: dot(&point.gradient, self.direction), point })
    }

    fn noise(&self) -> f64 {
        NOISE * self.here.loss.abs()
    }

    /// Near the minimum the losses differ by rounding alone. There the slope says whether it went down, by
    /// the approximate condition of Hager and Zhang (2005).
    fn decreases(&self, trial: &Trial) -> bool {
        let (before, loss) = (self.here.loss, trial.point.loss);
        loss <= before + DECREASE * trial.step * self.slope
            || (loss <= before + self.noise() && trial.slope <= (2.0 * DECREASE - 1.0) * self.slope)
    }

    fn is_flat(&self, trial: &Trial) -> bool {
        trial.slope.abs() <= -FLATNESS * self.slope
    }

    /// Narrows the interval between two steps of which `low` has the lower loss.
    fn zoom(&self, mut low: Trial, mut high: Trial, trials: usize) -> Result<Option<Point>> {
        for _ in 0..trials {
            let trial = self.at(between(&low, &high))?;
            if !self.decreases(&trial) || trial.point.loss > low.point.loss + self.noise() {
                high = trial;
                continue;
            }
            if self.is_flat(&trial) {
                return Ok(Some(trial.point));
            }
            if trial.slope * (high.step - low.step) >= 0.0 {
                high = low;
            }
            low = trial;
        }
        Ok((low.step > 0.0 && low.point.loss < self.here.loss).then_some(low.point))
    }
}

/// The minimum of the cubic through both ends and their slopes, kept away from the ends; the middle where
/// there is none.
fn between(low: &Trial, high: &Trial) -> f64 {
    let width = high.step - low.step;
    let d1 = low.slope + high.slope - 3.0 * (high.point.loss - low.point.loss) / width;
    let d2 = (d1 * d1 - low.slope * high.slope).sqrt().copysign(width);
    let cubic = high.step - width * (high.slope + d2 - d1) / (high.slope - low.slope + 2.0 * d2);
    let share = (cubic - low.step) / width;
    low.step + width * if share.is_finite() { share.clamp(0.1, 0.9) } else { 0.5 }
}

/// A point with a lower loss within the orthant of `here`, by halving the step (Andrew and Gao 2007,
/// section 3.2), or `None`.
pub(super) fn backtrack(
    objective: &impl Objective,
    here: &Point,
    uphill: &[f64],
    direction: &[f64],
    first: f64,
    config: &SearchConfig,
) -> Result<Option<Point>> {
    let mut step = first;
    for _ in 0..TRIALS_MAX {
        let coordinates = project(here, uphill, direction, step, config.unpenalized);
        let point = Point::evaluate(objective, coordinates, config)?;
        let promised: f64 = point
            .coordinates
            .iter()
            .zip(&here.coordinates)
            .zip(uphill)
            .map(|((to, from), slope)| (to - from) * slope)
            .sum();
        if point.loss <= here.loss + DECREASE * promised && point.loss < here.loss {
            return Ok(Some(point));
        }
        step *= 0.5;
    }
    Ok(None)
}

/// The point after a step, with 0 for each penalised weight that would change its sign; one that is 0 may
/// only go downhill.
fn project(here: &Point, uphill: &[f64], direction: &[f64], step: f64, unpenalized: usize) -> Vec<f64> {
    let mut to: Vec<f64> = here.coordinates.iter().zip(direction).map(|(from, way)| from + step * way).collect();
    for ((to, from), slope) in to.iter_mut().zip(&here.coordinates).zip(uphill).skip(unpenalized) {
        let orthant = if *from != 0.0 { *from } else { -slope };
        if *to * orthant <= 0.0 {
            *to = 0.0;
        }
    }
    to
}
