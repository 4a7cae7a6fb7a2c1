//! The tree-structured Parzen estimator (Bergstra, Bardenet, Bengio and Kégl 2011, "Algorithms for hyper-parameter
//! optimization").
//!
//! Of the points tried, the better part makes a density `l`, the others a density `g`, each a mixture of one normal
//! distribution for each point and one as wide as the range. Of some places drawn from `l` the one is tried at which
//! `l / g` is the largest, which is where the expected improvement is (the paper's equation 3). Each option is looked at by
//! itself, among those points that have it: so a space may be a tree, as where model types have options of their own.

use super::search::Tried;
use super::space::{Branch, Point, Values, exp_of_negative};
use crate::random::Random;

/// The part of all points that is the better one, as in the paper.
const GOOD_FRACTION: f64 = 0.15;

/// The most points of the better part: more of them hold on to what was good long ago.
const GOOD_MAX: usize = 25;

/// Places drawn from `l`, for each option.
const DRAWS: usize = 24;

/// The point to try next, given those tried.
pub(super) fn suggest(space: &[Branch], tried: &[Tried], random: &mut Random) -> Point {
    let mut order: Vec<&Tried> = tried.iter().collect();
    order.sort_by(|one, other| one.loss.total_cmp(&other.loss));
    let good = ((GOOD_FRACTION * order.len() as f64).ceil() as usize).clamp(1, GOOD_MAX).min(order.len());
    let (good, bad) = order.split_at(good);
    let branches = [good, bad].map(|part| part.iter().map(|tried| tried.point.branch).collect::<Vec<_>>());
    let branch = choice(space.len(), &branches, random);
    let own = |part: &[&Tried], place: usize| -> Vec<f64> {
        let own = part.iter().map(|tried| &tried.point).filter(|point| point.branch == branch);
        own.filter_map(|point| point.coordinates.get(place).copied()).collect()
    };
    let dimensions = space.get(branch).map_or(&[][..], |branch| &branch.dimensions);
    let coordinates = dimensions
        .iter()
        .enumerate()
        .map(|(place, dimension)| coordinate(&dimension.values, &[own(good, place), own(bad, place)], random));
    Point { branch, coordinates: coordinates.collect() }
}

/// The coordinate to try, given those of the better points and of the others.
fn coordinate(values: &Values, [good, bad]: &[Vec<f64>; 2], random: &mut Random) -> f64 {
    if let Values::Candidates(candidates) = values {
        let numbers = [good, bad].map(|part| part.iter().map(|number| *number as usize).collect::<Vec<_>>());
        return choice(candidates.len(), &numbers, random) as f64;
    }
    let (better, worse) = (Parzen::new(good), Parzen::new(bad));
    let places = (0..DRAWS).map(|_| values.settled(better.draw(random))).collect::<Vec<_>>();
    best(&places, |place| better.density(*place) / worse.density(*place)).unwrap_or(0.5)
}

/// Which of so many to choose, given the choices of the better points and of the others: each counts once more than it was
/// chosen.
fn choice(count: usize, [good, bad]: &[Vec<usize>; 2], random: &mut Random) -> usize {
    let shares = |chosen: &[usize]| {
        let mut shares = vec![1.0; count];
        for own in chosen {
            if let Some(share) = shares.get_mut(*own) {
                *share += 1.0;
            }
        }
        let sum: f64 = shares.iter().sum();
        shares.iter().map(|share| share / sum).collect::<Vec<f64>>()
    };
    let (better, worse) = (shares(good), shares(bad));
    let draws: Vec<usize> = (0..DRAWS).map(|_| drawn(&better, random)).collect();
    best(&draws, |own| better[*own] / worse[*own]).unwrap_or(0)
}

/// A place of some shares, each as likely as it is large.
fn drawn(shares: &[f64], random: &mut Random) -> usize {
    let mut left = random.fraction();
    let is_here = |share: &f64| {
        left -= share;
        left < 0.0
    };
    shares.iter().position(is_here).unwrap_or(shares.len().saturating_sub(1))
}

/// The one with the largest value, of equals the first.
fn best<T: Copy>(all: &[T], value: impl Fn(&T) -> f64) -> Option<T> {
    let better = |best: (T, f64), next: (T, f64)| if next.1 > best.1 { next } else { best };
    all.iter().map(|one| (*one, value(one))).reduce(better).map(|(one, _)| one)
}

/// A mixture of normal distributions, each cut off at the ends of [0, 1].
struct Parzen {
    kernels: Vec<Kernel>,
}

struct Kernel {
    mean: f64,
    deviation: f64,
    /// The part of the normal distribution within [0, 1].
    mass: f64,
}

impl Parzen {
    /// One at each place, as wide as the larger distance to its neighbours or the ends, and one for the whole range.
    fn new(places: &[f64]) -> Self {
        const RANGE: Kernel = Kernel { mean: 0.5, deviation: 1.0, mass: 0.382_924_922_548_026 };
        let mut means = places.to_vec();
        means.sort_by(f64::total_cmp);
        let narrowest = 1.0 / (means.len() as f64 + 1.0).min(100.0);
        let own = |(place, mean): (usize, &f64)| {
            let below = place.checked_sub(1).map_or(0.0, |below| means[below]);
            let above = means.get(place + 1).copied().unwrap_or(1.0);
            Kernel::new(*mean, (mean - below).max(above - mean).clamp(narrowest, 1.0))
        };
        Self { kernels: means.iter().enumerate().map(own).chain([RANGE]).collect() }
    }

    fn density(&self, place: f64) -> f64 {
        self.kernels.iter().map(|kernel| kernel.density(place)).sum::<f64>() / self.kernels.len() as f64
    }

    fn draw(&self, random: &mut Random) -> f64 {
        let number = random.below(self.kernels.len() as u64) as usize;
        self.kernels.get(number).map_or(0.5, |kernel| kernel.draw(random))
    }
}

impl Kernel {
    fn new(mean: f64, deviation: f64) -> Self {
        Self { mean, deviation, mass: below((1.0 - mean) / deviation) - below(-mean / deviation) }
    }

    fn height(&self, place: f64) -> f64 {
        let distance = (place - self.mean) / self.deviation;
        exp_of_negative(-0.5 * distance * distance)
    }

    fn density(&self, place: f64) -> f64 {
        self.height(place) / ((2.0 * std::f64::consts::PI).sqrt() * self.deviation * self.mass)
    }

    /// Draws places of the range until one is below the curve (von Neumann 1951): of five, one is.
    fn draw(&self, random: &mut Random) -> f64 {
        let (low, high) = ((self.mean - 6.0 * self.deviation).max(0.0), (self.mean + 6.0 * self.deviation).min(1.0));
        let place = |random: &mut Random| low + (high - low) * random.fraction();
        let mut drawn = place(random);
        while random.fraction() >= self.height(drawn) {
            drawn = place(random);
        }
        drawn
    }
}

/// The part of a normal distribution below so many deviations, to `1e-7` (Abramowitz and Stegun 1964, 26.2.17).
fn below(x: f64) -> f64 {
    const FACTORS: [f64; 5] = [0.319_381_53, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let sum = FACTORS.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    let tail = exp_of_negative(-0.5 * x * x) / (2.0 * std::f64::consts::PI).sqrt() * sum;
    if x > 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuning::search::tests::space;
    use crate::tuning::search::{Algorithm, Search};

    #[test]
    fn a_density_is_one_as_a_whole_and_drawn_from() {
        let parzen = Parzen::new(&[0.1, 0.12, 0.9, 0.5]);
        assert_eq!(parzen.kernels.len(), 5);
        let steps = 20_000;
        let step = |number: i32| (f64::from(number) + 0.5) / f64::from(steps);
        let sum: f64 = (0..steps).map(|number| parzen.density(step(number))).sum::<f64>() / f64::from(steps);
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        let below_a_quarter: f64 =
            (0..steps / 4).map(|number| parzen.density(step(number))).sum::<f64>() / f64::from(steps);
        let mut random = Random::new(5, 5);
        let drawn = (0..20_000).filter(|_| parzen.draw(&mut random) < 0.25).count() as f64 / 20_000.0;
        assert!((drawn - below_a_quarter).abs() < 0.015, "{drawn} {below_a_quarter}");
        for (x, expected) in [(0.0, 0.5), (1.0, 0.841_344_746_068_542_9), (-2.5, 0.006_209_665_325_776_132)] {
            assert!((below(x) - expected).abs() < 1e-7, "{x}");
        }
    }

    #[test]
    fn better_choices_are_made_more_often() {
        let mut random = Random::new(1, 1);
        let parts = [vec![2, 2, 2], vec![0, 0, 0, 1, 1, 1]];
        let chosen: Vec<usize> = (0..100).map(|_| choice(3, &parts, &mut random)).collect();
        assert!(chosen.iter().filter(|own| **own == 2).count() > 90);
    }

    /// The best of 40 trials of a function of a rate by its logarithm, a share, and a word; in the mean over seeds.
    fn mean_best(algorithm: Algorithm) -> f64 {
        let space = space(&[
            ("learn_rate", "number", "HPARAM_RANGE(0.0001, 1)"),
            ("subsample", "number", "HPARAM_RANGE(0, 1)"),
            ("kind", "words", "HPARAM_CANDIDATES([a, b, c, d])"),
        ]);
        let loss = |point: &Point| {
            let [rate, share, kind] = point.coordinates[..] else { return f64::NAN };
            (rate - 0.7).powi(2) + (share - 0.2).powi(2) + 0.1 * (kind - 2.0).abs()
        };
        let best = |seed| {
            let mut search = Search::new(&space, algorithm, 40, seed);
            let mut tried: Vec<Tried> = Vec::new();
            for _ in 0..40 {
                let points = search.round(1, &tried);
                tried.extend(points.into_iter().map(|point| Tried { loss: loss(&point), point }));
            }
            tried.iter().map(|tried| tried.loss).fold(f64::INFINITY, f64::min)
        };
        (0..100).map(best).sum::<f64>() / 100.0
    }

    #[test]
    fn it_finds_better_points_than_chance() {
        let [by_chance, by_tpe] = [Algorithm::RandomSearch, Algorithm::Tpe].map(mean_best);
        assert!(by_tpe < 0.6 * by_chance, "{by_tpe} {by_chance}");
    }

    #[test]
    fn points_where_nothing_came_of_it_are_left() {
        let space = space(&[("x", "number", "HPARAM_RANGE(0, 1)")]);
        // The lower half fails.
        let tried: Vec<_> = (0..20)
            .map(|number| {
                let place = f64::from(number) / 20.0;
                Tried {
                    point: Point { branch: 0, coordinates: vec![place] },
                    loss: if place < 0.5 { f64::INFINITY } else { place },
                }
            })
            .collect();
        let mut random = Random::new(2, 2);
        let places: Vec<f64> = (0..50).map(|_| suggest(&space, &tried, &mut random).coordinates[0]).collect();
        assert!(places.iter().filter(|place| **place > 0.4).count() > 40, "{places:?}");
    }
}
