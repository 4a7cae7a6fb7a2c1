//! Gradients summed up by bins: what splits are chosen by.
//!
//! Gradients are whole numbers of a small unit. So sums have no rounding: they are the same whatever the order of rows and
//! the number of threads, and the histogram of one child is exactly that of its parent less the other's.

use std::ops::{Add, AddAssign, SubAssign};

use super::bins::{BINS_MAX, BLOCK, BinnedRows};
use crate::batch::parallel::{owned_in_parallel, stretch, stretches, worthwhile};

/// Units of the largest gradient: 2^32 rows of it fit into 62 bits.
const UNITS: f64 = (1_u64 << 30) as f64;

/// Rows whose bins stay in a cache while one block of features after the other takes them.
const ROWS_AT_ONCE: usize = 512;

/// Rows whose bins are fetched before the first is added: a processor waits for many places in memory at once, but does not
/// look ahead past the sums of many rows.
const ROWS_AHEAD: usize = 32;

/// What it takes to fetch a row; each of its bins takes a nanosecond more.
const NANOSECONDS_A_ROW: usize = 10;

/// The first and second derivative of the loss of a row by its score.
pub(super) type Gradient = [i32; 2];

/// What a unit of either derivative is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Units {
    pub(super) first: f64,
    pub(super) second: f64,
}

impl Units {
    /// For derivatives whose magnitudes are at most these.
    pub(super) fn up_to(first: f64, second: f64) -> Self {
        let unit = |largest: f64| if largest > 0.0 { largest / UNITS } else { 1.0 };
        Self { first: unit(first), second: unit(second) }
    }

    pub(super) fn gradient(&self, first: f64, second: f64) -> Gradient {
        // The nearest whole number; a function of the C library would be called for `round`.
        let whole = |units: f64| (units + 0.5_f64.copysign(units)) as i32;
        [whole(first / self.first), whole(second / self.second)]
    }
}

/// The sums of rows' derivatives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) first: i64,
    pub(super) second: i64,
}

impl Sum {
    fn take(&mut self, [first, second]: Gradient) {
        self.first += i64::from(first);
        self.second += i64::from(second);
    }
}

impl Add for Sum {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.first += other.first;
        self.second += other.second;
    }
}

impl SubAssign for Sum {
    fn sub_assign(&mut self, other: Self) {
        self.first -= other.first;
        self.second -= other.second;
    }
}

pub(super) type OfFeature = [Sum; BINS_MAX];

/// The sums of some rows, for each bin of each feature.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Histogram {
    /// Whole blocks of features, of which the last may have fewer.
    pub(super) features: Vec<OfFeature>,
}

impl Histogram {
    fn empty(binned: &BinnedRows) -> Self {
        Self { features: vec![[Sum::default(); BINS_MAX]; binned.blocks * BLOCK] }
    }

    fn cleared(mut self) -> Self {
        self.features.fill([Sum::default(); BINS_MAX]);
        self
    }

    fn add(&mut self, binned: &BinnedRows, rows: &[u32], gradients: &[Gradient]) {
        let (features, _) = self.features.as_chunks_mut::<BLOCK>();
        let mut ahead = [[0; 2]; ROWS_AT_ONCE];
        for rows in rows.chunks(ROWS_AT_ONCE) {
            ahead.iter_mut().zip(rows).for_each(|(own, row)| *own = gradients[*row as usize]);
            let gradients = &ahead[..rows.len()];
            for (block, sums) in features.iter_mut().enumerate() {
                let rows = Rows { bins: &binned.bins, blocks: binned.blocks, block, rows, gradients };
                match (binned.features.len() - block * BLOCK).min(BLOCK) {
                    1 => rows.add_to::<1>(sums),
                    2 => rows.add_to::<2>(sums),
                    3 => rows.add_to::<3>(sums),
                    4 => rows.add_to::<4>(sums),
                    5 => rows.add_to::<5>(sums),
                    6 => rows.add_to::<6>(sums),
                    7 => rows.add_to::<7>(sums),
                    _ => rows.add_to::<BLOCK>(sums),
                }
            }
        }
    }

    /// Adds the sums of other rows.
    pub(super) fn add_all(&mut self, others: &Self) {
        for (own, others) in self.features.iter_mut().zip(&others.features) {
            own.iter_mut().zip(others).for_each(|(own, other)| *own += *other);
        }
    }

    /// The sum of all rows, which any feature has; of no feature it is 0.
    pub(super) fn sum(&self) -> Sum {
        self.features.first().into_iter().flatten().fold(Sum::default(), |all, bin| all + *bin)
    }
}

/// Makes histograms, in the memory of those that are no longer needed: its pages are there already.
#[derive(Debug, Default)]
pub(super) struct Histograms {
    spare: Vec<Histogram>,
}

impl Histograms {
    /// That of these rows, given the gradients of all, less those that are in others: of each more thread one.
    pub(super) fn of(
        &mut self,
        binned: &BinnedRows,
        rows: &[u32],
        gradients: &[Gradient],
        threads: usize,
    ) -> (Histogram, Vec<Histogram>) {
        let threads = worthwhile(threads, rows.len() * (binned.features.len() + NANOSECONDS_A_ROW));
        let parts = stretches(rows, threads).into_iter().map(|rows| (rows, self.spare.pop()));
        let parts = owned_in_parallel(parts, |(rows, spare)| {
            let mut own = spare.map_or_else(|| Histogram::empty(binned), Histogram::cleared);
            own.add(binned, rows, gradients);
            own
        });
        let mut parts = parts.into_iter();
        (parts.next().unwrap_or_else(|| Histogram::empty(binned)), parts.collect())
    }

    /// Takes some back.
    pub(super) fn free(&mut self, histograms: impl IntoIterator<Item = Histogram>) {
        self.spare.extend(histograms);
    }
}

/// Of a leaf that was split.
pub(super) struct Siblings<'a> {
    /// That of the child with fewer rows, less those that are in `stretches`.
    pub(super) small: &'a mut Histogram,
    pub(super) stretches: &'a [Histogram],
    /// That of all rows, which becomes that of the other child. A root has none.
    pub(super) large: Option<&'a mut Histogram>,
}

impl<'a> Siblings<'a> {
    /// Cuts them by features, into a part for each of so many threads at most.
    pub(super) fn cut(self, threads: usize) -> impl Iterator<Item = SomeFeatures<'a>> {
        let Self { small, stretches, large } = self;
        let length = stretch(small.features.len(), threads);
        let mut large = large.map(|large| large.features.chunks_mut(length));
        small.features.chunks_mut(length).enumerate().map(move |(place, small)| {
            let first = place * length;
            let features = first..first + small.len();
            let stretches = stretches.iter().map(|stretch| &stretch.features[features.clone()]).collect();
            SomeFeatures { first, small, stretches, large: large.as_mut().and_then(Iterator::next) }
        })
    }
}

/// As [`Siblings`], but of some features.
pub(super) struct SomeFeatures<'a> {
    /// The first of them.
    pub(super) first: usize,
    pub(super) small: &'a mut [OfFeature],
    stretches: Vec<&'a [OfFeature]>,
    pub(super) large: Option<&'a mut [OfFeature]>,
}

impl SomeFeatures<'_> {
    /// Makes one feature's histogram of each child what it is to be, given how many bins the feature has.
    pub(super) fn settle(&mut self, feature: usize, bins: usize) {
        let place = feature - self.first;
        let small = &mut self.small[place][..bins];
        for stretch in &self.stretches {
            small.iter_mut().zip(&stretch[place]).for_each(|(own, others)| *own += *others);
        }
        if let Some(large) = &mut self.large {
            large[place].iter_mut().zip(&*small).for_each(|(all, own)| *all -= *own);
        }
    }
}

/// Some rows, of which a block of features takes the bins.
struct Rows<'a> {
    bins: &'a [[u8; BLOCK]],
    blocks: usize,
    block: usize,
    rows: &'a [u32],
    gradients: &'a [Gradient],
}

impl Rows<'_> {
    /// Adds them to the sums of the first `WIDTH` features of the block.
    fn add_to<const WIDTH: usize>(&self, sums: &mut [OfFeature; BLOCK]) {
        let mut ahead = [[0; BLOCK]; ROWS_AHEAD];
        for (rows, gradients) in self.rows.chunks(ROWS_AHEAD).zip(self.gradients.chunks(ROWS_AHEAD)) {
            for (bins, row) in ahead.iter_mut().zip(rows) {
                *bins = self.bins[*row as usize * self.blocks + self.block];
            }
            for (bins, gradient) in ahead.iter().zip(gradients) {
                for feature in 0..WIDTH {
                    sums[feature][usize::from(bins[feature])].take(*gradient);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_child_is_the_parent_less_the_other() {
        let rows = 100_000_u32;
        let bins = |row: u32| std::array::from_fn(|feature| (row.wrapping_mul(2_654_435_761) >> (feature + 8)) as u8);
        let bins = (0..rows).flat_map(|row| [bins(row), bins(row ^ 1)]).collect();
        let feature = super::super::bins::FeatureBins::Numeric { uppers: vec![f64::INFINITY], has_missing: false };
        let binned = BinnedRows { features: vec![feature; 11], bins, blocks: 2, columns: Vec::new() };
        let gradient = |row: u32| [row as i32 * 7 % 1001 - 500, row as i32 % 13];
        let gradients: Vec<Gradient> = (0..rows).map(gradient).collect();
        let mut histograms = Histograms::default();
        let mut of = |rows: &[u32], threads| histograms.of(&binned, rows, &gradients, threads);
        let all: Vec<u32> = (0..rows).collect();
        let (left, right): (Vec<u32>, Vec<u32>) = all.iter().partition(|row| *row % 3 == 0);
        for threads in 1..=4 {
            let ((mut parent, of_all), (mut small, of_left)) = (of(&all, threads), of(&left, threads));
            assert_eq!((of_all.len(), of_left.len()), (threads - 1, threads - 1));
            settle(Siblings { small: &mut parent, stretches: &of_all, large: None }, threads);
            assert_eq!(parent, of(&all, 1).0);
            settle(Siblings { small: &mut small, stretches: &of_left, large: Some(&mut parent) }, 5 - threads);
            assert_eq!((&parent, &small), (&of(&right, 1).0, &of(&left, 1).0));
            let sum = right.iter().fold(Sum::default(), |mut all, row| {
                all.take(gradient(*row));
                all
            });
            let of_feature =
                |feature: usize| parent.features[feature].iter().fold(Sum::default(), |all, bin| all + *bin);
            assert!((0..11).all(|feature| of_feature(feature) == sum) && parent.sum() == sum);
            assert_eq!(parent.features[12], [Sum::default(); BINS_MAX]);
        }
    }

    /// Settles all eleven features.
    fn settle(siblings: Siblings<'_>, threads: usize) {
        for mut some in siblings.cut(threads) {
            let end = some.first + some.small.len();
            (some.first..end.min(11)).for_each(|feature| some.settle(feature, BINS_MAX));
        }
    }

    #[test]
    fn memory_is_used_again_and_says_nothing_of_before() {
        let feature = super::super::bins::FeatureBins::Numeric { uppers: vec![f64::INFINITY], has_missing: false };
        let bins = (0..9).map(|row| [row; BLOCK]).collect();
        let binned = BinnedRows { features: vec![feature; 8], bins, blocks: 1, columns: Vec::new() };
        let (mut histograms, gradients) = (Histograms::default(), [[1, 2]; 9]);
        let first = histograms.of(&binned, &[1, 2, 3], &gradients, 1).0;
        let place = first.features.as_ptr();
        histograms.free([first]);
        let second = histograms.of(&binned, &[4], &gradients, 1).0;
        assert_eq!((second.features.as_ptr(), second.sum()), (place, Sum { first: 1, second: 2 }));
        assert_eq!(histograms.of(&binned, &[], &gradients, 1).0.sum(), Sum::default());
    }

    #[test]
    fn gradients_are_whole_numbers_of_their_unit() {
        let units = Units::up_to(2.0, 0.25);
        assert_eq!(units.gradient(-2.0, 0.25), [-(1 << 30), 1 << 30]);
        assert_eq!(Units::up_to(0.0, 0.0).gradient(0.0, 0.0), [0, 0]);
    }
}
