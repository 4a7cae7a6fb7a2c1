//! The nearest stored rows of some rows, found by looking at all of them.
//!
//! Every distance is a sum over features from the first to the last, of differences and not of products of the rows
//! with themselves and each other (`|a|² + |b|² - 2ab`): that would take one operation less of three, and cancel the
//! digits by which near rows differ. Stored rows come in stretches that stay in the nearest cache while all asked rows
//! are compared with them.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::config::Distance;
use super::rows::{End, LANES, Lane, Rows};

/// Bytes of stored rows that are compared with all asked rows before the next are.
const STRETCH_BYTES: usize = 16 << 10;

/// A stored row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Neighbor {
    pub(super) distance: f64,
    pub(super) row: u32,
}

/// The instructions that compare rows. A sum adds the same numbers in the same order with any of them, and no
/// multiplication is fused with an addition: the bits are the same.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Instructions {
    /// Those that every processor has.
    Any,
    /// Four numbers at a time.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Instructions {
    /// The fastest that this processor has.
    fn fastest() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            return Self::Avx2;
        }
        Self::Any
    }
}

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
        // Nothing is near enough to the lanes that no row fills.
        let mut nearest: Vec<Lane<Nearest>> = (0..asked.groups())
            .map(|group| std::array::from_fn(|lane| Nearest::new(count, group * LANES + lane < asked.rows())))
            .collect();
        let stretch = (STRETCH_BYTES / stored.group_bytes()).max(1);
        let mut distances = [[0.0; LANES]; LANES];
        for first in (0..stored.groups()).step_by(stretch) {
            let groups = first..(first + stretch).min(stored.groups());
            for (asked_group, nearest) in nearest.iter_mut().enumerate() {
                for group in groups.clone() {
                    self.compare(group, asked_group, term, distance, &mut distances);
                    for lane in 0..LANES {
                        let (nearest, distances) = (&mut nearest[lane], &distances[lane]);
                        // Few groups hold a near row: all at once are told apart from those that do.
                        if distances.iter().fold(false, |any, distance| any | (*distance < nearest.farthest)) {
                            nearest.offer(group, distances, stored.rows());
                        }
                    }
                }
            }
        }
        nearest.into_iter().flatten().take(asked.rows()).map(Nearest::into_sorted).collect()
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
        match self.by {
            Instructions::Any => sums_any(stored.numbers, asked.numbers, term, distances),
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "the compiler cannot know what the processor has")]
            // SAFETY: `Instructions::fastest` makes `Avx2` only where the processor has these instructions.
            Instructions::Avx2 => unsafe { sums_avx2(stored.numbers, asked.numbers, term, distances) },
        }
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

/// Not inlined, so that the sums are written next to each other: that has the compiler keep them in vector registers.
#[inline(never)]
fn sums_any(stored: &[Lane<f64>], asked: &[Lane<f64>], term: impl Fn(f64, f64) -> f64, sums: &mut Lane<Lane<f64>>) {
    *sums = sums_of(stored, asked, term);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sums_avx2(stored: &[Lane<f64>], asked: &[Lane<f64>], term: impl Fn(f64, f64) -> f64, sums: &mut Lane<Lane<f64>>) {
    *sums = sums_of(stored, asked, term);
}

/// For each asked row the sums of `term` over the numbers, with each stored row.
#[inline(always)]
fn sums_of(stored: &[Lane<f64>], asked: &[Lane<f64>], term: impl Fn(f64, f64) -> f64) -> Lane<Lane<f64>> {
    let count = stored.len().min(asked.len());
    let (stored, asked) = (&stored[..count], &asked[..count]);
    let mut sums = [[0.0; LANES]; LANES];
    for place in 0..count {
        let (stored, asked) = (&stored[place], &asked[place]);
        for lane in 0..LANES {
            for other in 0..LANES {
                sums[lane][other] += term(asked[lane], stored[other]);
            }
        }
    }
    sums
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

/// The nearest rows of one asked row by now.
struct Nearest {
    count: usize,
    /// The farthest on top.
    heap: BinaryHeap<Neighbor>,
    /// What a row must be nearer than to be one of them.
    farthest: f64,
}

impl Nearest {
    fn new(count: usize, is_asked: bool) -> Self {
        let farthest = if is_asked { f64::INFINITY } else { f64::NEG_INFINITY };
        Self { count, heap: BinaryHeap::new(), farthest }
    }

    /// Takes those rows of a group that are near enough. Rows come in their order, so that a later one at the
    /// distance of the farthest is not.
    #[cold]
    fn offer(&mut self, group: usize, distances: &Lane<f64>, rows: usize) {
        for (row, distance) in (group * LANES..rows).zip(distances) {
            if *distance < self.farthest {
                self.heap.push(Neighbor { distance: *distance, row: row as u32 });
                if self.heap.len() > self.count {
                    self.heap.pop();
                }
                if let Some(farthest) = self.heap.peek().filter(|_| self.heap.len() == self.count) {
                    self.farthest = farthest.distance;
                }
            }
        }
    }

    fn into_sorted(self) -> Vec<Neighbor> {
        self.heap.into_sorted_vec()
    }
}

impl Eq for Neighbor {}

impl PartialOrd for Neighbor {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Neighbor {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then(self.row.cmp(&other.row))
    }
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
            let any = nearest_by(Instructions::Any, &stored, &asked, 9);
            assert_eq!(nearest_by(Instructions::fastest(), &stored, &asked, 9), any);
            assert_eq!(any[30][0].row, 30);
        }
    }
}
