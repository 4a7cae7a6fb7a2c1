//! The nearest stored rows of some rows, found by looking at all of them.
//!
//! Every distance is a sum over features from the first to the last, of differences and not of products of the rows
//! with themselves and each other (`|a|² + |b|² - 2ab`): that would take one operation less of three, and cancel the
//! digits by which near rows differ. Stored rows come in stretches that stay in the nearest cache while all asked rows
//! are compared with them.

use tidemill_compute::kernel::lanes::{Instructions, LANES, Lane};
use tidemill_compute::kernel::nearest::Nearest;
pub(super) use tidemill_compute::kernel::nearest::Neighbor;

use super::config::Distance;
use super::rows::{End, Rows};

/// Bytes of stored rows that are compared with all asked rows before the next are.
const STRETCH_BYTES: usize = 16 << 10;

/// The nearest `count` rows of each asked row, the nearest first; of rows at the same distance, the earlier one.
pub(super) fn nearest(stored: &Rows, asked: &Rows, count: usize) -> Vec<Vec<Neighbor>> {
    nearest_by(Instructions::fastest(), stored, asked, count)
}

fn nearest_by(by: Instructions, stored: &Rows, asked: &Rows, count: usize) -> Vec<Vec<Neighbor>> {
    let scan = Scan { by, stored, asked, count };
    let (mut found, finish): (_, fn(f64) -> f64) = match stored.distance() {
        Distance::Euclidean => (scan.run(|a, b| (a - b) * (a - b), apart), f64::sqrt),
        Distance::Manhattan => (scan.run(|a, b| (a - b).abs(), apart), |sum| sum),
        Distance::Cosine => (scan.run(|a, b| a * b, angle), |cosine| cosine),
    };
    found.iter_mut().flatten().for_each(|neighbor| neighbor.distance = finish(neighbor.distance));
    found
}

/// Numbers' differences and two for each category that is not the same, but one where the asked row's was never seen.
fn apart(sum: f64, same: f64, asked: &End, _: &End) -> f64 {
    sum + (asked.categories_apart - 2.0 * same)
}

/// One minus the cosine, given the product of the numbers; rounding leads a little beyond what there is.
fn angle(product: f64, same: f64, asked: &End, stored: &End) -> f64 {
    (1.0 - (product + same * (asked.per_length * stored.per_length))).clamp(0.0, 2.0)
}

#[derive(Clone, Copy)]
struct Scan<'a> {
    by: Instructions,
    stored: &'a Rows,
    asked: &'a Rows,
    count: usize,
}

impl Scan<'_> {
    /// The nearest rows by a sum of `term` over the numbers, of which and of the number of categories that are the
    /// same `distance` makes one.
    fn run(
        self,
        term: impl Fn(f64, f64) -> f64 + Copy,
        distance: impl Fn(f64, f64, &End, &End) -> f64 + Copy,
    ) -> Vec<Vec<Neighbor>> {
        let Self { stored, asked, count, .. } = self;
        let mut nearest: Vec<Nearest> = (0..asked.rows()).map(|_| Nearest::new(count)).collect();
        let stretch = (STRETCH_BYTES / stored.group_bytes()).max(1);
        let mut distances = [[0.0; LANES]; LANES];
        for first in (0..stored.groups()).step_by(stretch) {
            let groups = first..(first + stretch).min(stored.groups());
            // The last group has lanes that no row fills, and that nothing is offered to.
            for (asked_group, nearest) in nearest.chunks_mut(LANES).enumerate() {
                for group in groups.clone() {
                    self.compare(group, asked_group, term, distance, &mut distances);
                    for (nearest, distances) in nearest.iter_mut().zip(&distances) {
                        nearest.offer(group * LANES, distances, stored.rows());
                    }
                }
            }
        }
        nearest.into_iter().map(Nearest::into_sorted).collect()
    }

    /// The distances of each row of an asked group from each row of a stored one.
    #[inline]
    fn compare(
        &self,
        group: usize,
        asked_group: usize,
        term: impl Fn(f64, f64) -> f64,
        distance: impl Fn(f64, f64, &End, &End) -> f64,
        distances: &mut Lane<Lane<f64>>,
    ) {
        let (stored, asked) = (self.stored.group(group), self.asked.group(asked_group));
        self.by.sums(stored.numbers, asked.numbers, term, distances);
        let same = same(stored.categories, asked.categories);
        // By places and not by `zip`, which is called for each group where it is not inlined.
        for lane in 0..LANES {
            for other in 0..LANES {
                let (sum, same) = (distances[lane][other], same[lane][other]);
                distances[lane][other] = distance(sum, same, &asked.ends[lane], &stored.ends[other]);
            }
        }
    }
}

/// For each asked row the number of categories that are the same in each stored row.
#[inline]
fn same(stored: &[Lane<u32>], asked: &[Lane<u32>]) -> Lane<Lane<f64>> {
    let count = stored.len().min(asked.len());
    let (stored, asked) = (&stored[..count], &asked[..count]);
    let mut same = [[0.0; LANES]; LANES];
    for place in 0..count {
        let (stored, asked) = (&stored[place], &asked[place]);
        for lane in 0..LANES {
            for other in 0..LANES {
                same[lane][other] += f64::from(u8::from(asked[lane] == stored[other]));
            }
        }
    }
    same
}

#[cfg(test)]
mod tests {
    use super::{Distance, Instructions, Rows, nearest_by};

    /// Rows of numbers that all sums round, and of categories.
    fn rows(distance: Distance, count: u32) -> Rows {
        let mut rows = Rows::new(distance, 7, 2);
        for row in 0..count {
            let numbers: [f64; 7] = std::array::from_fn(|column| f64::from(row * 37 % 101 + column as u32) / 7.0);
            rows.push(&numbers, &[8 + row % 3, 11 + row % 5]);
        }
        rows
    }

    #[test]
    fn the_bits_are_the_same_with_any_instructions() {
        for distance in [Distance::Euclidean, Distance::Manhattan, Distance::Cosine] {
            let (stored, asked) = (rows(distance, 203), rows(distance, 31));
            let any = nearest_by(Instructions::ANY, &stored, &asked, 9);
            assert_eq!(nearest_by(Instructions::fastest(), &stored, &asked, 9), any);
            assert_eq!(any[30][0].row, 30);
        }
    }
}
