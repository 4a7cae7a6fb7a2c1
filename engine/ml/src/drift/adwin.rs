//! ADWIN, an adaptive window (Bifet and Gavaldà 2007, "Learning from time-changing data with adaptive windowing").
//!
//! The window holds the latest numbers of a stream, as many as go together: wherever it can be cut into an older and a
//! newer part whose means differ by more than chance explains, the oldest numbers are dropped. So its mean follows the
//! stream, fast after a change and exactly while there is none.
//!
//! Numbers are not kept. Buckets of 1, 2, 4, … of them have their sum and spread, at most [`BUCKETS`] of each size, so a
//! window of `W` numbers takes `5 log₂(W / 5)` buckets; it is cut between buckets only.

use std::collections::VecDeque;

use bincode::{Decode, Encode};
use tidemill_compute::kernel::softmax::ln;

use crate::snapshot::STATE_MAGNITUDE_MAX;

/// `M`: buckets of one size; one more, and the two oldest become one of twice the size. The paper's.
const BUCKETS: usize = 5;

/// Numbers between two looks for a cut, as in MOA and River: each look costs as much as there are buckets.
const CLOCK: u64 = 32;

/// No cut is made in a window of no more numbers than this, nor into a part of fewer than `PART_MIN`.
const WINDOW_MIN: u64 = 10;
const PART_MIN: u64 = 5;

/// Sizes of buckets in a snapshot: more numbers than there are.
const SIZES_MAX: usize = 64;

/// What is known of a bucket's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
struct Bucket {
    sum: f64,
    /// The sum of squared differences from the mean.
    squares: f64,
}

/// What [`Adwin::add`] has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The window is as it was, but for the number.
    None,
    /// Its oldest numbers did not fit the later ones, and are dropped.
    Dropped,
}

/// An adaptive window; see the [module](self).
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct Adwin {
    /// `δ`: the probability that a cut is made though nothing has changed.
    delta: f64,
    /// The buckets of 1, 2, 4, … numbers, of each size the oldest first.
    sizes: Vec<VecDeque<Bucket>>,
    /// Numbers in the window.
    width: u64,
    whole: Bucket,
    /// Numbers taken so far.
    taken: u64,
}

impl Adwin {
    /// An empty window.
    pub(crate) fn new(delta: f64) -> Self {
        Self { delta, sizes: Vec::new(), width: 0, whole: Bucket { sum: 0.0, squares: 0.0 }, taken: 0 }
    }

    /// Numbers in the window.
    pub(crate) fn width(&self) -> u64 {
        self.width
    }

    /// The mean of the window; 0 of none.
    pub(crate) fn mean(&self) -> f64 {
        if self.width == 0 { 0.0 } else { self.whole.sum / self.width as f64 }
    }

    /// Bytes that this holds, beside itself.
    pub(crate) fn bytes(&self) -> usize {
        self.sizes.len() * (size_of::<VecDeque<Bucket>>() + (BUCKETS + 1) * size_of::<Bucket>())
    }

    /// Takes the next number of the stream, of a magnitude up to `1e50`.
    pub(crate) fn add(&mut self, value: f64) -> Change {
        let own = Bucket { sum: value, squares: 0.0 };
        self.whole = joined((self.width, self.whole), (1, own));
        self.width = self.width.saturating_add(1);
        self.taken = self.taken.saturating_add(1);
        self.push(own);
        if self.taken.is_multiple_of(CLOCK) && self.width > WINDOW_MIN { self.cut() } else { Change::None }
    }

    /// Adds a bucket of one number, and joins the oldest two of each size that has too many.
    fn push(&mut self, mut bucket: Bucket) {
        for size in 0..=self.sizes.len() {
            if size == self.sizes.len() {
                self.sizes.push(VecDeque::with_capacity(BUCKETS + 1));
            }
            let buckets = &mut self.sizes[size];
            buckets.push_back(bucket);
            if buckets.len() <= BUCKETS {
                return;
            }
            let numbers = numbers_of(size);
            match (buckets.pop_front(), buckets.pop_front()) {
                (Some(older), Some(newer)) => bucket = joined((numbers, older), (numbers, newer)),
                _ => return,
            }
        }
    }

    /// Drops the oldest buckets until the window cannot be cut any more.
    fn cut(&mut self) -> Change {
        let mut change = Change::None;
        while self.can_be_cut() {
            self.drop_oldest();
            change = Change::Dropped;
        }
        change
    }

    /// Whether some border between buckets has means on its sides that differ too much.
    fn can_be_cut(&self) -> bool {
        let (mut older, mut older_sum) = (0, 0.0);
        for (size, buckets) in self.sizes.iter().enumerate().rev() {
            for bucket in buckets {
                older += numbers_of(size);
                older_sum += bucket.sum;
                let newer = self.width.saturating_sub(older);
                if older >= PART_MIN && newer >= PART_MIN {
                    let difference = older_sum / older as f64 - (self.whole.sum - older_sum) / newer as f64;
                    if difference.abs() > self.bound(older, newer) {
                        return true;
                    }
                }
            }
        }
        false
    }

    /// By how much the means of so many older and so many newer numbers may differ: `√(2/m σ² ln(2/δ')) + 2/(3m) ln(2/δ')`
    /// with the window's variance `σ²` and `δ' = δ / ln W` (section 3.2). `1/m` is the sum of the parts' inverses, less
    /// the fewest numbers that a part has, so that small parts must differ by more.
    fn bound(&self, older: u64, newer: u64) -> f64 {
        let width = self.width as f64;
        let inverse = |part: u64| 1.0 / (part - PART_MIN + 1) as f64;
        let per_m = inverse(older) + inverse(newer);
        let confidence = ln(2.0 * ln(width) / self.delta);
        (2.0 * per_m * self.whole.squares / width * confidence).sqrt() + 2.0 / 3.0 * confidence * per_m
    }

    fn drop_oldest(&mut self) {
        let size = self.sizes.len().saturating_sub(1);
        let Some(bucket) = self.sizes.last_mut().and_then(VecDeque::pop_front) else { return };
        let numbers = numbers_of(size);
        self.width = self.width.saturating_sub(numbers);
        self.whole.sum -= bucket.sum;
        if self.width == 0 {
            self.whole = Bucket { sum: 0.0, squares: 0.0 };
        } else {
            // What was added when the bucket's numbers came; rounding must not lead below 0.
            let between = between((numbers, bucket), (self.width, self.whole));
            self.whole.squares = (self.whole.squares - bucket.squares - between).max(0.0);
        }
        while self.sizes.last().is_some_and(VecDeque::is_empty) {
            self.sizes.pop();
        }
    }

    /// Whether a stream of so many numbers from 0 to 1 could have led here, with this `δ`.
    pub(crate) fn is_plausible(&self, delta: f64, numbers: u64) -> bool {
        let fits = |(size, buckets): (usize, &VecDeque<Bucket>)| {
            let most = numbers_of(size) as f64;
            let is_bucket = |bucket: &Bucket| {
                (0.0..=most).contains(&bucket.sum) && (0.0..=STATE_MAGNITUDE_MAX).contains(&bucket.squares)
            };
            buckets.len() <= BUCKETS && buckets.iter().all(is_bucket)
        };
        let of_size = |(size, buckets): (usize, &VecDeque<Bucket>)| numbers_of(size).checked_mul(buckets.len() as u64);
        self.delta == delta
            && self.sizes.len() < SIZES_MAX
            && self.sizes.last().is_none_or(|buckets| !buckets.is_empty())
            && self.sizes.iter().enumerate().all(fits)
            && self.sizes.iter().enumerate().map(of_size).try_fold(0_u64, |sum, own| sum.checked_add(own?))
                == Some(self.width)
            && self.width <= self.taken
            && self.taken <= numbers
            // What was dropped again leaves rounding behind.
            && (-1e-3..=self.width as f64 + 1e-3).contains(&self.whole.sum)
            && (0.0..=STATE_MAGNITUDE_MAX).contains(&self.whole.squares)
    }
}

/// Numbers in a bucket of the size at this place.
fn numbers_of(size: usize) -> u64 {
    1 << size
}

/// What is known of the numbers of both.
fn joined(left: (u64, Bucket), right: (u64, Bucket)) -> Bucket {
    let squares = if left.0 == 0 { 0.0 } else { between(left, right) };
    Bucket { sum: left.1.sum + right.1.sum, squares: left.1.squares + right.1.squares + squares }
}

/// What the means of two parts, each with its numbers, add to the squared differences from the mean of both (Chan, Golub
/// and LeVeque 1979).
fn between(left: (u64, Bucket), right: (u64, Bucket)) -> f64 {
    let (numbers, others) = (left.0 as f64, right.0 as f64);
    let difference = left.1.sum / numbers - right.1.sum / others;
    difference * difference * numbers * others / (numbers + others)
}

#[cfg(test)]
mod tests {
    use super::{Adwin, Change};
    use crate::batch::throughput::noise;
    use crate::goldens::{assert_all_close, expected};

    /// The streams of `numbers` in `goldens/online_trees.py`.
    fn number(case: &str, row: usize) -> f64 {
        let u = (noise(row, 7) + 1.0) / 2.0;
        match case {
            "errors" => f64::from(u8::from(u < [0.1, 0.3, 0.2, 0.6][row / 1500 % 4])),
            "jumps" => noise(row, 8) + [0.0, 0.5, 3.0][row / 1000 % 3],
            "creeps" => noise(row, 9) + row.saturating_sub(1000) as f64 / 1000.0,
            _ => u,
        }
    }

    #[test]
    fn changes_are_found_where_river_finds_them() {
        for case in ["errors", "jumps", "creeps", "stays"] {
            let mut window = Adwin::new(0.002);
            let found = (0..6000).filter(|row| window.add(number(case, *row)) == Change::Dropped);
            let found: Vec<f64> = found.map(|row| row as f64).collect();
            assert_eq!(found, expected(&format!("adwin_{case}"), "detections")[1..], "{case}");
            let [width, total, squares] = expected(&format!("adwin_{case}"), "window")[..] else { unreachable!() };
            assert_eq!(window.width() as f64, width, "{case}");
            assert_all_close(&[window.mean(), window.whole.squares], &[total / width, squares], 1e-6);
        }
    }

    #[test]
    fn a_window_grows_while_nothing_changes_and_shrinks_when_it_does() {
        let mut window = Adwin::new(0.002);
        let mut bytes = 0;
        for row in 0..100_000 {
            assert_eq!(window.add(f64::from(u8::from(row % 4 == 0))), Change::None);
            bytes = bytes.max(window.bytes());
        }
        assert_eq!((window.width(), window.mean()), (100_000, 0.25));
        assert!(bytes < 3000, "{bytes}");
        let change = (0..1000).position(|_| window.add(1.0) == Change::Dropped).unwrap();
        assert!(change < 200, "{change}");
        for _ in 0..5000 {
            window.add(1.0);
        }
        assert!(window.width() < 7000 && window.mean() > 0.9, "{window:?}");
        assert!(window.is_plausible(0.002, 200_000) && !window.is_plausible(0.002, 100));
        assert_eq!(Adwin::new(0.002).mean(), 0.0);
    }
}
