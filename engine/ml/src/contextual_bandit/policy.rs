//! Which action is chosen of those whose rewards are estimated, and with which probability.
//!
//! - LinUCB (Li, Chu, Langford and Schapire 2010): the one with the largest `x·w + α √(xᵀ A⁻¹ x)`, always.
//! - Thompson sampling (Agrawal and Goyal 2013): the one whose `x·w̃` is largest, where `w̃` is drawn from `N(w, α² A⁻¹)`. Only
//!   `x·w̃` matters, and it is normal, so that alone is drawn. The probability is
//!   `∫ f(t) Π F(t) dt` over the chosen action's density and the others' distribution functions, to about `1e-9`.
//! - ε-greedy: the one with the largest `x·w`, or with the probability `ε` any, all alike.

use tidemill_compute::kernel::logistic::sigmoid;
use tidemill_compute::kernel::softmax::ln;

use super::arms::Arm;
use super::config::Policy;
use crate::actions::largest;
use crate::hoeffding_tree::normal::distribution;
use crate::random::Random;

/// Standard deviations of the chosen action's reward within which its probability is looked for.
const FAR: f64 = 7.0;

/// Pieces of that range, at first, and how far each may be off.
const PIECES: usize = 8;
const TOLERANCE: f64 = 1e-10;

/// Halvings of a piece at most: a distribution function may be as steep as a step.
const HALVINGS: u32 = 40;

/// An action, and what is said of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Choice {
    pub(super) action: usize,
    /// The reward that is expected of it.
    pub(super) reward: f64,
    /// With which it is chosen.
    pub(super) probability: f64,
}

/// What is known of an action's reward for a row: its mean and its standard deviation.
type Normal = (f64, f64);

impl Policy {
    /// The choice among actions for a row, given its draws; none where there is no action.
    pub(super) fn choose(self, arms: &[&Arm], row: &[f64], random: &mut Random) -> Option<Choice> {
        let means = arms.iter().map(|arm| arm.mean(row));
        match self {
            Self::LinUcb { alpha } => {
                let means: Vec<f64> = means.collect();
                let bounds = arms.iter().zip(&means).map(|(arm, mean)| mean + alpha * arm.deviation(row));
                let action = largest(bounds)?;
                Some(Choice { action, reward: means[action], probability: 1.0 })
            }
            Self::Thompson { alpha } => {
                let rewards: Vec<Normal> =
                    arms.iter().zip(means).map(|(arm, mean)| (mean, alpha * arm.deviation(row))).collect();
                let action = largest(rewards.iter().map(|(mean, deviation)| mean + deviation * normal(random)))?;
                Some(Choice { action, reward: rewards[action].0, probability: probability_of(action, &rewards) })
            }
            Self::EpsilonGreedy { epsilon } => {
                let means: Vec<f64> = means.collect();
                let best = largest(means.iter().copied())?;
                let explores = random.fraction() < epsilon;
                let action = if explores { random.below(means.len() as u64) as usize } else { best };
                let by_chance = epsilon / means.len() as f64;
                let probability = if action == best { 1.0 - epsilon + by_chance } else { by_chance };
                Some(Choice { action, reward: means[action], probability })
            }
        }
    }
}

/// A standard normal number (Marsaglia's polar method 1964); the same on every machine.
fn normal(random: &mut Random) -> f64 {
    loop {
        let (x, y) = (2.0 * random.fraction() - 1.0, 2.0 * random.fraction() - 1.0);
        let square = x * x + y * y;
        if square > 0.0 && square < 1.0 {
            return x * (-2.0 * ln(square) / square).sqrt();
        }
    }
}

/// The probability that of independent normal numbers this one is the largest.
fn probability_of(chosen: usize, rewards: &[Normal]) -> f64 {
    let (mean, deviation) = rewards[chosen];
    // Nothing is drawn where there is no uncertainty; then the choice was certain, but for ties.
    if deviation == 0.0 && rewards.iter().all(|reward| reward.1 == 0.0) {
        return 1.0;
    }
    // How far the chosen one's mean is above a rival's, and the rival's deviation; those that are never larger within the range
    // leave no trace. Differences keep the digits that a number beside a mean far from 0 loses.
    let rivals = rewards.iter().enumerate().filter(|(place, _)| *place != chosen);
    let rivals = rivals.map(|(_, rival)| (mean - rival.0, rival.1));
    let rivals: Vec<Normal> = rivals.filter(|(ahead, spread)| *ahead < FAR * (deviation + spread)).collect();
    let all_below = |above_mean: f64| {
        rivals.iter().map(|(ahead, spread)| share_below(ahead + above_mean, *spread)).product::<f64>()
    };
    if deviation == 0.0 {
        return all_below(0.0);
    }
    let density = |z: f64| exponential_of_half_square(z) / std::f64::consts::TAU.sqrt();
    let integrand = |z: f64| density(z) * all_below(deviation * z);
    let step = 2.0 * FAR / PIECES as f64;
    let pieces = (0..PIECES).map(|piece| Piece::new(&integrand, -FAR + step * piece as f64, step));
    pieces.map(|piece| piece.integral(&integrand, HALVINGS)).sum::<f64>().clamp(0.0, 1.0)
}

/// The probability that a normal number is at most so far above its mean.
fn share_below(distance: f64, deviation: f64) -> f64 {
    if deviation > 0.0 { distribution(distance / deviation) } else { f64::from(u8::from(distance >= 0.0)) }
}

/// `exp(-z²/2)`, by way of the logistic function, which is the kernels' own: `e^-x = s(-x) / s(x)`.
fn exponential_of_half_square(z: f64) -> f64 {
    let half = 0.5 * z * z;
    sigmoid(-half) / sigmoid(half)
}

/// A piece of an integral, by Simpson's rule.
struct Piece {
    start: f64,
    width: f64,
    /// Of the function at the start, the middle and the end.
    values: [f64; 3],
}

impl Piece {
    fn new(function: &impl Fn(f64) -> f64, start: f64, width: f64) -> Self {
        Self { start, width, values: [0.0, 0.5, 1.0].map(|share| function(start + share * width)) }
    }

    fn simpson(&self) -> f64 {
        self.width / 6.0 * (self.values[0] + 4.0 * self.values[1] + self.values[2])
    }

    /// Halved until both halves together say the same as the whole (Kuncir 1962).
    fn integral(&self, function: &impl Fn(f64) -> f64, halvings: u32) -> f64 {
        let half = self.width / 2.0;
        let [left, middle, right] = self.values;
        let halves = [(self.start, left, middle), (self.start + half, middle, right)].map(|(start, from, to)| Self {
            start,
            width: half,
            values: [from, function(start + half / 2.0), to],
        });
        let together = halves[0].simpson() + halves[1].simpson();
        let off = (together - self.simpson()) / 15.0;
        // What is no number ends it, too.
        let is_off = off.abs() > TOLERANCE;
        if halvings == 0 || !is_off {
            return together + off;
        }
        halves.iter().map(|piece| piece.integral(function, halvings - 1)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probability_of_two_is_known_and_those_of_all_add_up() {
        // P(a > b) = Φ((1 - 0.5) / √(0.3² + 0.4²)) = Φ(1).
        let found = probability_of(0, &[(1.0, 0.3), (0.5, 0.4)]);
        assert!((found - 0.841_344_746_068_542_9).abs() < 1e-9, "{found}");
        for rewards in [
            vec![(0.0, 1.0); 5],
            vec![(1.0, 0.5), (0.9, 1e-6), (0.2, 0.7), (-8.0, 0.1), (0.91, 2.0)],
            vec![(0.3, 1e-12), (0.0, 1.0), (0.3, 0.0), (0.1, 1e-3)],
        ] {
            let all: Vec<f64> = (0..rewards.len()).map(|action| probability_of(action, &rewards)).collect();
            assert!((all.iter().sum::<f64>() - 1.0).abs() < 1e-7, "{rewards:?}: {all:?}");
        }
        assert!((probability_of(3, &[(0.0, 1.0); 5]) - 0.2).abs() < 1e-9);
        assert_eq!([0, 1].map(|action| probability_of(action, &[(2.0, 0.0), (1.0, 1e-3)]).round()), [1.0, 0.0]);
        assert_eq!(probability_of(0, &[(2.0, 0.0), (1.0, 0.0)]), 1.0);
    }

    #[test]
    fn normal_numbers_have_the_moments_of_the_standard_normal() {
        let mut random = Random::new(3, 4);
        let drawn: Vec<f64> = (0..100_000).map(|_| normal(&mut random)).collect();
        let moment = |power| drawn.iter().map(|z: &f64| z.powi(power)).sum::<f64>() / drawn.len() as f64;
        // Five standard errors: 0.016, 0.022, 0.061, 0.155.
        for (power, expected, off) in [(1, 0.0, 0.016), (2, 1.0, 0.023), (3, 0.0, 0.062), (4, 3.0, 0.156)] {
            assert!((moment(power) - expected).abs() < off, "{power}: {}", moment(power));
        }
    }
}
