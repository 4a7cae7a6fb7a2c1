//! Which points of a space are tried, one after the other: at random, all of a grid, or by what was learnt from others.
//!
//! A point is drawn by the seed and its trial's number. Only the tree-structured Parzen estimator looks at trials before,
//! and only at those of rounds before: so the trials of a round may run at the same time.

use std::collections::BTreeSet;

use super::space::{Branch, Point};
use super::tpe;
use crate::random::Random;

/// How often a point is drawn again where it has been tried.
const ATTEMPTS: u64 = 20;

/// Trials at random, before which the estimator has nothing to go by (as many as in Optuna).
const FIRST_TRIALS: u64 = 10;

/// How points are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Each by itself (Bergstra and Bengio 2012).
    RandomSearch,
    /// All that there are.
    GridSearch,
    /// By what was better before: see [`tpe`].
    Tpe,
    /// At random, of which the better half goes on with twice the rows: see [`super::halving`].
    SuccessiveHalving,
}

impl Algorithm {
    /// The names; `vizier_default` is what BigQuery calls its own.
    pub(crate) const NAMES: [(&'static str, Self); 5] = [
        ("random_search", Self::RandomSearch),
        ("grid_search", Self::GridSearch),
        ("tpe", Self::Tpe),
        ("vizier_default", Self::Tpe),
        ("successive_halving", Self::SuccessiveHalving),
    ];
}

/// A point that was tried.
#[derive(Debug, Clone)]
pub(crate) struct Tried {
    pub(crate) point: Point,
    /// The smaller, the better; infinite where nothing came of it.
    pub(crate) loss: f64,
}

/// A search that has some trials left.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    space: &'a [Branch],
    algorithm: Algorithm,
    trials_max: u64,
    seed: u64,
    given: u64,
    /// The points given, by their branches and the bits of their coordinates.
    seen: BTreeSet<(usize, Vec<u64>)>,
}

impl<'a> Search<'a> {
    pub(crate) fn new(space: &'a [Branch], algorithm: Algorithm, trials_max: u64, seed: u64) -> Self {
        Self { space, algorithm, trials_max, seed, given: 0, seen: BTreeSet::new() }
    }

    /// The points of the next round, given all that were tried; none once the search is over.
    pub(crate) fn round(&mut self, length: usize, tried: &[Tried]) -> Vec<Point> {
        (0..length).map_while(|_| self.next(tried)).collect()
    }

    /// No point is given twice; where a space has none left, the search is over.
    fn next(&mut self, tried: &[Tried]) -> Option<Point> {
        let is_exhausted = count(self.space).is_some_and(|count| self.seen.len() as u64 >= count);
        if self.given == self.trials_max || is_exhausted {
            return None;
        }
        self.given += 1;
        let drawn =
            (0..ATTEMPTS).map(|attempt| self.draw(attempt, tried)).find(|point| !self.seen.contains(&key(point)));
        // Of as many points as have been given, and one more, one has not.
        let numbered = || (0..).map_while(|number| numbered(self.space, number)).take(self.seen.len() + 1);
        let point = drawn.or_else(|| numbered().find(|point| !self.seen.contains(&key(point))))?;
        self.seen.insert(key(&point));
        Some(point)
    }

    fn draw(&self, attempt: u64, tried: &[Tried]) -> Point {
        let number = self.given - 1;
        let mut random = Random::new(self.seed, number * ATTEMPTS + attempt);
        match self.algorithm {
            Algorithm::GridSearch if attempt == 0 => {
                numbered(self.space, number).unwrap_or_else(|| self.any(&mut random))
            }
            Algorithm::Tpe if tried.len() as u64 >= FIRST_TRIALS.min(self.trials_max / 2).max(1) => {
                tpe::suggest(self.space, tried, &mut random)
            }
            _ => self.any(&mut random),
        }
    }

    /// Any point, of the branches in turn.
    fn any(&self, random: &mut Random) -> Point {
        let branch = ((self.given - 1) % self.space.len().max(1) as u64) as usize;
        let dimensions = self.space.get(branch).map_or(&[][..], |branch| &branch.dimensions);
        Point { branch, coordinates: dimensions.iter().map(|dimension| dimension.values.draw(random)).collect() }
    }
}

fn key(point: &Point) -> (usize, Vec<u64>) {
    (point.branch, point.coordinates.iter().map(|coordinate| coordinate.to_bits()).collect())
}

/// How many points there are; `None` where a range has numbers without end.
pub(crate) fn count(space: &[Branch]) -> Option<u64> {
    space.iter().map(branch_count).try_fold(0_u64, |sum, count| Some(sum.saturating_add(count?)))
}

fn branch_count(branch: &Branch) -> Option<u64> {
    let counts = branch.dimensions.iter().map(|dimension| dimension.values.count());
    counts.into_iter().try_fold(1_u64, |product, count| Some(product.saturating_mul(count?)))
}

/// The point with this number of a space that has so many: the last option changes first.
fn numbered(space: &[Branch], mut number: u64) -> Option<Point> {
    for (place, branch) in space.iter().enumerate() {
        let count = branch_count(branch)?;
        if number >= count {
            number -= count;
            continue;
        }
        let mut coordinates = Vec::with_capacity(branch.dimensions.len());
        for dimension in branch.dimensions.iter().rev() {
            let count = dimension.values.count()?;
            coordinates.push(dimension.values.numbered(number % count));
            number /= count;
        }
        coordinates.reverse();
        return Some(Point { branch: place, coordinates });
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::registry::OptionDoc;
    use crate::tuning::space::Dimension;

    /// A space of these options: their names, types and values.
    pub(in crate::tuning) fn space(options: &[(&'static str, &'static str, &str)]) -> Vec<Branch> {
        let dimension = |(name, data_type, value): &(&'static str, &'static str, &str)| {
            Dimension::parse(&OptionDoc::new(name, data_type, &"", ""), value).unwrap()
        };
        let dimensions = options.iter().map(dimension).collect();
        vec![Branch { model_type: "any", options: BTreeMap::new(), dimensions }]
    }

    fn texts(space: &[Branch], points: &[Point]) -> Vec<String> {
        let text = |point: &Point| {
            let dimensions = space[point.branch].dimensions.iter().zip(&point.coordinates);
            dimensions.map(|(dimension, coordinate)| dimension.text(*coordinate)).collect::<Vec<_>>().join(" ")
        };
        points.iter().map(text).collect()
    }

    #[test]
    fn a_grid_is_walked_in_order_and_ends() {
        let space = space(&[("a", "words", "HPARAM_CANDIDATES([x, y])"), ("b", "integer", "HPARAM_RANGE(3, 5)")]);
        assert_eq!(count(&space), Some(6));
        let mut search = Search::new(&space, Algorithm::GridSearch, 100, 7);
        let points = search.round(4, &[]);
        assert_eq!(texts(&space, &points), ["x 3", "x 4", "x 5", "y 3"]);
        assert_eq!(texts(&space, &search.round(4, &[])), ["y 4", "y 5"]);
        assert!(search.round(4, &[]).is_empty());
    }

    #[test]
    fn no_point_is_tried_twice() {
        let space = space(&[("a", "words", "HPARAM_CANDIDATES([x, y])"), ("b", "integer", "HPARAM_RANGE(1, 20)")]);
        for algorithm in [Algorithm::RandomSearch, Algorithm::Tpe, Algorithm::SuccessiveHalving] {
            let mut search = Search::new(&space, algorithm, 100, 3);
            let mut tried: Vec<Tried> = Vec::new();
            loop {
                let points = search.round(3, &tried);
                if points.is_empty() {
                    break;
                }
                let loss = |point: &Point| point.coordinates[1];
                tried.extend(points.into_iter().map(|point| Tried { loss: loss(&point), point }));
            }
            let points: Vec<_> = tried.into_iter().map(|tried| tried.point).collect();
            let all: BTreeSet<String> = texts(&space, &points).into_iter().collect();
            assert_eq!((all.len(), points.len()), (40, 40), "{algorithm:?}");
        }
    }

    #[test]
    fn random_points_do_not_depend_on_the_rounds() {
        let space = space(&[("l2_reg", "number", "HPARAM_RANGE(0.1, 10)")]);
        let points = |rounds: &[usize], seed| {
            let mut search = Search::new(&space, Algorithm::RandomSearch, 12, seed);
            rounds.iter().flat_map(|length| search.round(*length, &[])).collect::<Vec<_>>()
        };
        assert_eq!(points(&[12], 1), points(&[1, 5, 5, 5], 1));
        assert_eq!(points(&[20], 1).len(), 12);
        assert_ne!(points(&[12], 1), points(&[12], 2));
    }
}
