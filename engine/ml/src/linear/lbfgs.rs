//! Finds the minimum of a smooth function of many variables, with or without an L1 penalty.
//!
//! L-BFGS (Nocedal and Wright 2006, algorithms 7.4 and 7.5): the Hessian is known by the last few steps
//! and the gradient's changes along them. With an L1 penalty it is OWL-QN (Andrew and Gao 2007): each step
//! stays within one orthant, in which the penalty is smooth. No randomness, and sums in a fixed order: the
//! same function gives the same bits.

mod line_search;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use tidemill_compute::kernel::dense::{add_scaled, dot};

use self::line_search::{backtrack, strong_wolfe};
use crate::batch::history::History;
use crate::error::Result;

/// Steps remembered; more help little and cost two vectors each.
const MEMORY: usize = 10;

/// A smooth function, and what is added to it.
pub(crate) trait Objective {
    /// The function at a point; writes its gradient there, over whatever is in `gradient`.
    ///
    /// # Errors
    /// Those of the function; they end the search.
    fn evaluate(&self, point: &[f64], gradient: &mut [f64]) -> Result<f64>;

    /// Multiplies a gradient by about the inverse of the function's Hessian, the same one each time, which must be
    /// positive definite. The closer it is, the fewer the steps.
    fn precondition(&self, gradient: &mut [f64]);
}

/// When to stop, and the penalty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SearchConfig {
    /// Steps at most.
    pub(crate) max_iterations: u64,
    /// The gradient's largest entry at which the search is over.
    pub(crate) tolerance: f64,
    /// The part of the loss that a step must at least take off for the search to go on; 0 for any.
    pub(crate) min_rel_progress: f64,
    /// Times the sum of magnitudes, added to the function.
    pub(crate) l1: f64,
    /// Coordinates at the front that the penalty spares.
    pub(crate) unpenalized: usize,
}

/// Where a search ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Minimum {
    pub(crate) point: Vec<f64>,
    /// The function there, with the penalty.
    pub(crate) loss: f64,
    pub(crate) iterations: u64,
    /// Whether it ended by itself: the gradient is small, progress is, or no step lowers the loss any more.
    pub(crate) converged: bool,
    /// The loss after each step.
    pub(crate) history: History,
}

/// A point that the function was evaluated at.
#[derive(Debug, Clone)]
struct Point {
    coordinates: Vec<f64>,
    /// With the penalty.
    loss: f64,
    /// Of the smooth part.
    gradient: Vec<f64>,
}

/// The minimum that a descent from `start` leads to: of a convex function, the minimum.
///
/// # Errors
/// Those of the function.
pub(crate) fn minimize(objective: &impl Objective, start: Vec<f64>, config: &SearchConfig) -> Result<Minimum> {
    let mut memory = Memory::default();
    let mut here = Point::evaluate(objective, start, config)?;
    let mut iterations = 0;
    let mut converged = false;
    let mut history = History::default();
    while iterations < config.max_iterations {
        let uphill = here.steepest(config);
        if largest(&uphill) <= config.tolerance {
            converged = true;
            break;
        }
        let direction = memory.descent(objective, &uphill, config);
        let Some(next) = step(objective, &here, &uphill, &direction, memory.is_empty(), config)? else {
            // Without a memory this was the way of steepest descent, so only rounding is left to gain.
            if memory.is_empty() {
                converged = true;
                break;
            }
            memory.clear();
            continue;
        };
        memory.push(&here, &next);
        let progress = (here.loss - next.loss) / here.loss.abs().max(f64::MIN_POSITIVE);
        here = next;
        iterations += 1;
        history.push(here.loss);
        if config.min_rel_progress > 0.0 && progress < config.min_rel_progress {
            converged = true;
            break;
        }
    }
    Ok(Minimum { point: here.coordinates, loss: here.loss, iterations, converged, history })
}

/// The next point along a direction, or `None` where no step lowers the loss.
fn step(
    objective: &impl Objective,
    here: &Point,
    uphill: &[f64],
    direction: &[f64],
    is_first: bool,
    config: &SearchConfig,
) -> Result<Option<Point>> {
    // Little is known of the curvature yet, so the first step moves no coordinate by more than one.
    let length = if is_first { (1.0 / largest(direction)).min(1.0) } else { 1.0 };
    if config.l1 > 0.0 {
        backtrack(objective, here, uphill, direction, length, config)
    } else {
        strong_wolfe(objective, here, direction, length, config)
    }
}

impl Point {
    fn evaluate(objective: &impl Objective, coordinates: Vec<f64>, config: &SearchConfig) -> Result<Self> {
        let mut gradient = vec![0.0; coordinates.len()];
        let smooth = objective.evaluate(&coordinates, &mut gradient)?;
        let magnitudes: f64 = coordinates.iter().skip(config.unpenalized).map(|weight| weight.abs()).sum();
        Ok(Self { loss: smooth + config.l1 * magnitudes, coordinates, gradient })
    }

    /// The gradient; with a penalty the pseudo-gradient of Andrew and Gao: at 0, where the penalty has two
    /// slopes, the one that goes downhill, or 0 if neither does.
    fn steepest(&self, config: &SearchConfig) -> Vec<f64> {
        let mut uphill = self.gradient.clone();
        if config.l1 > 0.0 {
            for (slope, weight) in uphill.iter_mut().zip(&self.coordinates).skip(config.unpenalized) {
                *slope = if *weight != 0.0 {
                    *slope + config.l1.copysign(*weight)
                } else if slope.abs() > config.l1 {
                    *slope - config.l1.copysign(*slope)
                } else {
                    0.0
                };
            }
        }
        uphill
    }
}

/// The last steps, and how the gradient changed along each.
#[derive(Default)]
struct Memory {
    pairs: VecDeque<Pair>,
}

struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// One over their product.
    rho: f64,
}

impl Memory {
    fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    fn clear(&mut self) {
        self.pairs.clear();
    }

    fn push(&mut self, from: &Point, to: &Point) {
        let difference = |to: &[f64], from: &[f64]| to.iter().zip(from).map(|(to, from)| to - from).collect::<Vec<_>>();
        let step = difference(&to.coordinates, &from.coordinates);
        let change = difference(&to.gradient, &from.gradient);
        let product = dot(&step, &change);
        // Along a step without curvature there is nothing to learn, and it would divide by zero.
        if product > f64::EPSILON * dot(&change, &change) && product.is_finite() {
            if self.pairs.len() == MEMORY {
                self.pairs.pop_front();
            }
            self.pairs.push_back(Pair { step, change, rho: 1.0 / product });
        }
    }

    /// The way down: the two-loop recursion, or steepest descent where that would not go down.
    fn descent(&mut self, objective: &impl Objective, uphill: &[f64], config: &SearchConfig) -> Vec<f64> {
        let mut direction = self.two_loops(objective, uphill);
        if config.l1 > 0.0 {
            // A penalised coordinate that would go uphill stays, as in OWL-QN.
            for (way, slope) in direction.iter_mut().zip(uphill).skip(config.unpenalized) {
                if *way * slope >= 0.0 {
                    *way = 0.0;
                }
            }
        }
        let slope = dot(&direction, uphill);
        if slope < 0.0 && slope.is_finite() {
            return direction;
        }
        self.clear();
        uphill.iter().map(|slope| -slope).collect()
    }

    /// Algorithm 7.4: the inverse Hessian that the pairs stand for, times the downhill gradient.
    fn two_loops(&self, objective: &impl Objective, uphill: &[f64]) -> Vec<f64> {
        let mut direction: Vec<f64> = uphill.iter().map(|slope| -slope).collect();
        let mut alphas = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let alpha = pair.rho * dot(&pair.step, &direction);
            add_scaled(&mut direction, -alpha, &pair.change);
            alphas.push(alpha);
        }
        objective.precondition(&mut direction);
        if let Some(last) = self.pairs.back() {
            let mut change = last.change.clone();
            objective.precondition(&mut change);
            let scale = 1.0 / (last.rho * dot(&last.change, &change));
            direction.iter_mut().for_each(|way| *way *= scale);
        }
        for (pair, alpha) in self.pairs.iter().zip(alphas.iter().rev()) {
            let beta = pair.rho * dot(&pair.change, &direction);
            add_scaled(&mut direction, alpha - beta, &pair.step);
        }
        direction
    }
}

/// The largest magnitude.
pub(crate) fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest))
}
