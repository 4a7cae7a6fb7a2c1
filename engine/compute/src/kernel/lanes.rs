//! Sums over the numbers of two rows, for several rows at once that lie side by side.
//!
//! Four rows by four others are sixteen sums, which the registers of any machine hold, and each number that is loaded
//! is used four times. Every sum runs over the numbers from the first to the last, whatever the instructions: no
//! multiplication is fused with an addition, so the bits are the same on every machine.

/// Rows that lie side by side.
pub const LANES: usize = 4;

/// A value of each of the rows that lie side by side.
pub type Lane<T> = [T; LANES];

/// The instructions that compare rows. A sum adds the same numbers in the same order with any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instructions(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    /// Those that every processor has.
    Any,
    /// Four numbers at a time.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Instructions {
    /// Those that every processor has.
    pub const ANY: Self = Self(Set::Any);

    /// The fastest that this processor has.
    #[must_use]
    pub fn fastest() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            return Self(Set::Avx2);
        }
        Self::ANY
    }

    /// Runs `work` with these instructions: whatever is inlined into it, such as loops that the compiler turns into
    /// operations on vector registers. It must not be told to fuse operations, which no Rust compiler does by itself.
    #[inline]
    pub fn run<T>(self, work: impl FnOnce() -> T) -> T {
        match self.0 {
            Set::Any => work(),
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "the compiler cannot know what the processor has")]
            // SAFETY: as in `sums`.
            Set::Avx2 => unsafe { run_avx2(work) },
        }
    }

    /// For each asked row the sums of `term(asked, stored)` over the numbers, with each stored row. The longer rows are
    /// cut to the shorter.
    #[inline]
    pub fn sums(
        self,
        stored: &[Lane<f64>],
        asked: &[Lane<f64>],
        term: impl Fn(f64, f64) -> f64,
        sums: &mut Lane<Lane<f64>>,
    ) {
        match self.0 {
            Set::Any => sums_any(stored, asked, term, sums),
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "the compiler cannot know what the processor has")]
            // SAFETY: `fastest` alone makes `Avx2`, and only where the processor has these instructions.
            Set::Avx2 => unsafe { sums_avx2(stored, asked, term, sums) },
        }
    }

    /// Adds to `tile` the products of four rows of one matrix with eight columns of another: `left` has a number of
    /// each of the rows, `right` one of each of the columns, of every place that is summed over.
    #[inline]
    pub fn add_products(self, left: &[Lane<f64>], right: &[[f64; COLUMNS]], tile: &mut Lane<[f64; COLUMNS]>) {
        match self.0 {
            Set::Any => products_of(left, right, tile),
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "the compiler cannot know what the processor has")]
            // SAFETY: as in `sums`.
            Set::Avx2 => unsafe { products_avx2(left, right, tile) },
        }
    }
}

impl Instructions {
    /// Adds to `tile` the sums of `term(factor * number, column)` over the numbers of four rows, which have a factor each,
    /// with eight columns that lie side by side; such as products or distances of points and centroids. Rows that are longer
    /// than the columns are cut to them.
    ///
    /// # Panics
    /// If a row is shorter.
    #[inline]
    pub fn add_terms(
        self,
        rows: [&[f64]; LANES],
        factors: Lane<f64>,
        columns: &[[f64; COLUMNS]],
        term: impl Fn(f64, f64) -> f64,
        tile: &mut Lane<[f64; COLUMNS]>,
    ) {
        match self.0 {
            Set::Any => terms_any(rows, factors, columns, term, tile),
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "the compiler cannot know what the processor has")]
            // SAFETY: as in `sums`.
            Set::Avx2 => unsafe { terms_avx2(rows, factors, columns, term, tile) },
        }
    }
}

/// Not inlined, as [`sums_any`].
#[inline(never)]
fn terms_any(
    rows: [&[f64]; LANES],
    factors: Lane<f64>,
    columns: &[[f64; COLUMNS]],
    term: impl Fn(f64, f64) -> f64,
    tile: &mut Lane<[f64; COLUMNS]>,
) {
    terms_of(rows, factors, columns, term, tile);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline(never)]
fn terms_avx2(
    rows: [&[f64]; LANES],
    factors: Lane<f64>,
    columns: &[[f64; COLUMNS]],
    term: impl Fn(f64, f64) -> f64,
    tile: &mut Lane<[f64; COLUMNS]>,
) {
    terms_of(rows, factors, columns, term, tile);
}

#[inline(always)]
fn terms_of(
    rows: [&[f64]; LANES],
    factors: Lane<f64>,
    columns: &[[f64; COLUMNS]],
    term: impl Fn(f64, f64) -> f64,
    tile: &mut Lane<[f64; COLUMNS]>,
) {
    let [first, second, third, fourth] = rows;
    let count = columns.len();
    let (first, second, third, fourth) = (&first[..count], &second[..count], &third[..count], &fourth[..count]);
    // A row's sums apart from another's: together the compiler turns them over, to have the four rows side by side.
    let [mut a, mut b, mut c, mut d] = *tile;
    for place in 0..count {
        let column = &columns[place];
        add_term(&mut a, factors[0] * first[place], column, &term);
        add_term(&mut b, factors[1] * second[place], column, &term);
        add_term(&mut c, factors[2] * third[place], column, &term);
        add_term(&mut d, factors[3] * fourth[place], column, &term);
    }
    *tile = [a, b, c, d];
}

#[inline(always)]
fn add_term(sums: &mut [f64; COLUMNS], number: f64, column: &[f64; COLUMNS], term: impl Fn(f64, f64) -> f64) {
    for lane in 0..COLUMNS {
        sums[lane] += term(number, column[lane]);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn run_avx2<T>(work: impl FnOnce() -> T) -> T {
    work()
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

/// Columns of a product at once: with four rows 32 sums, eight of AVX2's sixteen registers.
pub const COLUMNS: usize = 8;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn products_avx2(left: &[Lane<f64>], right: &[[f64; COLUMNS]], tile: &mut Lane<[f64; COLUMNS]>) {
    products_of(left, right, tile);
}

#[inline(always)]
fn products_of(left: &[Lane<f64>], right: &[[f64; COLUMNS]], tile: &mut Lane<[f64; COLUMNS]>) {
    let mut sums = *tile;
    let count = left.len().min(right.len());
    let (left, right) = (&left[..count], &right[..count]);
    for place in 0..count {
        let (left, right) = (&left[place], &right[place]);
        for row in 0..LANES {
            for column in 0..COLUMNS {
                sums[row][column] += left[row] * right[column];
            }
        }
    }
    *tile = sums;
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, Instructions, LANES};

    #[test]
    fn terms_are_summed_up_in_order_with_any_instructions() {
        let number = |place: usize| ((place * 7919) % 1009) as f64 / 71.0 - 6.0;
        let columns: Vec<[f64; COLUMNS]> =
            (0..37).map(|place| std::array::from_fn(|lane| number(place * COLUMNS + lane))).collect();
        let rows: Vec<f64> = (0..LANES * 40).map(|place| number(place + 5000)).collect();
        let rows: [&[f64]; LANES] = std::array::from_fn(|row| &rows[row * 40..(row + 1) * 40]);
        let factors = [1.0, 0.5, 3.0, -0.1];
        for term in [|a: f64, b: f64| (a - b) * (a - b), |a: f64, b: f64| -(a * b)] {
            let mut expected = [[0.25; COLUMNS]; LANES];
            for row in 0..LANES {
                for lane in 0..COLUMNS {
                    let terms = (0..37).map(|place| term(factors[row] * rows[row][place], columns[place][lane]));
                    expected[row][lane] = terms.fold(0.25, |sum, term| sum + term);
                }
            }
            for instructions in [Instructions::ANY, Instructions::fastest()] {
                let mut tile = [[0.25; COLUMNS]; LANES];
                instructions.add_terms(rows, factors, &columns, term, &mut tile);
                assert_eq!(tile, expected);
            }
        }
    }
}
